"""How a candidate gets its latency: an earlier measurement, or a job that is under way, or a new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas_engine.domain.measuring.profile import PROFILE_NAMES, ProfileName
from nas_engine.domain.metric import Metric
from server.artifacts.artifact import ModelFormat, WeightsOrigin
from server.artifacts.store import ArtifactStore
from server.candidates.boards import Board
from server.candidates.candidate import AwaitedEvaluation, Candidate, Evaluation
from server.candidates.candidate_store import CandidateStore
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
    metric: Metric,
    measurement: MeasurementRecord,
    source: EvaluationSource,
    attempt: int,
) -> Search:
    """Give a candidate the p50 of a measurement as its latency on a board; that of a simulator is labelled so."""
    if source is EvaluationSource.MEASURED and measurement.kind is MeasurementKind.SIMULATED:
        source = EvaluationSource.SIMULATED
    evaluation = Evaluation(
        id=new_id(IdPrefix.EVALUATION),
        search_id=search.id,
        candidate_id=candidate.id,
        metric=metric,
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


def serves(search: Search, board: Board, measurement: MeasurementRecord) -> bool:
    """Whether a measurement may steer a search as its latency on a board: same hardware of the same type, thorough and
    trustworthy enough.
    """
    policy = board.measurement.validity_policy
    return (
        search.hardware_key_on(board) == measurement.hardware_key
        and board.device.device_type == measurement.device_type
        and measurement.profile in profiles_from(board.measurement.profile)
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

    def request(
        self, tx: Transaction, search: Search, candidate: Candidate, attempts: Mapping[Metric, int] | None = None
    ) -> Search:
        """See to it that a candidate gets its latencies: at once where one is known, else by a job.

        What is known is recorded last: it must not complete the candidate while another board is still to be asked.

        Args:
            attempts: number of the evaluation by the metric of each board to measure on; None for the first on each.
        """
        wanted = search.spec.metrics()
        boards = [one for one in search.spec.measured_boards() if attempts is None or one.metric in attempts]
        found: list[tuple[Board, MeasurementRecord]] = []
        for board in boards:
            attempt, is_needed = (attempts or {}).get(board.metric, 1), board.metric in wanted
            profile = self._hardware(tx, search, board)
            latency_key = candidate.latency_key_on(board)
            # Locked before measurements are looked up, so that it cannot end between the two.
            under_way = JobStore(tx).lock_active_job(measure_key(search, board, latency_key))
            under_way = under_way or JobStore(tx).lock_active_job(_convert_key(profile, latency_key))
            if under_way is not None and under_way.kind is JobKind.MEASURE:
                _take_over(tx, under_way, search, candidate.id)
            model = self._model(tx, candidate, board, profile)
            if model is not None and (reason := npu_refusal(board, model.cpu_operators)):
                if not is_needed:
                    continue
                if not candidate.state.final:
                    return end_candidate(tx, search, candidate, CandidateState.INFEASIBLE, reason)
            known = self.known(tx, search, board, latency_key)
            if known is not None and attempt == 1:
                found.append((board, known))
                if len(boards) == 1:
                    continue
            EvaluationStore(tx).await_evaluations(
                [
                    AwaitedEvaluation(
                        search_id=search.id,
                        candidate_id=candidate.id,
                        metric=board.metric,
                        attempt=attempt,
                        latency_key=latency_key,
                        hardware_key=profile.hardware_key,
                        is_needed=is_needed,
                    )
                ]
            )
            if under_way is None and (known is None or attempt > 1):
                if model is None:
                    self._order_conversion(tx, search, board, candidate, profile)
                else:
                    self.order_measurement(tx, search, board, candidate, model)
        for board, known in found:
            current = CandidateStore(tx).get_candidate(candidate.id) if len(boards) > 1 else candidate
            search = record_latency(tx, search, current, board.metric, known, EvaluationSource.REUSED, 1)
        return search

    def known(self, tx: Transaction, search: Search, board: Board, latency_key: str) -> MeasurementRecord | None:
        """An earlier measurement that may steer this search as its latency on a board."""
        spec = board.measurement
        if not spec.reuse:
            return None
        profile = self._hardware(tx, search, board)
        found = find_reusable(
            tx,
            latency_key,
            profile,
            board.device.device_type,
            profiles_from(spec.profile),
            spec.validity_policy,
        )
        return found if found is not None and serves(search, board, found) else None

    def order_measurement(
        self, tx: Transaction, search: Search, board: Board, candidate: Candidate, model: ModelFile
    ) -> Job:
        """Queue the measuring job of a candidate whose model file is there; shared with whoever awaits the same."""
        profile = self._hardware(tx, search, board)
        device, spec = board.device, board.measurement
        latency_key = candidate.latency_key_on(board)
        payload = MeasurePayload(
            model_sha256=model.sha256,
            model_format=model.format,
            profile=spec.profile,
            dtype=device.dtype,
            batch=device.batch,
            latency_key=latency_key,
            hardware_key=profile.hardware_key,
            core_mask=profile.key.identity.core_mask,
            validity_policy=spec.validity_policy,
            timeout_s=spec.timeout_s,
            arch_id=candidate.arch_id,
            cpu_operators=model.cpu_operators,
            layer_times=spec.layer_times,
        )
        tx.wake(Topic.DEVICE_JOBS)
        job = JobStore(tx).add_job(
            NewJob(
                kind=JobKind.MEASURE,
                payload=payload.to_json(),
                dedupe_key=measure_key(search, board, latency_key),
                priority=search.spec.priority,
                max_attempts=spec.max_attempts,
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
        self, tx: Transaction, search: Search, board: Board, candidate: Candidate, profile: HardwareProfile
    ) -> None:
        device, latency_key = board.device, candidate.latency_key_on(board)
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

    def _model(self, tx: Transaction, candidate: Candidate, board: Board, profile: HardwareProfile) -> ModelFile | None:
        format = format_for(profile.key.identity.runtime)
        # Latency does not depend on weights: any export under this key will do.
        export = ArtifactStore(tx).find_export(candidate.latency_key_on(board), format, tuple(WeightsOrigin), None)
        given = candidate.model_sha256 if board.is_own_device else None
        if given is not None and (export is None or export.sha256 != given):
            return ModelFile(given, format)
        return None if export is None else ModelFile(export.sha256, export.format, export.cpu_operators)

    def _hardware(self, tx: Transaction, search: Search, board: Board) -> HardwareProfile:
        key = search.hardware_key_on(board)
        if key is None:
            raise InvalidValueError(f"search {search.id} has no hardware key of its board {board.name}")
        return HardwareStore(tx).get_hardware(key)


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
        boards = search.spec.measured_boards()
        if job.dedupe_key not in [measure_key(search, board, job.latency_key) for board in boards]:
            return False  # it awaits another job under this key
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


def measure_key(search: Search, board: Board, latency_key: str) -> str:
    """Dedupe key of a measuring job: searches that would accept the same result share it."""
    spec, device = board.measurement, board.device
    labels = ",".join(f"{k}={v}" for k, v in sorted(device.labels.items()))
    accepted = f"{spec.profile}:{spec.validity_policy}:{labels}"
    return f"measure:{latency_key}:{search.hardware_key_on(board)}:{device.device_type}:{accepted}"


def npu_refusal(board: Board, cpu_operators: Sequence[str]) -> str:
    """Why the compiler's table makes an architecture infeasible for a board; empty where it does not."""
    if not board.device.npu_only or not cpu_operators:
        return ""
    return f"npu_only: the compiler leaves operators to the CPU: {', '.join(dict.fromkeys(cpu_operators))}"


def _convert_key(profile: HardwareProfile, latency_key: str) -> str:
    return f"convert:{latency_key}:{format_for(profile.key.identity.runtime).value}:{profile.hardware_key}"
