"""The device a process measures on, built from the agent's settings: runtime, readings, timing lock and identity."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from device_agent.failures import JobFailedError
from device_agent.measuring.classify import ClassifyRequest, run_classification
from device_agent.measuring.environment import base_environment, core_label, device_identity
from device_agent.measuring.procedure import MeasureRequest, OnPhase, OnTimed, run_measurement
from device_agent.measuring.setup import MeasuringSetup
from device_agent.measuring.telemetry import BoardTelemetry, SilentTelemetry
from device_agent.runtime.base import SessionSettings
from device_agent.runtime.select import RuntimeName, RuntimeOptions, create_runtime, declared_runtime
from device_agent.version import agent_version
from nas_engine.domain.host.host_lock import HostBusyError, HostLock
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import DeviceClass, DeviceIdentity, EnvironmentRecord, Measurement
from nas_engine.domain.measuring.classification import Classification

LOCK_WAIT_S = 120.0  # a timed block takes a second or so


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuringSettings:
    """What a measuring process must know of its agent; it crosses the process boundary as JSON.

    Attributes:
        runtime: name of the engine.
        options: settings of the engines that ship.
        runtime_settings: of one that a package brings, as its declaration takes them.
        num_threads: processor threads of the engine; part of the hardware key.
        board_model: overrides what the board says of itself; empty takes that.
        clocks_profile: name of the clock setting in force.
        requested_khz: clock -> what it was pinned to.
        ambient_label: what an operator says of the surroundings.
        lock_path: the host-wide timing lock.
        lock_wait_s: a lock that is not to be had for so long ends the job.
        root: where /proc and /sys are.
        model_memory_bytes: address space a model may add to its measuring process; 0 for no limit.
        agent_version: version of the agent, for the record; looked up once, by the agent.
    """

    runtime: str
    options: RuntimeOptions
    runtime_settings: Mapping[str, Any] = field(default_factory=dict)
    num_threads: int = 1
    board_model: str = ""
    clocks_profile: str = "unpinned"
    requested_khz: tuple[tuple[str, int], ...] = ()
    ambient_label: str | None = None
    lock_path: Path
    lock_wait_s: float = LOCK_WAIT_S
    root: Path = Path("/")
    model_memory_bytes: int = 0
    agent_version: str = field(default_factory=agent_version)

    def to_json(self) -> str:
        """As text for the command line of a child."""
        document = asdict(self) | {
            "runtime": str(self.runtime),
            "lock_path": str(self.lock_path),
            "root": str(self.root),
        }
        return json.dumps(document)

    @classmethod
    def from_json(cls, text: str) -> MeasuringSettings:
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
        document["requested_khz"] = tuple((str(n), int(k)) for n, k in document["requested_khz"])
        document["lock_path"], document["root"] = Path(document["lock_path"]), Path(document["root"])
        return cls(**document)


class MeasuringDevice:
    """The device as one process uses it; building it loads the engine, which is the slow part.

    Raises:
        RuntimeUnavailableError: the engine is missing or does not work here.
    """

    def __init__(self, settings: MeasuringSettings) -> None:
        self._settings = settings
        self.board = BoardTelemetry(
            settings.root, requested_khz=dict(settings.requested_khz), whole_process=settings.num_threads > 1
        )
        options = settings.options
        if settings.runtime == RuntimeName.RKNNLITE and not options.versions:
            # They are part of the hardware key, so they must be known before the library tells them of a loaded model.
            options = replace(options, versions=self.board.npu_versions())
        self.runtime = create_runtime(settings.runtime, options, settings.runtime_settings)
        self.declared = declared_runtime(settings.runtime)

    @property
    def simulated(self) -> bool:
        """Whether the runtime computes its times: then the state of the host has no influence."""
        return self.runtime.facts.device_class is DeviceClass.SIMULATED

    def identity(self, core_mask: str = "") -> DeviceIdentity:
        """Identify the device in a hardware key; simulated devices are the same on every host."""
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
        """List every core mask a job may ask for, as hardware keys write it."""
        facts = self.runtime.facts
        return tuple(core_label(facts, mask, self._settings.num_threads) for mask in facts.core_masks)

    def environment(self) -> EnvironmentRecord:
        """Read what stays the same between jobs."""
        return base_environment(
            self.board,
            self.runtime.facts,
            agent_version=self._settings.agent_version,
            ambient_label=self._settings.ambient_label,
        )

    def measure(self, request: MeasureRequest, on_phase: OnPhase, on_timed: OnTimed = lambda _: None) -> Measurement:
        """Measure in this process. Raises as `prepare_job` and `run_measurement`."""
        setup, settings = self.prepare_job(request.settings)
        return run_measurement(replace(request, settings=settings), setup, on_phase, on_timed)

    def classify(self, request: ClassifyRequest, on_phase: OnPhase) -> Classification:
        """Classify in this process. Raises as `prepare_job` and `run_classification`."""
        setup, settings = self.prepare_job(request.settings)
        return run_classification(replace(request, settings=settings), setup, on_phase)

    def prepare_job(self, settings: SessionSettings) -> tuple[MeasuringSetup, SessionSettings]:
        """Build the setup for one job, and fill in the agent's settings where the job left them open.

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
        setup = MeasuringSetup(
            runtime=self.runtime,
            telemetry=SilentTelemetry() if self.simulated else self.board,
            lock=contextlib.nullcontext if self.simulated else self._timing_lock,
            identity=self.identity(mask),
            environment=self.environment(),
        )
        return setup, replace(settings, core_mask=mask, num_threads=self._settings.num_threads)

    @contextlib.contextmanager
    def _timing_lock(self) -> Iterator[None]:
        """Hold the host's timing lock; one that cannot be had is a failure of the job, DEVICE_BUSY."""
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(HostLock(self._settings.lock_path).timing(self._settings.lock_wait_s))
            except HostBusyError as error:
                raise JobFailedError(FailureType.DEVICE_BUSY, str(error)) from error
            yield
