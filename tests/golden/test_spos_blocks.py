"""Blocks of the SPOS space give the outputs of the published implementation (vectors/spos_blocks.json)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nas_engine.domain.layer_graph import BatchNorm, Conv2d, LayerGraph
from nas_engine.domain.search_space import Form
from nas_engine.spaces.shufflenet import ShuffleNetParameters, ShuffleNetSpace
from nas_engine.supernet.execute import Running, forward
from nas_engine.supernet.norm_statistics import RunningStatistics
from tests.support.reference import vectors
from tests.support.samples.graphs import cut_block

# Reference name -> (choice, block of a space whose widths make a block of the same size).
WHERE = {"shuffle3_s1": (0, "stage0.block1"), "shuffle5_s2": (1, "stage1.block0"), "xception_s2": (3, "stage1.block0")}


def _block(choice: int, block: str) -> LayerGraph:
    parameters = ShuffleNetParameters(
        num_classes=2, input_size=12, stem_stride=1, stem_channels=2, stage_channels=(4, 8), stage_repeats=(2, 1)
    )
    space = ShuffleNetSpace(parameters)
    return cut_block(space.graph(space.decode([choice] * 3), Form.SUPERNET), block)


def _ordered(entries: dict[str, Any], branch: str, suffix: str) -> list[torch.Tensor]:
    """The reference's tensors of one branch, in layer order."""
    names = [name for name in entries if name.startswith(f"branch_{branch}.") and name.endswith(suffix)]
    names.sort(key=lambda name: int(name.split(".")[1]))
    return [torch.tensor(entries[name], dtype=torch.float64) for name in names]


def _by_node(graph: LayerGraph, kind: type[Any], entries: dict[str, Any], suffix: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for branch in ("main", "proj"):
        nodes = [n for n in graph.of_type(kind) if f".{branch}." in n.name]
        tensors = _ordered(entries, branch, suffix)
        found |= {node.name: tensor for node, tensor in zip(nodes, tensors, strict=True)}
    return found


def _running(graph: LayerGraph, entries: dict[str, Any]) -> RunningStatistics:
    mean = _by_node(graph, BatchNorm, entries, ".running_mean")
    variance = _by_node(graph, BatchNorm, entries, ".running_var")
    return RunningStatistics({name: (mean[name], variance[name]) for name in mean})


@pytest.mark.parametrize("case", vectors("spos_blocks")["blocks"], ids=lambda case: case["name"])
def test_a_block_equals_the_published_one_in_both_modes(case: dict[str, Any]) -> None:
    graph = _block(*WHERE[case["name"]])
    weights = {f"{n}.weight": w for n, w in _by_node(graph, Conv2d, case["state"], ".weight").items()}
    assert weights.keys() == graph.weights.keys()
    running = _running(graph, case["state"])
    x = torch.tensor(case["input"], dtype=torch.float64)

    evaluated = forward(x, graph, weights=weights, norm=Running(running, update=False))
    trained = forward(x, graph, weights=weights, norm=Running(running, update=True))

    assert torch.allclose(evaluated, torch.tensor(case["output_eval"], dtype=torch.float64), atol=1e-9, rtol=0)
    assert torch.allclose(trained, torch.tensor(case["output_train"], dtype=torch.float64), atol=1e-9, rtol=0)
    expected = _running(graph, case["running_after_train"])
    for name in running:
        for ours, reference in zip(running.full(name), expected.full(name), strict=True):
            assert torch.allclose(ours, reference, atol=1e-9, rtol=0), name
