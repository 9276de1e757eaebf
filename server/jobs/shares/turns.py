"""The arithmetic of fair shares: which turn a job gets, and how the two lanes of one priority are interleaved.

Start-time fair queuing (Goyal, Vin & Cheng 1996): a job's turn is the virtual time at which it may begin. The jobs of
an owner lie one over the owner's weight apart, and an owner without any begins at the present: no credit is collected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.jobs.states import JobKind

TURN = 1_000_000
"""The distance of two jobs of an owner of weight 1; whole numbers, so that both databases order them alike."""
SHARED_EVERY = 4
"""Of so many claims in a row that a board or a worker makes at one priority, at least one is of the shared lane while
both lanes wait."""
MAX_RUN = SHARED_EVERY - 1
MAX_INTERACTIVE = 4
"""Unfinished orders that an owner has in the interactive lane, of one line; further ones take turns in the shared
lane."""
_OF_DEVICES = (JobKind.MEASURE, JobKind.CLASSIFY)


@dataclass(frozen=True, slots=True, order=True)
class Front:
    """The job that waits first.

    Attributes:
        step: of its owner.
    """

    turn: int
    step: int


def line_of(kind: JobKind, device_type: str | None) -> tuple[JobKind, ...]:
    """Kinds of jobs whose turns are counted together: a board takes all of its own from one line."""
    return (kind,) if device_type is None or kind not in _OF_DEVICES else _OF_DEVICES


def step_of(weight: float | None) -> int:
    """The distance of two jobs of an owner of this weight, above 0; None for jobs of nobody, which weigh 1."""
    return TURN if weight is None else round(TURN / weight)


def present(first: Sequence[Front], latest: int | None) -> int | None:
    """Virtual time in a pool: the turn that was claimed last, as far as that is known; None where nothing is.

    Args:
        first: what waits first of each kind.
        latest: the highest turn under way; None where nothing is.
    """
    if not first:
        return latest
    front = min(first)
    if latest is None:
        return front.turn
    # What is under way may have begun long ago; what the owner in front had before this turn was claimed since.
    return min(front.turn, max(latest, front.turn - front.step))


def next_turn(now: int, own_last: int | None, own_done: int | None, step: int) -> int:
    """The turn of an owner's next job.

    Args:
        now: present virtual time.
        own_last: the highest turn of the owner's unfinished jobs; None without any.
        own_done: that of its done ones: who orders one after the other takes turns like who orders all at once.
        step: of the owner.
    """
    if own_last is not None:
        return max(now, own_last + step)
    # What is done may be of a time before all was idle and turns began anew: one job's worth is held against nobody.
    return now if own_done is None else max(now, min(own_done, now) + step)


def num_before(*, interactive: bool, num_ahead: int, num_other: int, run: int) -> int:
    """Queued jobs of one priority that one board claims before a certain one.

    Args:
        interactive: lane of that job.
        num_ahead: jobs ahead of it in its lane.
        num_other: jobs that wait in the other lane.
        run: interactive jobs that the board claimed one after the other just now, at most `MAX_RUN`.
    """
    if interactive:
        return num_ahead + min(num_other, (num_ahead + run) // MAX_RUN)
    return num_ahead + min(num_other, max(0, (num_ahead + 1) * MAX_RUN - run))
