"""Statistics of batch normalisations: what turns shared weights into one architecture's network.

They belong to (architecture, supernet version, calibration set), never to the shared weights, and are
filed under the name of their `BatchNorm` node.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.errors import WeightsError
from nas_engine.domain.layer_graph import BatchNorm, LayerGraph

Float32Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class BatchStatistics:
    """Mean and variance of one batch normalisation's input, over the channels that are used.

    Arrays are brought to float32 and made read-only; two values are equal when all numbers are.

    Attributes:
        mean: (channels,).
        variance: (channels,), unbiased as PyTorch's running variance; 0 or more.

    Raises:
        WeightsError: the shapes differ, a number is not finite, or a variance is negative.
    """

    mean: Float32Array
    variance: Float32Array

    def __post_init__(self) -> None:
        mean, variance = (_frozen(values) for values in (self.mean, self.variance))
        if mean.ndim != 1 or mean.shape != variance.shape:
            raise WeightsError(
                f"batch statistics have mean {mean.shape} and variance {variance.shape}: both must be (channels,)"
            )
        if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
            raise WeightsError("batch statistics hold a non-finite number: calibrate again on finite activations")
        if (variance < 0).any():
            raise WeightsError(f"batch statistics hold a negative variance {float(variance.min())}")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "variance", variance)

    @property
    def num_channels(self) -> int:
        """Number of channels the statistics hold."""
        return int(self.mean.shape[0])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BatchStatistics):
            return NotImplemented
        return np.array_equal(self.mean, other.mean) and np.array_equal(self.variance, other.variance)

    def __hash__(self) -> int:
        return hash((self.mean.tobytes(), self.variance.tobytes()))


def statistics_digest(statistics: Mapping[str, BatchStatistics]) -> str:
    """sha256 (hex) of a set of statistics: names in sorted order, numbers as little-endian float32."""
    digest = hashlib.sha256()
    for name in sorted(statistics):
        entry = statistics[name]
        digest.update(f"{len(name)}:{name}:{entry.num_channels};".encode())
        digest.update(entry.mean.astype("<f4").tobytes())
        digest.update(entry.variance.astype("<f4").tobytes())
    return digest.hexdigest()


def require_statistics(graph: LayerGraph, statistics: Mapping[str, BatchStatistics]) -> None:
    """Check that every `BatchNorm` of the graph has statistics of its width.

    Raises:
        WeightsError: naming the node that has none, or the widths that differ.
    """
    for node in graph.of_type(BatchNorm):
        if node.name not in statistics:
            raise WeightsError(f"no batch statistics for {node.name!r}: calibrate this architecture first")
        if statistics[node.name].num_channels != node.shape[0]:
            raise WeightsError(
                f"batch statistics of {node.name!r} have {statistics[node.name].num_channels} channels, "
                f"the graph uses {node.shape[0]}: they belong to another architecture"
            )


def _frozen(values: Float32Array) -> Float32Array:
    copy = cast(Float32Array, np.array(values, dtype=np.float32, copy=True))
    copy.setflags(write=False)
    return copy
