"""The example space trains and exports without a word about it elsewhere."""

from __future__ import annotations

import numpy as np
import onnxruntime
import torch

from nas_engine.domain.search_space import Form
from nas_engine.export.onnx import export_onnx
from nas_engine.export.random_weights import random_weights
from nas_engine.spaces.els import forms_differ
from nas_engine.supernet.execute import Calibrated, forward
from nas_engine.supernet.norm_statistics import CalibratedStatistics
from nas_engine.supernet.weights import WeightStore
from tests.support.samples.example_space import TinySpace


def test_a_step_of_training_reaches_every_weight_of_the_sampled_path() -> None:
    space = TinySpace()
    store = WeightStore.create(space.supernet_graphs(), torch.Generator().manual_seed(0))
    graph = space.graph(space.decode([2, 1, 2, 3]), Form.SUPERNET)
    x_NCHW = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    logits_NK = forward(x_NCHW, graph, weights=store, training=True, rng=torch.Generator().manual_seed(2))
    torch.nn.functional.cross_entropy(logits_NK, torch.arange(4)).backward()
    touched = {name for name, weight in store.items() if weight.grad is not None}
    assert touched == set(graph.weights)


def test_the_exported_network_answers_as_the_executed_one() -> None:
    space = TinySpace()
    architecture = space.parse(["separable5", "conv3"])
    graph = space.graph(architecture, Form.DEPLOYED)
    assert forms_differ(space.graph(architecture, Form.SUPERNET), graph) is None
    weights, statistics = random_weights(graph, 0)
    x_NCHW = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
    session = onnxruntime.InferenceSession(export_onnx(graph, weights, statistics), providers=["CPUExecutionProvider"])
    (exported_NK,) = session.run(None, {session.get_inputs()[0].name: x_NCHW})
    calibrated = CalibratedStatistics.from_values(statistics, torch.device("cpu"))
    tensors = {name: torch.from_numpy(np.asarray(value)) for name, value in weights.items()}
    with torch.no_grad():
        executed_NK = forward(torch.from_numpy(x_NCHW), graph, weights=tensors, norm=Calibrated(calibrated))
    np.testing.assert_allclose(exported_NK, executed_NK.numpy(), rtol=1e-4, atol=1e-4)
