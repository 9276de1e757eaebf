"""How a candidate gets its latency: an earlier measurement, or a job that is under way, or a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas_engine.domain.measuring.profile import PROFILE_NAMES, ProfileName
from nas_engine.domain.metrics import LATENCY_US
from server.artifacts.artifact import ModelFormat, WeightsOrigin
from server.artifacts.store import ArtifactStore
from server.candidates.candidate import AwaitedEvaluation, Candidate, Evaluation
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.lifecycle import (
    end_candidate,
    record_value,
)
from server.candidates.search import Search
from server.candidates.search_store import SearchStore
from server.candidates.states import (
    CandidateState,
    EvaluationSource,
)
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.wakeups import Topic
from server.core.errors import InvalidValueError
from server.core.ids import IdPrefix, new_id
from server.fleet.device import HardwareProfile
from server.fleet.device_spec import DeviceSpec
from server.fleet.selection import converter_labels, format_for
from server.fleet.sharing.sharing import serves_better
from server.fleet.store import DeviceStore, HardwareStore
from server.jobs.job import Job, JobTarget, NewJob
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.jobs.states import JobKind, JobState
from server.measuring.evidence import find_reusable
from server.measuring.measurement import MeasurementKind, MeasurementRecord
from server.measuring.payloads import ConvertPayload, MeasurePayload
from server.spaces.architecture import ArchitectureDocument


def profiles_from(profile: ProfileName) -> tuple[ProfileName, ...]:
    """List the profiles that are at least as thorough as `profile`."""
    return PROFILE_NAMES[PROFILE_NAMES.index(profile) :]


def record_latency(
    tx: Transaction,
    search: Search,
    candidate: Candidate,
    measurement: MeasurementRecord,
    source: EvaluationSource,
    attempt: int,
) -> Search:
    """Give a candidate the p50 of a measurement as its latency; that of a simulator is labelled so."""
    if source is EvaluationSource.MEASURED and measurement.kind is MeasurementKind.SIMULATED:
        source = EvaluationSource.SIMULATED
    evaluation = Evaluation(
        id=new_id(IdPrefix.EVALUATION),
        search_id=search.id,
        candidate_id=candidate.id,
        metric=LATENCY_US,
        value=measurement.stats.p50_us,
        uncertainty=measurement.standard_error_us,
        validity=measurement.validity,
        flags=tuple(flag.validity for flag in measurement.flags),
        source=source,
        attempt=attempt,
        measurement_id=measurement.id,
        created_at=tx.now(),
    )
    return record_value(tx, search, candidate, evaluation)


def serves(search: Search, measurement: MeasurementRecord) -> bool:
    """Whether a measurement may steer a search: same hardware of the same type, thorough and trustworthy enough."""
    policy = search.spec.measurement.validity_policy
    return (
        search.hardware_key == measurement.hardware_key
        and _device(search).device_type == measurement.device_type
        and measurement.profile in profiles_from(search.spec.measurement.profile)
        and policy.accepts(measurement.flags)
        and not measurement.suspect
    )


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model that can be sent to a device."""

    sha256: str
    format: ModelFormat
    cpu_operators: tuple[str, ...] = ()


class LatencyScheduler:
    """Finds or orders the latency of candidates; runs inside the caller's transaction, on locked searches."""

    def __init__(self, settings: SearchSettings) -> None:
        self._settings = settings

    def request(self, tx: Transaction, search: Search, candidate: Candidate, attempt: int = 1) -> Search:
        """See to it that a candidate gets a latency: at once where one is known, else by a job.

        A job under way is locked before measurements are looked up, so that it cannot end between the two.
        """
        profile = self._hardware(tx, search)
        latency_key = _latency_key(candidate)
        under_way = JobStore(tx).lock_active_job(measure_key(search, latency_key)) or JobStore(tx).lock_active_job(
            _convert_key(profile, latency_key)
        )
        if under_way is not None and under_way.kind is JobKind.MEASURE:
            _take_over(tx, under_way, search, candidate.id)
        model = self._model(tx, candidate, profile)
        if model is not None and (reason := npu_refusal(search, model.cpu_operators)) and not candidate.state.final:
            return end_candidate(tx, search, candidate, CandidateState.INFEASIBLE, reason)
        known = self.known(tx, search, latency_key)
        if known is not None and attempt == 1:
            return record_latency(tx, search, candidate, known, EvaluationSource.REUSED, attempt)
        EvaluationStore(tx).await_evaluations(
            [
                AwaitedEvaluation(
                    search_id=search.id,
                    candidate_id=candidate.id,
                    metric=LATENCY_US,
                    attempt=attempt,
                    latency_key=latency_key,
                    hardware_key=profile.hardware_key,
                )
            ]
        )
        if under_way is None:
            if model is None:
                self._order_conversion(tx, search, candidate, profile)
            else:
                self.order_measurement(tx, search, candidate, model)
        return search

    def known(self, tx: Transaction, search: Search, latency_key: str) -> MeasurementRecord | None:
        """An earlier measurement that may steer this search."""
        spec = search.spec.measurement
        if not spec.reuse:
            return None
        profile = self._hardware(tx, search)
        found = find_reusable(
            tx,
            latency_key,
            profile,
            _device(search).device_type,
            profiles_from(spec.profile),
            spec.validity_policy,
        )
        return found if found is not None and serves(search, found) else None

    def order_measurement(self, tx: Transaction, search: Search, candidate: Candidate, model: ModelFile) -> Job:
        """Queue the measuring job of a candidate whose model file is there; shared with whoever awaits the same."""
        profile = self._hardware(tx, search)
        device = _device(search)
        latency_key = _latency_key(candidate)
        payload = MeasurePayload(
            model_sha256=model.sha256,
            model_format=model.format,
            profile=search.spec.measurement.profile,
            dtype=device.dtype,
            batch=device.batch,
            latency_key=latency_key,
            hardware_key=profile.hardware_key,
            core_mask=profile.key.identity.core_mask,
            validity_policy=search.spec.measurement.validity_policy,
            timeout_s=search.spec.measurement.timeout_s,
            arch_id=candidate.arch_id,
            cpu_operators=model.cpu_operators,
            layer_times=search.spec.measurement.layer_times,
        )
        tx.wake(Topic.DEVICE_JOBS)
        job = JobStore(tx).add_job(
            NewJob(
                kind=JobKind.MEASURE,
                payload=payload.to_json(),
                dedupe_key=measure_key(search, latency_key),
                priority=search.spec.priority,
                max_attempts=search.spec.measurement.max_attempts,
                target=JobTarget(device_type=device.device_type, pool_key=profile.pool_key, labels=dict(device.labels)),
                search_id=search.id,
                owner=search.owner,
                candidate_id=candidate.id,
                latency_key=latency_key,
                hardware_key=profile.hardware_key,
            )
        )
        _take_over(tx, job, search, candidate.id)
        return job

    def _order_conversion(
        self, tx: Transaction, search: Search, candidate: Candidate, profile: HardwareProfile
    ) -> None:
        device = _device(search)
        latency_key = _latency_key(candidate)
        # A supernet that shifts has other weights by the time its candidates are judged, or even another classifier.
        inherited = search.supernet_version_id is not None and search.spec.shifting is None
        payload = ConvertPayload(
            architecture=ArchitectureDocument.of(candidate.record.architecture),
            arch_id=candidate.arch_id,
            latency_key=latency_key,
            hardware_key=profile.hardware_key,
            format=format_for(profile.key.identity.runtime),
            dtype=device.dtype,
            batch=device.batch,
            weights=WeightsOrigin.INHERITED if inherited else WeightsOrigin.RANDOM,
            supernet_version_id=search.supernet_version_id if inherited else None,
            search_id=search.id,
            candidate_id=candidate.id,
        )
        JobStore(tx).add_job(
            NewJob(
                kind=JobKind.CONVERT,
                payload=payload.to_json(),
                dedupe_key=_convert_key(profile, latency_key),
                priority=search.spec.priority,
                target=JobTarget(labels=converter_labels(payload.format)),
                max_attempts=self._settings.max_evaluation_attempts,
                search_id=search.id,
                owner=search.owner,
                candidate_id=candidate.id,
                latency_key=latency_key,
                hardware_key=profile.hardware_key,
            )
        )
        tx.wake(Topic.WORKER_JOBS)

    def _model(self, tx: Transaction, candidate: Candidate, profile: HardwareProfile) -> ModelFile | None:
        format = format_for(profile.key.identity.runtime)
        # Latency does not depend on weights: any export under this key will do.
        export = ArtifactStore(tx).find_export(_latency_key(candidate), format, tuple(WeightsOrigin), None)
        if candidate.model_sha256 is not None and (export is None or export.sha256 != candidate.model_sha256):
            return ModelFile(candidate.model_sha256, format)
        return None if export is None else ModelFile(export.sha256, export.format, export.cpu_operators)

    def _hardware(self, tx: Transaction, search: Search) -> HardwareProfile:
        if search.hardware_key is None:
            raise InvalidValueError(f"search {search.id} has no hardware key: its spec names no device")
        return HardwareStore(tx).get_hardware(search.hardware_key)


class SharedMeasurements:
    """Use case of measurements that searches of several owners await, of which one has ordered them.

    A board may close to the one while it is open to another: as its window ends, as the one has had its day's share, or
    as its rules are changed.
    """

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def hand_over(self) -> int:
        """Let each go on for who gets a board for it now. Idempotent; any replica may.

        Returns:
            How many changed hands.
        """

        def look(tx: Transaction) -> tuple[tuple[str, str, str], ...]:
            if not DeviceStore(tx).has_rules():
                return ()
            return EvaluationStore(tx).awaited_of_other_owners(JobKind.MEASURE)

        found = self._uow.read(look)
        return sum(self._uow.write(lambda tx, one=one: self._hand_over(tx, *one)) for one in found)  # type: ignore[misc]

    @staticmethod
    def _hand_over(tx: Transaction, job_id: str, search_id: str, candidate_id: str) -> bool:
        job, search = JobStore(tx).lock_job(job_id), SearchStore(tx).get_search(search_id)
        if job.state is not JobState.QUEUED or job.latency_key is None:
            return False
        if job.dedupe_key != measure_key(search, job.latency_key):  # it awaits another job under this key
            return False
        return _take_over(tx, job, search, candidate_id)


def _take_over(tx: Transaction, job: Job, search: Search, candidate_id: str) -> bool:
    """Let a measurement that another search has ordered go on as this one's where only this one's owner gets a board;
    the other goes on waiting for its value.
    """
    if not serves_better(tx, job, job.target, search.owner):
        return False
    JobStore(tx).assign_job_to(job.id, search.id, candidate_id, search.spec.priority, search.owner)
    tx.wake(Topic.DEVICE_JOBS)
    return True


def measure_key(search: Search, latency_key: str) -> str:
    """Dedupe key of a measuring job: searches that would accept the same result share it."""
    spec, device = search.spec.measurement, _device(search)
    labels = ",".join(f"{k}={v}" for k, v in sorted(device.labels.items()))
    accepted = f"{spec.profile}:{spec.validity_policy}:{labels}"
    return f"measure:{latency_key}:{search.hardware_key}:{device.device_type}:{accepted}"


def npu_refusal(search: Search, cpu_operators: Sequence[str]) -> str:
    """Why the compiler's table makes an architecture infeasible for a search; empty where it does not."""
    device = search.spec.device
    if device is None or not device.npu_only or not cpu_operators:
        return ""
    return f"npu_only: the compiler leaves operators to the CPU: {', '.join(dict.fromkeys(cpu_operators))}"


def _convert_key(profile: HardwareProfile, latency_key: str) -> str:
    return f"convert:{latency_key}:{format_for(profile.key.identity.runtime).value}:{profile.hardware_key}"


def _latency_key(candidate: Candidate) -> str:
    if candidate.latency_key is None:
        raise InvalidValueError(f"candidate {candidate.id} has no latency key: its space has no layer graphs")
    return candidate.latency_key


def _device(search: Search) -> DeviceSpec:
    if search.spec.device is None:
        raise InvalidValueError(f"the spec of search {search.id} names no device: latency cannot be measured")
    return search.spec.device
