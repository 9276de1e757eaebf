"""AttentiveNAS' block gives the output of the published implementation; forms agree once calibrated."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)

from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form
from nas_engine.spaces.attentive.parameters import AttentiveParameters
from nas_engine.spaces.attentive.space import AttentiveSpace
from nas_engine.spaces.els import forms_differ, inherited_weights
from nas_engine.supernet.execute import forward
from tests.support.reference import vectors
from tests.support.samples.graphs import cut_block

CASE = vectors("attentivenas_space")["dynamic_mbconv"]
OURS = {
    "inverted_bottleneck.conv.conv": "expand.conv",
    "inverted_bottleneck.bn.bn": "expand.bn",
    "depth_conv.conv.conv": "depthwise.conv",
    "depth_conv.bn.bn": "depthwise.bn",
    "depth_conv.se.fc.reduce": "se.reduce",
    "depth_conv.se.fc.expand": "se.expand",
    "point_linear.conv.conv": "project.conv",
    "point_linear.bn.bn": "project.bn",
}


def block_space(size: int) -> AttentiveSpace:
    """One stage whose block is the reference's: width 8 of 16, kernel 3 of 5, expansion 2, gated."""
    return AttentiveSpace(
        AttentiveParameters(
            num_classes=2,
            resolutions=(size,),
            stem_channels=(8, 16),
            stem_stride=1,
            stage_channels=((8, 16),),
            stage_depths=((1,),),
            stage_kernels=((3, 5),),
            stage_expand_ratios=((2,),),
            stage_strides=(1,),
            stage_squeeze_excite=(True,),
            head_channels=(8,),
        )
    )


def weights_of(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    found = {}
    for name, value in state.items():
        module, field = name.rsplit(".", 1)
        if field in ("weight", "bias"):
            found[f"mb1.block0.{OURS[module]}.{field}"] = torch.tensor(value, dtype=torch.float64)
    return found


def test_a_slice_of_the_elastic_block_equals_the_published_one() -> None:
    space = block_space(len(CASE["input"][0][0]))
    block = cut_block(space.graph(space.decode([0] * 7), Form.DEPLOYED), "mb1.block0")
    project = next(i for i, node in enumerate(block.nodes) if node.name == "mb1.block0.project.bn")
    graph = LayerGraph(block.nodes[: project + 1], project)  # the reference's layer has no shortcut
    weights = weights_of(CASE["state"])
    assert weights.keys() == graph.weights.keys()
    out = forward(torch.tensor(CASE["input"], dtype=torch.float64), graph, weights=weights)
    torch.testing.assert_close(out, torch.tensor(CASE["output"], dtype=torch.float64), rtol=0, atol=1e-10)


def test_the_shortcut_is_pool_then_convolution_as_published_also_at_odd_sizes() -> None:
    space = AttentiveSpace(
        AttentiveParameters(
            num_classes=2,
            resolutions=(7,),
            stem_channels=(4,),
            stem_stride=1,
            stage_channels=((4, 6),),
            stage_depths=((1,),),
            stage_kernels=((3,),),
            stage_expand_ratios=((2,),),
            stage_strides=(2,),
            stage_squeeze_excite=(False,),
            head_channels=(8,),
        )
    )
    block = cut_block(space.graph(space.decode([0, 0, 1, 0, 0, 0, 0]), Form.DEPLOYED), "mb1.block0")
    names = [node.name for node in block.nodes]
    conv = names.index("mb1.block0.shortcut.conv")
    rng = np.random.default_rng(0)
    weights = {n: torch.from_numpy(rng.normal(size=ref.full_shape)) for n, ref in block.weights.items()}
    x = torch.from_numpy(rng.normal(size=(2, 4, 7, 7)))
    out = forward(x, LayerGraph(block.nodes[: conv + 1], conv), weights=weights)
    pooled = F.avg_pool2d(x, 2, padding=1)
    torch.testing.assert_close(out, F.conv2d(pooled, weights["mb1.block0.shortcut.conv.weight"]))


def test_both_forms_of_a_subnet_are_one_function_with_the_supernets_weights() -> None:
    space = AttentiveSpace(
        AttentiveParameters(
            num_classes=4,
            resolutions=(20, 24),
            stem_channels=(4, 8),
            stage_channels=((4, 8), (8, 12), (12, 16)),
            stage_depths=((1, 2), (1, 2), (1, 2)),
            stage_kernels=((3, 5),) * 3,
            stage_expand_ratios=((1,), (3, 4), (4,)),
            stage_strides=(1, 2, 2),
            stage_squeeze_excite=(False, True, True),
            head_channels=(8, 16),
        )
    )
    rng = np.random.default_rng(3)
    held = {ref.name: ref.full_shape for graph in space.supernet_graphs() for ref in graph.weights.values()}
    weights = {name: rng.normal(size=shape) for name, shape in held.items()}
    for _ in range(4):
        architecture = space.decode([int(rng.integers(gene.num_choices)) for gene in space.genes])
        supernet, deployed = (space.graph(architecture, form) for form in (Form.SUPERNET, Form.DEPLOYED))
        assert forms_differ(supernet, deployed) is None
        x = torch.from_numpy(rng.normal(size=(3, *supernet.input_shape)))
        own = {name: torch.from_numpy(value) for name, value in weights.items()}
        inherited = {n: torch.from_numpy(v) for n, v in inherited_weights(supernet, deployed, weights).items()}
        torch.testing.assert_close(forward(x, deployed, weights=inherited), forward(x, supernet, weights=own))
