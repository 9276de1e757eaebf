"""How long each layer of a model takes, as an inference engine's own profiler says it.

It is taken in a few runs of their own after the timed ones: a profiler costs time itself, so that the layers together
take longer than the latency that was measured. What to look at is each layer's share.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.json_value import AS_DOCUMENT
from nas_engine.domain.text import one_line
from nas_engine.domain.uncertainty import Interval

MAX_LAYERS = 1000
MAX_PROFILED_RUNS = 50
MAX_NAME_CHARACTERS = 200
MAX_LAYER_NS = 3600 * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfiledLayer:
    """One step of the engine, which may be several layers of the model in one.

    Attributes:
        name: as the engine has it; where it fuses layers, of one of them.
        operator: the engine's operator.
    """

    __pydantic_config__ = AS_DOCUMENT

    name: str
    operator: str

    def __post_init__(self) -> None:
        for text in (self.name, self.operator):
            if text != one_line(text, MAX_NAME_CHARACTERS):
                raise InvalidMeasurementError(
                    f"layer {text[:80]!r}: a name is one line of at most {MAX_NAME_CHARACTERS} characters"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerProfile:
    """Times of every layer in every profiled run.

    Attributes:
        source: what told them, such as ``onnxruntime 1.22 profiler``.
        layers: in order of execution.
        times_ns: per run, a time for each layer, nanoseconds.
    """

    __pydantic_config__ = AS_DOCUMENT

    source: str
    layers: tuple[ProfiledLayer, ...]
    times_ns: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.layers) <= MAX_LAYERS or not 1 <= len(self.times_ns) <= MAX_PROFILED_RUNS:
            raise InvalidMeasurementError(
                f"a profile of {len(self.layers)} layers in {len(self.times_ns)} runs: give 1 to {MAX_LAYERS} layers "
                f"and 1 to {MAX_PROFILED_RUNS} runs"
            )
        if any(len(run) != len(self.layers) for run in self.times_ns):
            raise InvalidMeasurementError("a profile has runs without a time for every layer")
        if not all(0 <= time_ns <= MAX_LAYER_NS for run in self.times_ns for time_ns in run):
            raise InvalidMeasurementError(f"a layer takes less than nothing or more than {MAX_LAYER_NS} ns")
        if self.source != one_line(self.source, MAX_NAME_CHARACTERS) or not self.source:
            raise InvalidMeasurementError(f"a profile's source is {self.source[:80]!r}: name the profiler")

    @property
    def num_runs(self) -> int:
        """Runs that were profiled."""
        return len(self.times_ns)

    def mean_us(self, layers: Sequence[int]) -> Interval:
        """Mean time of some layers together, by their numbers, with its 95 % interval over the runs.

        The interval is the normal one of a mean, 1.96 s / sqrt(n); runs are taken whole, so that layers which are slow
        together are counted so. Means, because profilers count whole microseconds: a median of them would be one.
        """
        sums_us = np.asarray(self.times_ns, dtype=np.int64)[:, list(layers)].sum(axis=1) / 1e3
        mean = float(sums_us.mean())
        if len(sums_us) == 1:
            return Interval(mean)
        return Interval.of_error(mean, float(sums_us.std(ddof=1)) / float(np.sqrt(len(sums_us))))


def compress_times(times_ns: Sequence[Sequence[int]]) -> bytes:
    """Times as zlib of little-endian int64, run by run; `decompress_times` reads it."""
    return zlib.compress(np.asarray(times_ns, dtype="<i8").tobytes())


def decompress_times(data: bytes, num_runs: int, num_layers: int) -> tuple[tuple[int, ...], ...]:
    """The inverse of `compress_times`; refuses anything but exactly `num_runs` times `num_layers` numbers.

    Raises:
        InvalidMeasurementError: the bytes are malformed, or hold another number of times.
    """
    if not 1 <= num_runs <= MAX_PROFILED_RUNS or not 1 <= num_layers <= MAX_LAYERS:
        raise InvalidMeasurementError(f"a profile of {num_layers} layers in {num_runs} runs is announced")
    wanted = 8 * num_runs * num_layers
    try:
        stream = zlib.decompressobj()
        raw = stream.decompress(data, wanted + 1)
    except zlib.error as error:
        raise InvalidMeasurementError(f"not compressed times of layers: {error}") from error
    if len(raw) != wanted or not stream.eof or stream.unused_data:
        raise InvalidMeasurementError(f"{len(data)} bytes do not hold {num_runs} times {num_layers} layers")
    times: npt.NDArray[np.int64] = np.frombuffer(raw, dtype="<i8").reshape(num_runs, num_layers)
    return tuple(tuple(map(int, run)) for run in times)
