"""From an agent's settings to the bench it measures on: runtime, readings, lock and identity, built in any process."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from device_agent.failures import FailureType, JobFailedError
from device_agent.measuring.environment import base_environment, core_label, device_identity
from device_agent.measuring.procedure import Bench
from device_agent.measuring.protocol import Lock
from device_agent.measuring.telemetry import BoardTelemetry, SilentTelemetry, Telemetry
from device_agent.runtime.base import SessionSettings
from device_agent.runtime.select import RuntimeName, RuntimeOptions, create_runtime
from nas_engine.domain.host_lock import HostBusyError, HostLock
from nas_engine.domain.measurement import DeviceClass, DeviceIdentity, EnvironmentRecord

LOCK_WAIT_S = 120.0  # a timed block takes a second or so


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """Everything a measuring process must know of its agent; crosses the process boundary as JSON.

    Attributes:
        runtime: name of the engine.
        options: settings of the engine.
        num_threads: processor threads of the engine; part of the hardware key.
        board_model: overrides what the board says of itself; empty takes that.
        clocks_profile: name of the clock setting in force.
        requested_khz: clock -> what it was pinned to.
        ambient_label: what an operator says of the surroundings.
        lock_path: the host-wide timing lock.
        lock_wait_s: a lock that is not to be had for so long ends the job.
        root: where /proc and /sys are.
        model_memory_bytes: address space a model may add to its measuring process; 0 for no limit.
    """

    runtime: RuntimeName
    options: RuntimeOptions
    num_threads: int = 1
    board_model: str = ""
    clocks_profile: str = "unpinned"
    requested_khz: tuple[tuple[str, int], ...] = ()
    ambient_label: str | None = None
    lock_path: Path
    lock_wait_s: float = LOCK_WAIT_S
    root: Path = Path("/")
    model_memory_bytes: int = 0

    def to_json(self) -> str:
        """As text for the command line of a child."""
        document = asdict(self) | {
            "runtime": self.runtime.value,
            "lock_path": str(self.lock_path),
            "root": str(self.root),
        }
        return json.dumps(document)

    @classmethod
    def from_json(cls, text: str) -> BenchSettings:
        """The inverse of `to_json`; the text comes from our own parent process."""
        document = json.loads(text)
        options = document["options"]
        document["options"] = RuntimeOptions(
            **options
            | {
                "cpus": tuple(options["cpus"]),
                "core_masks": tuple(options["core_masks"]),
                "versions": tuple((str(n), str(v)) for n, v in options["versions"]),
            }
        )
        document["runtime"] = RuntimeName(document["runtime"])
        document["requested_khz"] = tuple((str(n), int(k)) for n, k in document["requested_khz"])
        document["lock_path"], document["root"] = Path(document["lock_path"]), Path(document["root"])
        return cls(**document)


class DeviceBench:
    """The bench of one process; making it loads the engine, which is the slow part."""

    def __init__(self, settings: BenchSettings) -> None:
        self._settings = settings
        self.board = BoardTelemetry(
            settings.root, requested_khz=dict(settings.requested_khz), whole_process=settings.num_threads > 1
        )
        options = settings.options
        if settings.runtime is RuntimeName.RKNNLITE and not options.versions:
            # They are part of the hardware key, so they must be known before the library tells them of a loaded model.
            options = replace(options, versions=self.board.npu_versions())
        self.runtime = create_runtime(settings.runtime, options)

    @property
    def simulated(self) -> bool:
        """Nothing real is timed: the host's state has no influence."""
        return self.runtime.facts.device_class is DeviceClass.SIMULATED

    def identity(self, core_mask: str = "") -> DeviceIdentity:
        """The device's part of the hardware key; simulated devices are the same on every host."""
        model = self._settings.board_model or (
            f"{self.runtime.facts.name} device" if self.simulated else self.board.board_model()
        )
        return device_identity(
            self.runtime.facts,
            board_model=model,
            clocks_profile="simulated" if self.simulated else self._settings.clocks_profile,
            core_mask=core_mask,
            num_threads=self._settings.num_threads,
        )

    def core_labels(self) -> tuple[str, ...]:
        """Every core mask a job may ask for, as hardware keys write it."""
        facts = self.runtime.facts
        return tuple(core_label(facts, mask, self._settings.num_threads) for mask in facts.core_masks)

    def environment(self) -> EnvironmentRecord:
        """What stays the same between jobs."""
        return base_environment(self.board, self.runtime.facts, ambient_label=self._settings.ambient_label)

    def for_job(self, settings: SessionSettings) -> tuple[Bench, SessionSettings]:
        """The bench for one job, and the job's settings with the agent's where the job left them open.

        Raises:
            JobFailedError: UNSUPPORTED; a core mask or format this device does not offer.
        """
        facts = self.runtime.facts
        labels = self.core_labels()
        if settings.core_mask and settings.core_mask not in labels:
            raise JobFailedError(
                FailureType.UNSUPPORTED, f"core mask {settings.core_mask!r} is not one of {', '.join(labels)}"
            )
        if settings.format not in facts.model_formats:
            raise JobFailedError(
                FailureType.UNSUPPORTED, f"{facts.name} takes {', '.join(facts.model_formats)}, not {settings.format!r}"
            )
        mask = facts.core_masks[labels.index(settings.core_mask)] if settings.core_mask else facts.core_masks[0]
        telemetry: Telemetry = SilentTelemetry() if self.simulated else self.board
        bench = Bench(
            runtime=self.runtime,
            telemetry=telemetry,
            lock=nullcontext if self.simulated else self._lock(),
            identity=self.identity(mask),
            environment=self.environment(),
        )
        return bench, replace(settings, core_mask=mask, num_threads=self._settings.num_threads)

    def _lock(self) -> Lock:
        lock = HostLock(self._settings.lock_path)

        def take() -> _BusyAsFailure:
            return _BusyAsFailure(lock, self._settings.lock_wait_s)

        return take


class _BusyAsFailure:
    """The timing lock; a lock that cannot be had is a typed failure of the job."""

    def __init__(self, lock: HostLock, wait_s: float) -> None:
        self._held = lock.timing(wait_s)

    def __enter__(self) -> None:
        try:
            self._held.__enter__()
        except HostBusyError as error:
            raise JobFailedError(FailureType.DEVICE_BUSY, str(error)) from error

    def __exit__(self, *details: object) -> None:
        self._held.__exit__(None, None, None)
