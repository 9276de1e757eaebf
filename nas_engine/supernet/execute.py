"""Executes a layer graph with torch: one interpreter for training, evaluation and calibration.

Execution keeps no state of its own. What batch normalisation does is a value (`Norm`) that the caller
passes; dropout draws from the generator that the caller passes.

Shapes: N images, C channels, H height, W width, F features, K classes. Images may be in any memory
format; channels_last is the fast one (a depthwise 5x5 forward + backward is about four times faster).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Union

import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)
from torch.utils.checkpoint import checkpoint

from nas_engine.domain.errors import InvalidGraphError, WeightsError
from nas_engine.domain.layer_graph import (
    Activation,
    ActivationKind,
    Add,
    BatchNorm,
    Concat,
    Conv2d,
    DropConnect,
    Dropout,
    Flatten,
    GlobalAvgPool,
    LayerGraph,
    Linear,
    Mul,
    Node,
    Pool,
    PoolKind,
    Shape,
    Slice,
    WeightedSum,
    WeightRef,
)
from nas_engine.domain.views.recomputation import Segment, runs_in_place, segments_of
from nas_engine.supernet.depthwise import depthwise_conv2d
from nas_engine.supernet.norm_statistics import CalibratedStatistics, RunningStatistics, StatisticsAccumulator
from nas_engine.supernet.synchronised_norm import synchronised_batch_norm


@dataclass(frozen=True, slots=True)
class PerBatch:
    """Normalise by the batch's own statistics; nothing is kept.

    Attributes:
        synchronised: take the statistics over all processes of the default torch.distributed group.
    """

    synchronised: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """The supernet's shared running statistics (supernet shifting's reference code).

    Attributes:
        statistics: full-width buffers; updated in place when `update`.
        update: normalise by the batch and move the buffers by the node's momentum; otherwise the
            buffers normalise.
    """

    statistics: RunningStatistics
    update: bool


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Fixed statistics of this very architecture."""

    statistics: CalibratedStatistics


@dataclass(frozen=True, slots=True)
class Accumulate:
    """Normalise by the batch and gather its statistics for this architecture (calibration)."""

    accumulator: StatisticsAccumulator


Norm = Union[PerBatch, Running, Calibrated, Accumulate]
BATCH = PerBatch()
NO_COEFFICIENTS: Mapping[str, torch.Tensor] = {}


@dataclass(frozen=True, slots=True)
class _Execution:
    """What every node's execution may read."""

    graph: LayerGraph
    weights: Mapping[str, torch.Tensor]
    coefficients: Mapping[str, torch.Tensor]
    norm: Norm
    training: bool
    rng: torch.Generator | None
    again: bool = False  # a backward pass computes it once more: what the first time changed stays


def forward(
    x_NCHW: torch.Tensor,
    graph: LayerGraph,
    *,
    weights: Mapping[str, torch.Tensor],
    coefficients: Mapping[str, torch.Tensor] | None = None,
    norm: Norm = BATCH,
    training: bool = False,
    rng: torch.Generator | None = None,
    recomputed: Collection[str] = (),
) -> torch.Tensor:
    """Run the graph on a batch of images; values are freed after their last use.

    Args:
        x_NCHW: images of the graph's input shape.
        graph: either form.
        weights: full stored tensors by name; each use takes its slice.
        coefficients: values of the graph's `CoefficientRef`s, one vector per name.
        norm: what batch normalisation does.
        training: whether Dropout and DropConnect act (batch normalisation follows `norm` alone).
        rng: generator of the dropout masks, on the device of the images; needed when they act.
        recomputed: blocks that keep their inputs alone for the backward pass, which computes them once more.

    Returns:
        The output node's value, logits_NK for a classifier.

    Raises:
        InvalidGraphError: the images have another shape than the graph's input.
        WeightsError: a weight, coefficient, statistic or the generator is missing.
    """
    require_input(x_NCHW, graph.input_shape)
    execution = _Execution(graph, weights, coefficients or NO_COEFFICIENTS, norm, training, rng)
    values: list[torch.Tensor | None] = [None] * len(graph.nodes)
    values[0] = x_NCHW
    is_needed = torch.is_grad_enabled() and not isinstance(norm, Accumulate)  # calibration has no backward pass
    segments = segments_of(graph, recomputed) if is_needed else ()
    done = 1
    for segment in segments:
        _run_range(done, segment.start, values, execution)
        _run_segment(segment, values, execution)
        done = segment.stop
    _run_range(done, len(graph.nodes), values, execution)
    return _alive(values[graph.output], graph.nodes[graph.output])


def _run_range(start: int, stop: int, values: list[torch.Tensor | None], execution: _Execution) -> None:
    """Execute the nodes from `start` to before `stop`; values are freed after their last use."""
    graph = execution.graph
    for index in range(start, stop):
        node = graph.nodes[index]
        if graph.last_use[index] == index:
            continue  # nobody reads it
        inputs = [_alive(values[source], node) for source in node.inputs]
        values[index] = _run(node, index, inputs, execution)
        for source in node.inputs:
            if graph.last_use[source] == index:
                values[source] = None


def _run_segment(segment: Segment, values: list[torch.Tensor | None], execution: _Execution) -> None:
    """Execute a part of the graph so that its inputs alone are kept for the backward pass."""
    graph, rng = execution.graph, execution.rng
    first = graph.nodes[segment.start]
    state = None if rng is None else rng.get_state()
    is_again = False

    def run(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        nonlocal is_again
        own: list[torch.Tensor | None] = [None] * len(graph.nodes)
        for source, value in zip(segment.inputs, inputs, strict=True):
            own[source] = value
        if not is_again:
            is_again = True
            _run_range(segment.start, segment.stop, own, execution)
        else:
            now = None if rng is None else rng.get_state()
            if rng is not None and state is not None:
                rng.set_state(state)  # the masks of the first time
            try:
                _run_range(segment.start, segment.stop, own, replace(execution, again=True))
            finally:
                if rng is not None and now is not None:
                    rng.set_state(now)
        return tuple(_alive(own[index], graph.nodes[index]) for index in segment.outputs)

    inputs = [_alive(values[source], first) for source in segment.inputs]
    # No library draws from torch's global generators here: dropout has the one that was passed.
    found = checkpoint(run, *inputs, use_reentrant=False, preserve_rng_state=False)
    for index, value in zip(segment.outputs, found, strict=True):
        values[index] = value
    for source in segment.inputs:
        if graph.last_use[source] < segment.stop:
            values[source] = None


def require_input(x_NCHW: torch.Tensor, input_shape: Shape) -> None:
    """Raises InvalidGraphError: the images have another shape than a graph's input."""
    if tuple(x_NCHW.shape[1:]) != input_shape:
        raise InvalidGraphError(
            f"images are {tuple(x_NCHW.shape[1:])}, the graph takes {input_shape}: resize them before execution"
        )


def used_weight(weights: Mapping[str, torch.Tensor], ref: WeightRef) -> torch.Tensor:
    """The part of a stored weight that a node uses, as a view (gradients reach the whole tensor).

    Raises:
        WeightsError: the store has no such weight, or one of another shape.
    """
    stored = weights.get(ref.name)
    if stored is None:
        raise WeightsError(f"no weight {ref.name!r}: the weights belong to another space or to another form")
    if stored.shape != ref.full_shape:
        raise WeightsError(f"weight {ref.name!r} is {tuple(stored.shape)}, the graph needs {ref.full_shape}")
    for axis, (start, stop) in enumerate(ref.slices):
        if stop - start != ref.full_shape[axis]:
            stored = stored.narrow(axis, start, stop - start)
    return stored


def activate(x: torch.Tensor, kind: ActivationKind, *, in_place: bool = False) -> torch.Tensor:
    """Element-wise non-linearity; `in_place` is a permission, not an order."""
    match kind:
        case ActivationKind.RELU:
            return F.relu(x, inplace=in_place)
        case ActivationKind.RELU6:
            return F.relu6(x)
        case ActivationKind.HSWISH:
            return F.hardswish(x)
        case ActivationKind.SWISH:
            return F.silu(x)
        case ActivationKind.SIGMOID:
            return torch.sigmoid(x)
        case ActivationKind.HSIGMOID:
            return F.hardsigmoid(x)


def combine(node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
    """Nodes that have neither weights nor state: pooling, arithmetic and reshaping.

    Raises:
        InvalidGraphError: the node's type is unknown.
    """
    x = inputs[0]
    match node:
        case Pool(kind=PoolKind.MAX, kernel=kernel, stride=stride, padding=padding):
            return F.max_pool2d(x, kernel, stride, padding)
        case Pool(kernel=kernel, stride=stride, padding=padding, count_include_pad=count_include_pad):
            return F.avg_pool2d(x, kernel, stride, padding, count_include_pad=count_include_pad)
        case GlobalAvgPool():
            return x.mean((2, 3), keepdim=True)
        case Add():
            return sum(inputs[1:], start=x)
        case Mul():
            return x * inputs[1]
        case Concat():
            return torch.cat(inputs, dim=1)
        case Slice(axis=axis, start=start, stop=stop, step=step):
            return x[(slice(None),) * (axis + 1) + (slice(start, stop, step),)]
        case Flatten():
            return x.flatten(1)
        case _:
            raise InvalidGraphError(f"node {node.name!r} has the unknown type {type(node).__name__}")


def _run(node: Node, index: int, inputs: list[torch.Tensor], execution: _Execution) -> torch.Tensor:
    x, weights = inputs[0], execution.weights
    match node:
        case Conv2d(weight=weight, bias=bias, stride=stride, padding=padding, groups=groups):
            bias_O = None if bias is None else used_weight(weights, bias)
            weight_OIKK = used_weight(weights, weight)
            if groups == len(weight_OIKK) == x.shape[1]:
                return depthwise_conv2d(x, weight_OIKK, bias_O, stride, padding)
            return F.conv2d(x, weight_OIKK, bias_O, stride, padding, 1, groups)
        case BatchNorm():
            return _normalise(x, node, index, execution)
        case Activation(kind=kind):
            # A ReLU's backward needs nothing but its output; every other one would copy its input first.
            return activate(x, kind, in_place=runs_in_place(execution.graph, index))
        case Linear(weight=weight, bias=bias):
            bias_O = None if bias is None else used_weight(weights, bias)
            return F.linear(x, used_weight(weights, weight), bias_O)
        case WeightedSum():
            return _weighted_sum(node, inputs, execution.coefficients)
        case Dropout(rate=rate):
            return _drop(x, rate, tuple(x.shape), execution)
        case DropConnect(rate=rate):
            return _drop(x, rate, (x.shape[0],) + (1,) * (x.dim() - 1), execution)
        case _:
            return combine(node, inputs)


def _normalise(x: torch.Tensor, node: BatchNorm, index: int, execution: _Execution) -> torch.Tensor:
    gamma_C = None if node.weight is None else used_weight(execution.weights, node.weight)
    beta_C = None if node.bias is None else used_weight(execution.weights, node.bias)
    match execution.norm:
        case PerBatch(synchronised=True):
            return synchronised_batch_norm(x, gamma_C, beta_C, node.eps)
        case PerBatch():
            return F.batch_norm(x, None, None, gamma_C, beta_C, True, 0.0, node.eps)
        case Running(statistics=running, update=update):
            mean_C, variance_C = running.used(node)
            if update and execution.again:
                mean_C, variance_C = mean_C.clone(), variance_C.clone()
            return F.batch_norm(x, mean_C, variance_C, gamma_C, beta_C, update, node.momentum, node.eps)
        case Calibrated(statistics=calibrated):
            mean_C, variance_C = calibrated.of(node)
            return F.batch_norm(x, mean_C, variance_C, gamma_C, beta_C, False, 0.0, node.eps)
        case Accumulate(accumulator=accumulator):
            mean_C, variance_C = accumulator.buffers(node, x)
            if _is_its_own(x, node, index, execution.graph):
                return _normalise_in_place(x, node, gamma_C, beta_C, mean_C, variance_C, accumulator.momentum)
            return F.batch_norm(x, mean_C, variance_C, gamma_C, beta_C, True, accumulator.momentum, node.eps)


def _is_its_own(x: torch.Tensor, node: BatchNorm, index: int, graph: LayerGraph) -> bool:
    """Whether a normalisation may overwrite its input: a convolution's output on the processor, not yet read."""
    source = node.inputs[0]
    is_unread = source == index - 1 and graph.last_use[source] == index
    is_plain = x.device.type == "cpu" and not torch.is_grad_enabled()
    return is_unread and is_plain and isinstance(graph.nodes[source], Conv2d)


def _normalise_in_place(
    x: torch.Tensor,
    node: BatchNorm,
    gamma_C: torch.Tensor | None,
    beta_C: torch.Tensor | None,
    mean_C: torch.Tensor,
    variance_C: torch.Tensor,
    momentum: float,
) -> torch.Tensor:
    """The same numbers as `F.batch_norm` without a new tensor, whose pages cost as much as the arithmetic."""
    saved = (torch.empty_like(mean_C), torch.empty_like(mean_C))  # for a backward pass that does not come
    torch.ops.aten.native_batch_norm.out(
        x,
        gamma_C,
        beta_C,
        mean_C,
        variance_C,
        True,
        momentum,
        node.eps,
        out=x,
        save_mean=saved[0],
        save_invstd=saved[1],
    )
    return x


def _weighted_sum(
    node: WeightedSum, inputs: list[torch.Tensor], coefficients: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    missing = {ref.name for ref in node.coefficients} - coefficients.keys()
    if missing:
        raise WeightsError(f"{node.name!r} needs coefficients {sorted(missing)}: the strategy must pass them")
    terms = [x * coefficients[ref.name][ref.index] for x, ref in zip(inputs, node.coefficients, strict=True)]
    return sum(terms[1:], start=terms[0])


def _drop(x: torch.Tensor, rate: float, mask_shape: tuple[int, ...], execution: _Execution) -> torch.Tensor:
    """Zero parts of x with probability `rate` and rescale the rest, so that the expectation stays."""
    if not execution.training or rate == 0.0:
        return x
    if execution.rng is None:
        raise WeightsError("dropout acts while training and needs a generator: pass rng")
    mask = torch.empty(mask_shape, device=x.device, dtype=x.dtype)
    mask.bernoulli_(1.0 - rate, generator=execution.rng)
    return x * mask.div_(1.0 - rate)


def _alive(value: torch.Tensor | None, node: Node) -> torch.Tensor:
    if value is None:
        raise InvalidGraphError(f"node {node.name!r} reads a value that is already freed: the graph is inconsistent")
    return value
