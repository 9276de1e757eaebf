"""Random layer graphs: execution and extraction agree, and gradients stay where they belong."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_engine.supernet.calibration import calibrate
from nas_engine.supernet.execute import BATCH, Calibrated, forward
from nas_engine.supernet.norm_statistics import CalibratedStatistics
from nas_engine.supernet.subnet import extract
from nas_engine.supernet.weights import WeightStore
from tests.support.samples.graphs import random_graph

seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_execution_and_the_extracted_module_agree_on_any_graph(seed: int) -> None:
    graph = random_graph(np.random.default_rng(seed))
    rng = torch.Generator().manual_seed(seed)
    weights = WeightStore.create([graph], rng)
    x = torch.randn(4, 3, 8, 8, generator=rng)
    statistics = calibrate(graph, weights, [x, x + 0.5])
    norm = Calibrated(CalibratedStatistics.from_values(statistics, torch.device("cpu")))
    with torch.no_grad():
        executed = forward(x, graph, weights=weights, norm=norm)
        extracted = extract(graph, weights, statistics)(x)
    scale = max(1.0, float(executed.abs().max()))
    assert torch.allclose(executed / scale, extracted / scale, atol=1e-5, rtol=0)


@settings(max_examples=25, deadline=None)
@given(seed=seeds)
def test_execution_leaves_its_images_alone_and_reaches_every_weight_it_uses(seed: int) -> None:
    graph = random_graph(np.random.default_rng(seed))
    rng = torch.Generator().manual_seed(seed)
    weights = WeightStore.create([graph], rng)
    x = torch.randn(4, 3, 8, 8, generator=rng)
    before = x.clone()
    torch.autograd.backward(forward(x, graph, weights=weights, norm=BATCH).square().sum())
    assert torch.equal(x, before)
    assert {name for name, tensor in weights.items() if tensor.grad is not None} == set(graph.weights)
