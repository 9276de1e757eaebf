"""What arrives in the inbox of an agent's main thread, and how its process ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from device_agent.jobs import LeasedJob, Outcome
from device_agent.look_ahead import Ahead


class ExitCode(IntEnum):
    """Exit codes of the agent's process."""

    OK = 0
    FAILED = 1
    TAKEN_OVER = 3


class Order(Enum):
    """What a signal asks for."""

    DRAIN = "drain"  # finish the current job, take no more, leave
    HURRY = "hurry"  # give the current job back as well


@dataclass(frozen=True, slots=True)
class SyncDone:
    """A long poll was answered, or given up."""

    future: object


@dataclass(frozen=True, slots=True)
class JobDone:
    """The job's thread has ended."""

    job: LeasedJob
    outcome: Outcome


Event = Order | SyncDone | JobDone | Ahead
