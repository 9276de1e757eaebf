"""Where batch-normalisation statistics live while torch works with them.

Three holders, one per meaning: the supernet's shared running buffers, one architecture's fixed
statistics, and the accumulator that makes the latter from batches. Shapes: C used channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch

from nas_engine.domain.errors import WeightsError
from nas_engine.domain.layer_graph import BatchNorm, LayerGraph
from nas_engine.domain.statistics import BatchStatistics

MeanVariance = tuple[torch.Tensor, torch.Tensor]


class RunningStatistics:
    """The supernet's shared running mean and variance, at the full width of every layer."""

    def __init__(self, buffers: Mapping[str, MeanVariance]) -> None:
        self._buffers = dict(buffers)

    @classmethod
    def create(cls, graphs: Iterable[LayerGraph]) -> RunningStatistics:
        """Mean 0 and variance 1 for every `BatchNorm` of the graphs (PyTorch's start)."""
        buffers: dict[str, MeanVariance] = {}
        for graph in graphs:
            for node in graph.of_type(BatchNorm):
                if node.name not in buffers:
                    buffers[node.name] = (torch.zeros(node.full_features), torch.ones(node.full_features))
        return cls(buffers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._buffers)

    def __len__(self) -> int:
        return len(self._buffers)

    def full(self, name: str) -> MeanVariance:
        """Whole buffers of one node.

        Raises:
            WeightsError: there is no such node.
        """
        if name not in self._buffers:
            raise WeightsError(f"no running statistics for {name!r}: the supernet has no such batch normalisation")
        return self._buffers[name]

    def used(self, node: BatchNorm) -> MeanVariance:
        """Views of the channels that a node uses; updating them updates the shared buffers."""
        mean_C, variance_C = self.full(node.name)
        if mean_C.shape[0] != node.full_features:
            raise WeightsError(
                f"running statistics of {node.name!r} have {mean_C.shape[0]} channels, "
                f"the supernet has {node.full_features}"
            )
        return mean_C[: node.shape[0]], variance_C[: node.shape[0]]

    def to(self, device: torch.device) -> RunningStatistics:
        """Copy every buffer to `device`."""
        return RunningStatistics({name: (m.to(device).clone(), v.to(device).clone()) for name, (m, v) in self.items()})

    def items(self) -> Iterable[tuple[str, MeanVariance]]:
        """Iterate over (node name, buffer) pairs."""
        return self._buffers.items()


class CalibratedStatistics:
    """One architecture's statistics as tensors on a device."""

    def __init__(self, statistics: Mapping[str, MeanVariance]) -> None:
        self._statistics = dict(statistics)

    @classmethod
    def from_values(cls, statistics: Mapping[str, BatchStatistics], device: torch.device) -> CalibratedStatistics:
        """From the values that are stored and exported."""
        return cls(
            {
                name: (torch.tensor(entry.mean, device=device), torch.tensor(entry.variance, device=device))
                for name, entry in statistics.items()
            }
        )

    def of(self, node: BatchNorm) -> MeanVariance:
        """Statistics of one node.

        Raises:
            WeightsError: there are none, or they have another width.
        """
        if node.name not in self._statistics:
            raise WeightsError(f"no calibrated statistics for {node.name!r}: calibrate this architecture first")
        mean_C, variance_C = self._statistics[node.name]
        if mean_C.shape[0] != node.shape[0]:
            raise WeightsError(
                f"calibrated statistics of {node.name!r} have {mean_C.shape[0]} channels, "
                f"the graph uses {node.shape[0]}: they belong to another architecture"
            )
        return mean_C, variance_C

    def values(self) -> dict[str, BatchStatistics]:
        """As they are stored and exported.

        Raises:
            WeightsError: a number is not finite.
        """
        return _values(self._statistics)


class StatisticsAccumulator:
    """Gathers one architecture's statistics over batches, exactly as torch's BatchNorm would.

    Fresh buffers start at mean 0, variance 1. With `fixed_momentum` the newest batch weighs that much
    (an exponential average); with None batch k weighs 1/k (the mean over all batches).
    Call `begin_batch` before each forward.
    """

    def __init__(self, fixed_momentum: float | None) -> None:
        self._fixed_momentum = fixed_momentum
        self._buffers: dict[str, MeanVariance] = {}
        self.num_batches = 0

    def begin_batch(self) -> None:
        """Count the batch that is executed next."""
        self.num_batches += 1

    @property
    def momentum(self) -> float:
        """Weight of the batch that is being executed."""
        if self.num_batches == 0:
            raise WeightsError("statistics are gathered without begin_batch: call it before each forward")
        return 1.0 / self.num_batches if self._fixed_momentum is None else self._fixed_momentum

    def buffers(self, node: BatchNorm, x: torch.Tensor) -> MeanVariance:
        """The node's buffers, made on the device of its input at first use."""
        if node.name not in self._buffers:
            channels = node.shape[0]
            self._buffers[node.name] = (
                torch.zeros(channels, device=x.device),
                torch.ones(channels, device=x.device),
            )
        return self._buffers[node.name]

    def tensors(self) -> CalibratedStatistics:
        """What was gathered, as tensors where they are."""
        return CalibratedStatistics(self._buffers)

    def values(self) -> dict[str, BatchStatistics]:
        """What was gathered, as values.

        Raises:
            WeightsError: a number is not finite.
        """
        return _values(self._buffers)


def _values(buffers: Mapping[str, MeanVariance]) -> dict[str, BatchStatistics]:
    return {
        name: BatchStatistics(mean_C.cpu().numpy(), variance_C.cpu().numpy())
        for name, (mean_C, variance_C) in buffers.items()
    }
