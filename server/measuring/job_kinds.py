"""The kinds of jobs of measuring: conversions on workers, measurements on devices."""

from __future__ import annotations

from nas_engine.domain.metric import Metric
from nas_engine.domain.plugins.doors import Door
from server.candidates.completion import (
    brought_to_search,
    fail_awaited,
    fail_evaluation,
    fail_search,
    mark_evaluating,
)
from server.candidates.lifecycle import affected_searches
from server.candidates.search import Search
from server.core.database.transaction import Transaction
from server.fleet.takers import DEVICES
from server.jobs.failures import FinalFailure
from server.jobs.job import Job
from server.jobs.registry import CONVERT_LANE, KindOfJob
from server.jobs.settings import SearchSettings
from server.jobs.states import JobKind
from server.measuring.payloads import ConvertPayload, MeasurePayload


def measuring_kinds(settings: SearchSettings) -> tuple[KindOfJob, ...]:
    """List the kinds CONVERT and MEASURE with their payloads and what their ends mean."""

    def measuring_failed(tx: Transaction, job: Job, failure: FinalFailure) -> None:
        def would_have_served(search: Search, metric: Metric) -> bool:
            board = search.spec.board_of(metric)
            if board is None or (search.spec.boards and board.device.device_type != job.target.device_type):
                return False
            spec = board.measurement
            return (spec.profile, spec.validity_policy) == (job.payload["profile"], job.payload["validity_policy"])

        fail_awaited(tx, job, failure, settings, would_have_served)

    def conversion_failed(tx: Transaction, job: Job, failure: FinalFailure) -> None:
        if failure.blames_brought and job.search_id is not None:  # the next candidate would end the next worker
            fail_search(tx, job, failure, "a conversion")
        elif job.payload.get("classify") is not None and job.candidate_id is not None:
            fail_evaluation(tx, job, failure, settings)  # the candidate is complete: it keeps what it has
        else:
            fail_awaited(tx, job, failure, settings)

    return (
        KindOfJob(
            kind=JobKind.CONVERT,
            payload=ConvertPayload,
            executor=CONVERT_LANE,
            failed=conversion_failed,
            lock_first=affected_searches,
            brought=lambda tx, job: brought_to_search(tx, job, Door.SPACES, Door.DATASETS),
            claimed=mark_evaluating,
        ),
        KindOfJob(
            kind=JobKind.MEASURE,
            payload=MeasurePayload,
            executor=DEVICES,
            failed=measuring_failed,
            lock_first=affected_searches,
            claimed=mark_evaluating,
        ),
    )
