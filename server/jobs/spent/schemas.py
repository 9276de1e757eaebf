"""How long something takes, on the wire."""

from __future__ import annotations

from pydantic import Field

from server.core.http.resources import Resource
from server.jobs.spent.spent import KindTime


class TimeResource(Resource):
    """How long something has taken, will take, and where the time goes, as of the answer."""

    elapsed_s: float
    """Seconds from its creation to its end, or until now."""

    left_s: float | None
    """Estimated seconds to its end; null where it is over or stands still, and before there is anything to tell it
    from."""

    kinds: list[KindTime] = Field(default_factory=list)
    """Where the time went, kind of job by kind of job; empty in listings."""
