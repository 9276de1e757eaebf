"""The kind of jobs of ranking studies: one architecture each."""

from __future__ import annotations

from server.candidates.used_plugins import in_words
from server.jobs.payloads import read_payload
from server.jobs.registry import HEAVY_LANE, KindOfJob
from server.jobs.states import JobKind
from server.studies.lifecycle import fail_entry
from server.studies.payloads import RankPayload, study_jobs


def study_kinds() -> tuple[KindOfJob, ...]:
    """RANK. A user cancels the study, never one of its jobs."""

    return (
        KindOfJob(
            kind=JobKind.RANK,
            payload=RankPayload,
            executor=HEAVY_LANE,
            failed=fail_entry,
            brought=lambda _, job: in_words(read_payload(RankPayload, job.payload).plugins),
            counted_with=lambda job: study_jobs(read_payload(RankPayload, job.payload).study_id),
            cancellable_alone=False,
        ),
    )
