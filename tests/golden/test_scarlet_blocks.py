"""SCARLET's blocks give the outputs of the published implementation, and stabilizers merge exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)

from nas_engine.domain.errors import WeightsError
from nas_engine.domain.graph_builder import GraphBuilder
from nas_engine.domain.layer_graph import ZEROS, LayerGraph
from nas_engine.domain.search_space import Form
from nas_engine.spaces.els import forms_differ, inherited_weights, merge
from nas_engine.spaces.mobilenet import S1, S2, MobileNetParameters, MobileNetSpace
from nas_engine.spaces.squeeze_excite import SqueezeExcite, squeeze_excite
from nas_engine.supernet.execute import Running, forward
from nas_engine.supernet.norm_statistics import RunningStatistics
from tests.support.reference import vectors
from tests.support.samples.graphs import cut_block

# Reference name -> (choice, parameters of a space whose only layer is such a block, part of it).
WHERE = {
    "mb_e3k5_s1_res": ("e3k5", {"first_channels": 4, "stage_channels": (4,), "stage_strides": (1,)}),
    "mb_e3k3_s2_se": ("e3k3_se", {"first_channels": 4, "stage_channels": (6,), "stage_strides": (2,)}),
}
OURS = {
    "conv1": "expand.conv",
    "bn1": "expand.bn",
    "conv2": "depthwise.conv",
    "bn2": "depthwise.bn",
    "mid_se.squeeze_conv": "se.reduce",
    "mid_se.excite_conv": "se.expand",
    "conv3": "project.conv",
    "bn3": "project.bn",
}
CASES = {case["name"]: case for case in vectors("scarlet_blocks")["blocks"]}


def one_layer(name: str) -> LayerGraph:
    label, changes = WHERE[name]
    size = len(CASES[name]["input"][0][0])
    sizes: dict[str, Any] = {"input_size": size, "stem_stride": 1, "stage_repeats": (1,)}
    space = MobileNetSpace(S2, MobileNetParameters(**sizes, **changes))
    return cut_block(space.graph(space.parse([label]), Form.DEPLOYED), "stage0.layer0")


def tensors(state: dict[str, Any], label: str) -> dict[str, torch.Tensor]:
    renamed = {}
    for name, value in state.items():
        module, field = name.rsplit(".", 1)
        renamed[f"stage0.layer0.{label}.{OURS[module]}.{field}"] = torch.tensor(value, dtype=torch.float64)
    return renamed


@pytest.mark.parametrize("name", WHERE)
def test_a_bottleneck_equals_the_published_one(name: str) -> None:
    case, graph = CASES[name], one_layer(name)
    state = tensors(case["state"], WHERE[name][0])
    weights = {name: value for name, value in state.items() if name in graph.weights}
    assert weights.keys() == graph.weights.keys()
    running = RunningStatistics(
        {
            name.removesuffix(".running_mean"): (mean, state[name.replace("_mean", "_var")])
            for name, mean in state.items()
            if name.endswith(".running_mean")
        }
    )
    x = torch.tensor(case["input"], dtype=torch.float64)
    out = forward(x, graph, weights=weights, norm=Running(running, update=False))
    torch.testing.assert_close(out, torch.tensor(case["output_eval"], dtype=torch.float64), rtol=0, atol=1e-10)


def test_a_gate_equals_the_published_one() -> None:
    case = CASES["se_8_reduction4"]
    # The gate of an e3 bottleneck has 3 * width channels; the reference's has 8, so it is fed directly.
    weights = {name: torch.tensor(value, dtype=torch.float64) for name, value in case["state"].items()}
    graph = gate_of_8()
    renamed = {
        "gate.reduce.weight": weights["squeeze_conv.weight"],
        "gate.reduce.bias": weights["squeeze_conv.bias"],
        "gate.expand.weight": weights["excite_conv.weight"],
        "gate.expand.bias": weights["excite_conv.bias"],
    }
    out = forward(torch.tensor(case["input"], dtype=torch.float64), graph, weights=renamed)
    torch.testing.assert_close(out, torch.tensor(case["output_eval"], dtype=torch.float64), rtol=0, atol=1e-10)


def gate_of_8() -> LayerGraph:
    g = GraphBuilder((8, 3, 3))
    gate = SqueezeExcite(hidden=2, reduce_init=ZEROS, expand_init=ZEROS, reduce_bias=ZEROS, expand_bias=ZEROS)
    return g.build(squeeze_excite(g, g.input, "gate", gate))


def test_eq_4_holds_for_torch_convolutions_of_every_kernel_and_stride() -> None:
    generator = torch.Generator().manual_seed(0)
    for kernel in (1, 3, 5, 7):
        for stride in (1, 2):
            x, w1, w2 = (
                torch.randn(shape, generator=generator, dtype=torch.float64)
                for shape in ((2, 3, 15, 15), (5, 3, 1, 1), (4, 5, kernel, kernel))
            )
            w3 = torch.from_numpy(merge(w1.numpy(), w2.numpy()))
            for padding in {0, kernel // 2}:
                two = F.conv2d(F.conv2d(x, w1, stride=stride), w2, padding=padding)
                one = F.conv2d(x[:, :, ::stride, ::stride], w3, padding=padding)
                torch.testing.assert_close(one, two, rtol=0, atol=1e-11)


SMALL = MobileNetSpace(
    S1,
    MobileNetParameters(
        num_classes=5,
        input_size=24,
        stem_stride=1,
        stem_channels=4,
        first_channels=4,
        stage_channels=(6, 8, 10),
        stage_repeats=(2, 3, 2),
        stage_strides=(2, 2, 1),
        tail_channels=12,
    ),
)
SKIP = 6


def both_outputs(genotype: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of both forms with the same supernet weights, statistics of the batch, in float64."""
    architecture = SMALL.decode(genotype)
    supernet, deployed = (SMALL.graph(architecture, form) for form in (Form.SUPERNET, Form.DEPLOYED))
    assert forms_differ(supernet, deployed) is None
    rng = np.random.default_rng(1)
    weights = {name: rng.normal(size=ref.full_shape) for name, ref in supernet.weights.items()}
    inherited = inherited_weights(supernet, deployed, weights)
    x = torch.from_numpy(rng.normal(size=(4, 3, 24, 24)))
    outputs = [
        forward(x, graph, weights={name: torch.from_numpy(value) for name, value in held.items()})
        for graph, held in ((supernet, weights), (deployed, inherited))
    ]
    return outputs[0], outputs[1]


@pytest.mark.parametrize(
    "genotype",
    [
        [0, 3, 1, 4, 2, 5, 0],  # no skip at all
        [0, SKIP, 1, 4, 2, 5, 0],  # before a strided layer
        [0, 3, 1, 4, SKIP, 5, 0],  # before a layer that widens
        [0, 3, 1, SKIP, SKIP, 5, 0],  # a chain of them
        [0, 3, 1, 4, 2, 5, SKIP],  # before the tail
        [0, 3, 1, 4, 2, SKIP, SKIP],  # a chain that changes the width, before the tail
        [SKIP] * 7,  # all identity: subsampling twice
    ],
)
def test_the_deployed_form_equals_the_supernet_form_wherever_the_merge_is_exact(genotype: list[int]) -> None:
    supernet, deployed = both_outputs(genotype)
    torch.testing.assert_close(deployed, supernet, rtol=1e-9, atol=1e-9)


def test_stripping_without_merging_changes_the_network() -> None:
    """The merge is what makes the forms equal: the supernet's own kernel after a skip gives another output."""
    architecture = SMALL.decode([0, SKIP, 1, 4, 2, 5, 0])
    supernet, deployed = (SMALL.graph(architecture, form) for form in (Form.SUPERNET, Form.DEPLOYED))
    rng = np.random.default_rng(1)
    weights = {n: torch.from_numpy(rng.normal(size=ref.full_shape)) for n, ref in supernet.weights.items()}
    x = torch.from_numpy(rng.normal(size=(4, 3, 24, 24)))
    with pytest.raises(WeightsError, match="merged"):  # so it does not happen by accident
        forward(x, deployed, weights=weights)
    for name in set(deployed.weights) - set(weights):
        weights[name] = weights[name.replace(".merged", "")]
    difference = forward(x, supernet, weights=weights) - forward(x, deployed, weights=weights)
    assert difference.abs().max() > 1e-3


def test_a_stabilizer_before_a_residual_block_really_computes_another_function() -> None:
    """The refusal is no formality: no single kernel makes ELS(x) + F(ELS(x)) equal x + F'(x) here."""
    rng = np.random.default_rng(2)
    x = torch.from_numpy(rng.normal(size=(2, 3, 5, 5)))
    els, kernel = (torch.from_numpy(rng.normal(size=shape)) for shape in ((3, 3, 1, 1), (3, 3, 3, 3)))
    y = F.conv2d(x, els)
    truth = y + F.conv2d(y, kernel, padding=1)
    merged = F.conv2d(x, torch.einsum("mpyx,pu->muyx", kernel, els[:, :, 0, 0]), padding=1)
    # What remains of the residual is (ELS - 1) x, which the stripped network cannot make.
    torch.testing.assert_close(truth - (x + merged), y - x)
    assert (y - x).abs().max() > 0.1
