"""Every kind of job there is, as its concern declares it: the same in the API process and in a worker."""

from __future__ import annotations

from server.classifying.job_kinds import classifying_kinds
from server.jobs.registry import JobKinds
from server.jobs.settings import SearchSettings
from server.latencies.job_kinds import latency_kinds
from server.measuring.job_kinds import measuring_kinds
from server.searches.job_kinds import search_kinds
from server.studies.job_kinds import study_kinds
from server.training.job_kinds import training_kinds


def all_job_kinds(settings: SearchSettings | None = None) -> JobKinds:
    """The registry of job kinds."""
    settings = settings or SearchSettings()
    return JobKinds(
        *search_kinds(settings),
        *training_kinds(),
        *study_kinds(),
        *measuring_kinds(settings),
        *classifying_kinds(settings),
        *latency_kinds(),
    )
