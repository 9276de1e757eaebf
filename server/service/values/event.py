"""Events: what happened, in the order it was committed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from nas_engine.domain.json_value import JsonValue


class EventType(Enum):
    """What an event tells; the SSE `event:` field."""

    STATE = "state"  # a search changed its state
    GENERATION = "generation"  # a search step was committed
    WORK = "work"  # progress of heavy work that a search step ordered
    CANDIDATE = "candidate"  # a candidate finished
    MEASUREMENT = "measurement"  # a measurement was stored
    JOB = "job"  # a job was requeued, failed or cancelled
    SUPERNET = "supernet"  # a supernet changed its state
    TRAINING = "training"  # training progress
    DEVICE = "device"  # a device enrolled or changed its state
    STUDY = "study"  # a ranking study changed its state
    STUDY_ENTRY = "study_entry"  # an architecture of a ranking study was judged, or given up


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event about to be stored; its scope says who will want to see it."""

    type: EventType
    payload: Mapping[str, JsonValue] = field(default_factory=dict)
    search_id: str | None = None
    supernet_id: str | None = None
    device_id: str | None = None
    study_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A stored event. Ids grow in the order of commits: who has seen id n has seen everything below n."""

    id: int
    type: EventType
    payload: Mapping[str, JsonValue]
    search_id: str | None
    supernet_id: str | None
    device_id: str | None
    study_id: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuery:
    """Whose events; None does not filter."""

    search_id: str | None = None
    supernet_id: str | None = None
    device_id: str | None = None
    study_id: str | None = None
    types: tuple[EventType, ...] = ()
