"""What a job of a ranking study is given."""

from __future__ import annotations

from server.jobs.payloads import Payload


class RankPayload(Payload):
    """Judge one architecture of a ranking study both ways; everything about it is in its row."""

    study_id: str
    number: int
