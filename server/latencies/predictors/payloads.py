"""What a job that fits a predictor is given."""

from __future__ import annotations

from server.jobs.payloads import Payload


class FitPayload(Payload):
    """Fit a predictor to the newest measurements of its group; everything about it is in its row."""

    predictor_id: str
