"""How entries of ranking studies end, and with the last of them the study. Inside the caller's transaction."""

from __future__ import annotations

from dataclasses import replace

from nas_engine.domain.json_value import JsonValue
from server.candidates.candidate import HeldOutAccuracy
from server.core.database.transaction import Transaction
from server.core.event_type import EventType
from server.core.events import EventStore, NewEvent
from server.core.transitions import check_transition
from server.jobs.completion import stop_job
from server.jobs.failures import FinalFailure
from server.jobs.job import Job
from server.jobs.payloads import read_payload
from server.jobs.queue import JobStore
from server.studies.payloads import RankPayload, job_key
from server.studies.states import STUDY_TRANSITIONS, StudyEntryState, StudyState
from server.studies.store import StudyStore
from server.studies.study import RankingResult, RankingStudy, StudyEntry

MIN_DONE = 2


def set_study_state(tx: Transaction, study: RankingStudy, state: StudyState, reason: str = "") -> RankingStudy:
    """Move a locked study to another state, with its event.

    Raises:
        InvalidStateTransitionError: the state machine has no such step.
    """
    check_transition("ranking study", study.id, STUDY_TRANSITIONS, study.state, state)
    finished_at = tx.now() if state.final else None
    payload: dict[str, JsonValue] = {"state": state.value, "reason": reason}
    EventStore(tx).append_event(NewEvent(type=EventType.STUDY, payload=payload, study_id=study.id))
    return StudyStore(tx).save_study(replace(study, state=state, reason=reason, finished_at=finished_at))


def end_entry(tx: Transaction, study: RankingStudy, entry: StudyEntry) -> RankingStudy:
    """Write the last state of an entry of a locked study; ends the study where it was the last one."""
    StudyStore(tx).save_study_entry(replace(entry, finished_at=tx.now(), resume_artifact_sha256=None, resume_step=0))
    done, failed = entry.state is StudyEntryState.DONE, entry.state is StudyEntryState.FAILED
    study = StudyStore(tx).save_study(
        replace(study, num_done=study.num_done + done, num_failed=study.num_failed + failed)
    )
    payload: dict[str, JsonValue] = {
        "number": entry.number,
        "arch_id": entry.record.arch_id,
        "state": entry.state.value,
        "reason": entry.reason,
        "shared_top1": _top1(entry.inherited),
        "alone_top1": _top1(entry.standalone),
        "num_done": study.num_done,
        "num_failed": study.num_failed,
        "num_entries": study.num_entries,
        "global_tau": _tau(study.result, local=False),
        "local_tau": _tau(study.result, local=True),
    }
    EventStore(tx).append_event(NewEvent(type=EventType.STUDY_ENTRY, payload=payload, study_id=study.id))
    if study.num_done + study.num_failed < study.num_entries:
        return study
    if study.num_done >= MIN_DONE:
        reason = f"{study.num_failed} of {study.num_entries} architectures failed" if study.num_failed else ""
        return set_study_state(tx, study, StudyState.COMPLETED, reason)
    reason = f"{study.num_failed} of {study.num_entries} architectures failed, the last one: {entry.reason}"
    return set_study_state(tx, study, StudyState.FAILED, reason)


def end_study(tx: Transaction, study: RankingStudy, state: StudyState, reason: str) -> RankingStudy:
    """End a locked study before its entries: what is done stays, the other entries and their jobs are cancelled."""
    study = set_study_state(tx, study, state, reason)
    for entry in StudyStore(tx).study_entries(study.id):
        if not entry.state.final:
            StudyStore(tx).save_study_entry(replace(entry, state=StudyEntryState.CANCELLED, finished_at=tx.now()))
        if (job := JobStore(tx).lock_active_job(job_key(study.id, entry.number))) is not None:
            stop_job(tx, job.id)
    return study


def fail_entry(tx: Transaction, job: Job, failure: FinalFailure) -> None:
    """Fail the entry of a job that will not be tried again: its architecture is left out of the result.

    Where what other packages bring ended its holders, the study ends: the next entry would end the next worker.
    """
    payload = read_payload(RankPayload, job.payload)
    study = StudyStore(tx).lock_study(payload.study_id)
    entry = StudyStore(tx).get_study_entry(study.id, payload.number)
    if study.state.final or entry.state.final:
        return
    if study.state is StudyState.QUEUED:
        study = set_study_state(tx, study, StudyState.RUNNING)
    reason = f"{failure.type.value}: {failure.message}"
    study = end_entry(tx, study, replace(entry, state=StudyEntryState.FAILED, reason=reason))
    if failure.blames_brought and not study.state.final:
        end_study(tx, study, StudyState.FAILED, reason)


def _top1(accuracy: HeldOutAccuracy | None) -> float | None:
    return None if accuracy is None else accuracy.top1


def _tau(result: RankingResult | None, *, local: bool) -> float | None:
    if result is None:
        return None
    return (result.local if local else result.overall).kendall_tau
