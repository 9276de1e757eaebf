"""What a training job is given."""

from __future__ import annotations

from server.jobs.payloads import Payload


class TrainPayload(Payload):
    """Train a supernet; its spec and its last resumable checkpoint are in its row."""

    supernet_id: str
