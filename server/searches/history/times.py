"""How long searches take: what passed, what is left at the pace of their last candidates, where it went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nas_engine.settings.training import TrainingSpec
from server.candidates.candidate_store import CandidateStore
from server.candidates.search import Search
from server.candidates.states import SearchState
from server.core.database.transaction import Transaction
from server.jobs.spent.spent import TimeSpent, elapsed_s
from server.jobs.spent.store import TimeStore

NUM_PACED = 40
"""Candidates that an estimate rests on: the last ones, so that a pause or a slow start is soon forgotten."""
_FEWEST = 3


def time_of_search(tx: Transaction, search: Search) -> TimeSpent:
    """How long one search takes, and where the time goes."""
    trained_with_it = search.supernet_id if isinstance(search.spec.supernet, TrainingSpec) else None
    kinds = TimeStore(tx).of_search(search.id, trained_with_it)
    return replace(_time_of(tx, search), kinds=kinds)


def times_of_searches(tx: Transaction, searches: Sequence[Search]) -> list[TimeSpent]:
    """How long each takes."""
    return [_time_of(tx, search) for search in searches]


def _time_of(tx: Transaction, search: Search) -> TimeSpent:
    now = tx.now()
    elapsed = elapsed_s(search.created_at, search.finished_at, now)
    if search.state is not SearchState.RUNNING:
        return TimeSpent(elapsed_s=elapsed)
    num_left = max(search.spec.budget.num_candidates - search.progress.num_finished, 0)
    ended = list(CandidateStore(tx).finish_times(search.id, last=NUM_PACED).values())
    # Seconds per candidate, which grow while none ends.
    pace_s = None if len(ended) < _FEWEST else elapsed_s(min(ended), None, now) / (len(ended) - 1)
    left = [] if pace_s is None else [num_left * pace_s]
    if (limit_s := search.spec.stop.wall_time_s) is not None and search.started_at is not None:
        left.append(max(limit_s - elapsed_s(search.started_at, None, now), 0.0))
    return TimeSpent(elapsed_s=elapsed, left_s=min(left, default=None))
