"""One leased job from assignment to result: fetch, measure (several times for audits) or classify, and the outcome."""

from __future__ import annotations

import contextlib
import logging
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from device_agent.child.process import Measurer
from device_agent.failures import AgentError, JobFailedError, JobStoppedError, RuntimeUnavailableError
from device_agent.measuring.canary import Canary
from device_agent.measuring.classify import ClassifyRequest
from device_agent.measuring.procedure import MeasureRequest, OnPhase, Phase
from device_agent.runtime.base import SessionSettings
from device_agent.server_link.artifacts import ArtifactCache, ArtifactRef
from device_agent.server_link.backoff import Backoff
from device_agent.stop import StopToken
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import (
    CanaryReading,
    Dtype,
    Measurement,
    MeasurementProfile,
    Validity,
    ValidityFlag,
    usable_blocks,
)
from nas_engine.domain.measuring.classification import Classification

_log = logging.getLogger(__name__)
FetchStream = Callable[[str, int, StopToken], Iterator[tuple[int, bytes]]]
"""(sha256, offset, token) -> chunks; ends the stream when the token is set."""


@dataclass(frozen=True, slots=True)
class LeaseKey:
    """Names one lease of one job on the wire."""

    job_id: str
    attempt: int
    lease_id: str
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryOrder:
    """A golden model the server wants around a measurement; see `Canary`."""

    model: ArtifactRef
    baseline_us: float | None = None
    output_digest: str = ""
    tolerance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureOrder:
    """A measurement the server orders: the model, and how to load and time it."""

    model: ArtifactRef
    profile: MeasurementProfile
    dtype: Dtype
    batch: int
    num_threads: int
    core_mask: str
    input_seed: int
    input_ranges: Mapping[str, tuple[int, int]]
    canary: CanaryOrder | None
    cpu_operators: tuple[str, ...]
    layer_times: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyOrder:
    """What the server wants classified: the first `num_images` of an image set."""

    model: ArtifactRef
    images: ArtifactRef
    num_images: int
    dtype: Dtype
    batch: int
    num_threads: int
    core_mask: str


@dataclass(slots=True, kw_only=True)
class LeasedJob:
    """A job this agent holds. `phase` is written by the job's thread and read by the renewing one.

    Attributes:
        order: what to do; None where this agent does not know that kind of work, or the order is malformed.
        complaint: why there is no order.
        ttl_s, timeout_s: of the lease; longest the job may take.
    """

    lease: LeaseKey
    order: MeasureOrder | ClassifyOrder | None
    complaint: str = ""
    ttl_s: float
    timeout_s: float
    phase: Phase = Phase.ASSIGNED
    token: StopToken = field(default_factory=StopToken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job ended: a measurement, predictions or a failure (with the canary that was off), and how long it took."""

    measurement: Measurement | None = None
    classification: Classification | None = None
    failure: FailureType | None = None
    message: str = ""
    canary: CanaryReading | None = None
    phase: Phase
    fetch_s: float = 0.0
    device_s: float = 0.0
    total_s: float = 0.0


class FetchPausedError(Exception):
    """A fetch ahead of its job stopped, because the running job is to be left alone."""


class JobRunner:
    """Runs leased jobs, one at a time.

    Args:
        cache: of artifacts.
        measurer: child processes, or this one.
        fetch: streams an artifact from the server.
        max_model_bytes: larger models are refused before they are fetched.
    """

    def __init__(self, cache: ArtifactCache, measurer: Measurer, fetch: FetchStream, *, max_model_bytes: int) -> None:
        self._cache = cache
        self._measurer = measurer
        self._fetch = fetch
        self._max_model_bytes = max_model_bytes

    def has_artifacts(self, job: LeasedJob) -> bool:
        """Whether everything the job needs is in the cache."""
        return all(self._cache.has(ref) for ref in _artifacts(job))

    def fetch_ahead(self, job: LeasedJob, must_pause: Callable[[], bool]) -> None:
        """Get what the job needs into the cache, checked. Not beside a job that fetches itself.

        Args:
            must_pause: asked before each chunk.

        Raises:
            FetchPausedError: it had to; called again, it goes on from there.
            JobFailedError, JobStoppedError, OSError: as the job itself would end, were it run.
        """
        if job.order is not None:
            self._refuse_large(job.order.model)
        for ref in _artifacts(job):
            with self._artifact(ref, job.token, must_pause):
                pass

    def run(self, job: LeasedJob) -> Outcome:
        """Do the job; every way it can end is an outcome, also being stopped."""
        start = time.monotonic()
        timing = _Timing()
        try:
            outcome = self._do(job, timing, start + job.timeout_s)
        except JobStoppedError as error:
            outcome = Outcome(failure=error.type, message=str(error), phase=job.phase)
        except JobFailedError as error:
            outcome = Outcome(failure=error.type, message=error.message, canary=error.canary, phase=job.phase)
        except RuntimeUnavailableError as error:
            outcome = Outcome(failure=FailureType.INIT_FAILED, message=str(error), phase=job.phase)
        except (AgentError, OSError, ValueError, RuntimeError) as error:
            _log.exception("job %s failed in the agent itself", job.lease.job_id)
            outcome = Outcome(
                failure=FailureType.AGENT_FAULT, message=f"{type(error).__name__}: {error}", phase=job.phase
            )
        total_s = time.monotonic() - start
        return replace(outcome, fetch_s=timing.fetch_s, device_s=timing.device_s, total_s=total_s)

    def _do(self, job: LeasedJob, timing: _Timing, deadline: float) -> Outcome:
        job.token.check()
        match job.order:
            case None:
                raise JobFailedError(FailureType.UNSUPPORTED, job.complaint)
            case MeasureOrder() as order:
                self._refuse_large(order.model)
                return Outcome(measurement=self._measure(job, order, timing, deadline), phase=job.phase)
            case ClassifyOrder() as order:
                self._refuse_large(order.model)
                return Outcome(classification=self._classify(job, order, timing, deadline), phase=job.phase)

    def _refuse_large(self, model: ArtifactRef) -> None:
        if model.size_bytes > self._max_model_bytes:
            raise JobFailedError(
                FailureType.MODEL_REJECTED,
                f"model of {model.size_bytes} bytes: this device takes at most {self._max_model_bytes}",
            )

    def _classify(self, job: LeasedJob, order: ClassifyOrder, timing: _Timing, deadline: float) -> Classification:
        if order.images.size_bytes > self._cache.max_bytes:
            raise JobFailedError(
                FailureType.UNSUPPORTED,
                f"image set of {order.images.size_bytes} bytes: this agent's cache holds {self._cache.max_bytes}",
            )
        with contextlib.ExitStack() as held:
            job.phase = Phase.FETCHING
            fetch_start = time.monotonic()
            images = held.enter_context(self._artifact(order.images, job.token))
            model = held.enter_context(self._artifact(order.model, job.token))
            timing.fetch_s = time.monotonic() - fetch_start
            job.phase = Phase.PREPARING
            device_start = time.monotonic()
            remaining_s = deadline - device_start
            if remaining_s <= 0:
                raise JobFailedError(FailureType.RUNTIME_TIMEOUT, f"fetching took longer than {job.timeout_s:.0f} s")
            try:
                request = _classify_request(order, model, images)
                return self._measurer.classify(request, job.token, _phase_setter(job), remaining_s)
            finally:
                timing.device_s = time.monotonic() - device_start

    def _measure(self, job: LeasedJob, order: MeasureOrder, timing: _Timing, deadline: float) -> Measurement:
        with contextlib.ExitStack() as held:
            job.phase = Phase.FETCHING
            fetch_start = time.monotonic()
            model = held.enter_context(self._artifact(order.model, job.token))
            canary = None
            if order.canary is not None:
                golden = held.enter_context(self._artifact(order.canary.model, job.token))
                canary = _canary(order.canary, golden)
            timing.fetch_s = time.monotonic() - fetch_start
            job.phase = Phase.PREPARING
            device_start = time.monotonic()
            try:
                return self._replicate(_request(order, model, canary), job, deadline)
            finally:
                timing.device_s = time.monotonic() - device_start

    def _artifact(
        self, ref: ArtifactRef, token: StopToken, must_pause: Callable[[], bool] = lambda: False
    ) -> contextlib.AbstractContextManager[Path]:
        backoff = Backoff(maximum_s=10.0)

        def fetch(sha256: str, offset: int) -> Iterator[tuple[int, bytes]]:
            token.check()
            for chunk in self._fetch(sha256, offset, token):
                if must_pause():
                    raise FetchPausedError
                yield chunk

        def pause(_: int) -> None:
            token.wait(backoff.next_s())

        return self._cache.use(ref, fetch, pause=pause)

    def _replicate(self, request: MeasureRequest, job: LeasedJob, deadline: float) -> Measurement:
        """As many fresh processes as the profile asks for, merged into one measurement."""
        parts: list[Measurement] = []
        on_phase = _phase_setter(job)
        for number in range(request.profile.num_processes):
            if number:
                self._measurer.prepare()
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise JobFailedError(FailureType.RUNTIME_TIMEOUT, f"the job took longer than its {job.timeout_s:.0f} s")
            # The layers are timed once: in the first process, whose record the merged measurement keeps.
            wanted = replace(request, layer_times=request.layer_times and number == 0)
            parts.append(self._measurer.measure(wanted, job.token, on_phase, remaining_s))
        return merge_measurements(parts, request.profile)


def merge_measurements(parts: list[Measurement], profile: MeasurementProfile) -> Measurement:
    """One measurement of several processes: all blocks and flags, and NOISY where the processes disagree.

    Source of the rule: MLPerf Mobile 2.9, results replicate within 5 %.
    """
    first, last = parts[0], parts[-1]
    if len(parts) == 1:
        return first
    flags = list(dict.fromkeys(flag for part in parts for flag in part.flags))
    medians = [
        statistics.median(sample for block in usable_blocks(part.blocks) for sample in block.e2e_ns) for part in parts
    ]
    spread = max(medians) / min(medians) - 1.0
    if spread > profile.replication_tolerance:
        reason = (
            f"medians of {len(parts)} processes differ by {spread:.1%}; {profile.replication_tolerance:.0%} allowed"
        )
        flags.append(ValidityFlag(Validity.NOISY, reason))
    return replace(
        first,
        blocks=tuple(block for part in parts for block in part.blocks),
        flags=tuple(flags),
        canary_after=last.canary_after,
    )


@dataclass(slots=True)
class _Timing:
    fetch_s: float = 0.0
    device_s: float = 0.0


def _artifacts(job: LeasedJob) -> tuple[ArtifactRef, ...]:
    match job.order:
        case MeasureOrder(model=model, canary=canary):
            return (model,) if canary is None else (model, canary.model)
        case ClassifyOrder(model=model, images=images):
            return (images, model)
        case None:
            return ()


def _phase_setter(job: LeasedJob) -> OnPhase:
    def set_phase(phase: Phase) -> None:
        job.phase = phase

    return set_phase


def _request(order: MeasureOrder, model: Path, canary: Canary | None) -> MeasureRequest:
    return MeasureRequest(
        model=model,
        settings=SessionSettings(
            format=order.model.format,
            num_threads=max(1, order.num_threads),
            core_mask=order.core_mask,
            input_seed=order.input_seed,
            input_ranges=order.input_ranges,
            batch=order.batch,
        ),
        profile=order.profile,
        dtype=order.dtype,
        canary=canary,
        cpu_operators=order.cpu_operators,
        layer_times=order.layer_times,
    )


def _classify_request(order: ClassifyOrder, model: Path, images: Path) -> ClassifyRequest:
    return ClassifyRequest(
        model=model,
        images=images,
        images_sha256=order.images.sha256,
        num_images=order.num_images,
        settings=SessionSettings(
            format=order.model.format,
            num_threads=max(1, order.num_threads),
            core_mask=order.core_mask,
            batch=order.batch,
        ),
        dtype=order.dtype,
    )


def _canary(order: CanaryOrder, path: Path) -> Canary:
    return Canary(
        path=path,
        sha256=order.model.sha256,
        format=order.model.format,
        baseline_us=order.baseline_us,
        output_digest=order.output_digest,
        tolerance=order.tolerance,
    )
