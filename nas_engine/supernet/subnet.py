"""Sub-network extraction: a path of the supernet as a plain, stand-alone `torch.nn.Module`.

The module has nothing to do with the supernet any more: its layers are torch's own, its `state_dict`
has one entry per stand-alone weight, and where the supernet's batch normalisation has no affine part
the module's has gamma 1 and beta 0, which leaves the output as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nas_engine.domain.errors import InvalidGraphError, WeightsError
from nas_engine.domain.layer_graph import (
    TRAINING_ONLY,
    Activation,
    BatchNorm,
    Conv2d,
    LayerGraph,
    Linear,
    Node,
    WeightRef,
    WeightRole,
)
from nas_engine.domain.statistics import BatchStatistics, require_statistics
from nas_engine.supernet.execute import activate, combine, used_weight


class Subnet(nn.Module):
    """Stand-alone network; layers stand under their node's dotted name, e.g. ``stem.conv``."""

    def __init__(self, graph: LayerGraph) -> None:
        super().__init__()
        self._graph = graph
        for node in graph.nodes:
            layer = _layer(node)
            if layer is not None:
                _place(self, node.name, layer)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """logits_NK of a batch of images."""
        graph = self._graph
        values: dict[int, torch.Tensor] = {0: x_NCHW}
        for index, node in enumerate(graph.nodes[1:], start=1):
            inputs = [values[source] for source in node.inputs]
            values[index] = self._run(node, inputs)
            for source in set(node.inputs):
                if graph.last_use[source] == index:
                    del values[source]
        return values[graph.output]

    def _run(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        match node:
            case Conv2d() | BatchNorm() | Linear():
                return cast(torch.Tensor, self.get_submodule(node.name)(inputs[0]))
            case Activation(kind=kind):
                return activate(inputs[0], kind)
            case _:
                return combine(node, inputs)


def extract(
    graph: LayerGraph, weights: Mapping[str, torch.Tensor], statistics: Mapping[str, BatchStatistics]
) -> Subnet:
    """The path of a supernet as a module in evaluation mode, with weights of its own.

    Args:
        graph: DEPLOYED form.
        weights: stored tensors by name.
        statistics: calibrated for this architecture.

    Raises:
        InvalidGraphError: the graph holds a training-only node (SUPERNET form).
        WeightsError: a weight or a statistic is missing or has another shape.
    """
    _require_deployed(graph)
    require_statistics(graph, statistics)
    parts = {}
    for name, ref in graph.weights.items():
        stored = weights.get(name)
        part = used_weight({name: _absent(ref) if stored is None else stored}, ref)
        parts[ref.name] = part.detach().cpu()
    module = Subnet(graph)
    with torch.no_grad():
        for node in graph.nodes:
            if isinstance(node, (Conv2d, BatchNorm, Linear)):
                layer = module.get_submodule(node.name)
                _copy(layer, "weight", node.weight, parts)
                _copy(layer, "bias", node.bias, parts)
            if isinstance(node, BatchNorm):
                batch_norm = cast(nn.BatchNorm2d, layer)
                entry = statistics[node.name]
                cast(torch.Tensor, batch_norm.running_mean).copy_(torch.tensor(entry.mean))
                cast(torch.Tensor, batch_norm.running_var).copy_(torch.tensor(entry.variance))
    return module.eval()


def deployed_weights(graph: LayerGraph, weights: Mapping[str, torch.Tensor]) -> dict[str, NDArray[np.float32]]:
    """Full stored tensors of a DEPLOYED graph as arrays, affine parts of 1 and 0 added where the supernet has none.

    This is what the exporter reads.

    Raises:
        InvalidGraphError: the graph holds a training-only node.
        WeightsError: a weight is missing or has another shape.
    """
    _require_deployed(graph)
    arrays: dict[str, NDArray[np.float32]] = {}
    for name, ref in graph.weights.items():
        stored = weights.get(name)
        if stored is None:
            stored = _absent(ref)
        used_weight({name: stored}, ref)
        arrays[name] = cast(NDArray[np.float32], stored.detach().cpu().contiguous().numpy().copy())
    return arrays


def _absent(ref: WeightRef) -> torch.Tensor:
    """The neutral affine part of a batch normalisation that the supernet keeps without one."""
    match ref.role:
        case WeightRole.BN:
            return torch.zeros(ref.full_shape) if ref.name.endswith(".bias") else torch.ones(ref.full_shape)
        case _:
            raise WeightsError(f"no weight {ref.name!r}: the weights belong to another space or to other parameters")


def _require_deployed(graph: LayerGraph) -> None:
    for node in graph.nodes:
        if isinstance(node, TRAINING_ONLY):
            raise InvalidGraphError(
                f"node {node.name!r} is for training only: extract from the DEPLOYED form of the architecture"
            )


def _layer(node: Node) -> nn.Module | None:
    """torch's own layer for a node with weights; its weights are set by `extract`, so nothing random is drawn."""
    match node:
        case Conv2d(weight=weight, bias=bias, stride=stride, padding=padding, groups=groups):
            out, in_per_group, kernel, _ = weight.shape
            channels = in_per_group * groups
            conv = nn.Conv2d(
                channels, out, kernel, stride, padding, groups=groups, bias=bias is not None, device="meta"
            )
            return conv.to_empty(device="cpu")
        case BatchNorm(shape=shape, weight=gamma, eps=eps, momentum=momentum):
            affine = gamma is not None
            kind = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
            return kind(shape[0], eps=eps, momentum=momentum, affine=affine)
        case Linear(weight=weight, bias=bias):
            out, features = weight.shape
            return nn.Linear(features, out, bias=bias is not None, device="meta").to_empty(device="cpu")
        case _:
            return None


def _place(root: nn.Module, dotted_name: str, layer: nn.Module) -> None:
    """Register a layer under a dotted name, making the containers on the way."""
    *parents, leaf = dotted_name.split(".")
    for parent in parents:
        if parent not in dict(root.named_children()):
            root.add_module(parent, nn.Module())
        root = root.get_submodule(parent)
    root.add_module(leaf, layer)


def _copy(layer: nn.Module, attribute: str, ref: WeightRef | None, parts: Mapping[str, torch.Tensor]) -> None:
    if ref is not None:
        cast(torch.Tensor, getattr(layer, attribute)).copy_(parts[ref.name])
