"""What a job of a ranking study is given."""

from __future__ import annotations

from nas_engine.settings.base import later
from server.candidates.search import UsedPlugin
from server.jobs.payloads import Payload


class RankPayload(Payload):
    """Judge one architecture of a ranking study both ways; everything about it is in its row.

    `plugins` as those of a training.
    """

    study_id: str
    number: int
    plugins: tuple[UsedPlugin, ...] = later(())


def study_jobs(study_id: str) -> str:
    """What the keys of a study's jobs begin with."""
    return f"rank:{study_id}:"


def job_key(study_id: str, number: int) -> str:
    """Key of the job of one entry."""
    return f"{study_jobs(study_id)}{number}"
