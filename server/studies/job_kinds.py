"""The kind of jobs of ranking studies: one architecture each."""

from __future__ import annotations

from server.jobs.registry import HEAVY_LANE, KindOfJob
from server.jobs.states import JobKind
from server.studies.lifecycle import fail_entry
from server.studies.payloads import RankPayload


def study_kinds() -> tuple[KindOfJob, ...]:
    """RANK. A user cancels the study, never one of its jobs."""

    return (
        KindOfJob(
            kind=JobKind.RANK, payload=RankPayload, executor=HEAVY_LANE, failed=fail_entry, cancellable_alone=False
        ),
    )
