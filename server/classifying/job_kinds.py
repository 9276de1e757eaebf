"""The kind of jobs of classifying: image sets on devices."""

from __future__ import annotations

from server.candidates.completion import fail_evaluation, mark_evaluating
from server.candidates.lifecycle import affected_searches
from server.fleet.device import CLASSIFY_FEATURE
from server.fleet.takers import DEVICES
from server.jobs.registry import KindOfJob
from server.jobs.settings import SearchSettings
from server.jobs.states import JobKind
from server.measuring.payloads import ClassifyPayload


def classifying_kinds(settings: SearchSettings) -> tuple[KindOfJob, ...]:
    """List the kind CLASSIFY with its payload and what its ends mean."""

    return (
        KindOfJob(
            kind=JobKind.CLASSIFY,
            payload=ClassifyPayload,
            executor=DEVICES,
            feature=CLASSIFY_FEATURE,
            failed=lambda tx, job, failure: fail_evaluation(tx, job, failure, settings),
            lock_first=affected_searches,
            claimed=mark_evaluating,
        ),
    )
