"""Types of events. Standard library alone: the SDK reads events with them."""

from __future__ import annotations

from enum import StrEnum


class EventType(StrEnum):
    """What an event tells; the SSE `event:` field."""

    STATE = "state"  # a search changed its state
    GENERATION = "generation"  # a search step was committed
    WORK = "work"  # progress of a long-running job that a search step ordered
    CANDIDATE = "candidate"  # a candidate finished
    MEASUREMENT = "measurement"  # a measurement was stored
    JOB = "job"  # a job was requeued, failed or cancelled
    SUPERNET = "supernet"  # a supernet, or a network trained by itself, changed its state
    TRAINING = "training"  # training progress
    DEVICE = "device"  # a device enrolled or changed its state
    STUDY = "study"  # a ranking study changed its state
    STUDY_ENTRY = "study_entry"  # an architecture of a ranking study was judged, or given up
