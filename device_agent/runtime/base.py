"""What the agent asks of an inference engine, and of the clock it is timed with."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from nas_engine.domain.measurement import DeviceClass, Dtype
from nas_engine.domain.measuring.layer_times import LayerProfile


class Clock(Protocol):
    """Monotonic time of the device. Simulated runtimes bring a clock of their own."""

    def now_ns(self) -> int:
        """Nanoseconds since some fixed moment; never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`, or let them pass at once where time is virtual."""
        ...


class MonotonicClock:
    """CLOCK_MONOTONIC of this machine. `time.time` is never used for durations: it can be set."""

    def now_ns(self) -> int:
        return time.perf_counter_ns()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class VirtualClock:
    """A clock that moves only when it is advanced: simulated runs take no real time and repeat exactly."""

    def __init__(self) -> None:
        self._now_ns = 0

    def now_ns(self) -> int:
        return self._now_ns

    def sleep(self, seconds: float) -> None:
        """Advance the clock without waiting."""
        self.advance_ns(round(seconds * 1e9))

    def advance_ns(self, duration_ns: int) -> None:
        """Move on by `duration_ns`, at least 0."""
        self._now_ns += max(duration_ns, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFacts:
    """What a runtime is and can do.

    Attributes:
        name: as in the hardware key.
        device_class: board, emulated or simulated.
        versions: (component, version), sorted.
        dtypes: arithmetic it can do.
        model_formats: artifacts it takes.
        core_masks: usable core masks, the default first.
        uses_processor: the timing thread does the work itself, so preemption shows in its own counters.
        has_npu_time: whether sessions tell the accelerator's own time.
        executes: it computes outputs of inputs; False where only latencies are computed.
    """

    name: str
    device_class: DeviceClass
    versions: tuple[tuple[str, str], ...]
    dtypes: tuple[Dtype, ...]
    model_formats: tuple[str, ...]
    core_masks: tuple[str, ...]
    uses_processor: bool
    has_npu_time: bool
    executes: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """How to load a model.

    Attributes:
        format: the artifact's format.
        num_threads: processor threads of the runtime, at least 1.
        core_mask: one of the runtime's masks; empty for its default.
        input_seed: the fixed input is drawn from it.
        input_ranges: lowest and highest number of integer inputs by name; 0 and 1 for the others.
        batch: images per inference the job expects.
    """

    format: str
    num_threads: int = 1
    core_mask: str = ""
    input_seed: int = 0
    input_ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    batch: int = 1


Output = npt.NDArray[np.generic]


class Session(Protocol):
    """One loaded model with a fixed input."""

    def run(self) -> None:
        """One inference through the runtime's public call.

        Raises:
            JobFailedError: RUN_FAILED; the runtime reported an error.
        """
        ...

    def last_npu_ns(self) -> int | None:
        """The accelerator's own time of the last run; None where the runtime does not tell."""
        ...

    def outputs(self) -> Sequence[Output]:
        """Copies of the last run's outputs."""
        ...

    def close(self) -> None:
        """Free the model and what the engine holds for it."""
        ...


class Classifier(Protocol):
    """One loaded model that is given images."""

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """What the model declares for its only input, batch first; None where it takes anything (test doubles)."""
        ...

    def outputs(self, x: npt.NDArray[np.float32]) -> Output:
        """Its only output for one batch of the declared shape.

        Raises:
            JobFailedError: RUN_FAILED; or MODEL_REJECTED, where it takes no such numbers.
        """
        ...

    def close(self) -> None:
        """Free the model and what the engine holds for it."""
        ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """A session and what it cost to get it: reading and checking the model, and building the session."""

    session: Session
    load_ns: int
    init_ns: int


@runtime_checkable
class LayerTimer(Protocol):
    """A runtime whose engine has a profiler: what it offers beside `Runtime`."""

    def layer_times(self, path: Path, settings: SessionSettings, clock_budget_s: float) -> LayerProfile | None:
        """Load the model anew with the profiler on and run it a few times; None where it has too many layers.

        Args:
            clock_budget_s: about as long as the profiled runs may take together.

        Raises:
            JobFailedError: as `Runtime.load` and `Session.run`.
        """
        ...


class Runtime(Protocol):
    """An inference engine. One per measuring process."""

    @property
    def facts(self) -> RuntimeFacts:
        """What it is and can do."""
        ...

    @property
    def clock(self) -> Clock:
        """The clock its runs are timed with."""
        ...

    def load(self, path: Path, settings: SessionSettings) -> Loaded:
        """Check the model without the engine first, then load it.

        Raises:
            JobFailedError: MODEL_REJECTED, INIT_FAILED or OUT_OF_MEMORY.
        """
        ...

    def load_classifier(self, path: Path, settings: SessionSettings) -> Classifier:
        """As `load`, for a model that is to be given inputs.

        Raises:
            JobFailedError: as `load`; UNSUPPORTED where this runtime executes nothing.
        """
        ...
