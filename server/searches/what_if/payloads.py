"""What a job that plans or fits a what-if is given."""

from __future__ import annotations

from server.jobs.payloads import Payload


class WhatIfPayload(Payload):
    """Do what the state of a what-if asks for: choose what to measure, or estimate; all about it is in its row."""

    what_if_id: str
