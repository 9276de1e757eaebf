"""What a search left in the database: the candidates it asked, and everything that must hold of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from server.candidates.search_store import checkpoints, searches
from server.candidates.states import CandidateState, SearchState
from server.candidates.tables import awaited_evaluations, candidates, evaluations
from server.core.event_type import EventType
from server.core.events import events
from server.jobs.states import JobKind, JobState, LeaseOutcome
from server.jobs.tables import jobs, leases
from server.measuring.store import measurements
from tests.support.processes.rig import Installation

# A lease that ended in one of these ways gave its job back: the job may be done again.
DEAD = (LeaseOutcome.EXPIRED, LeaseOutcome.NACKED, LeaseOutcome.FAILED)


@dataclass(frozen=True, slots=True)
class Asked:
    """One candidate, by everything that a search must come to again; ids and times are left out."""

    seq: int
    generation: int
    genotype: tuple[int, ...]
    arch_id: str
    told_seq: int | None
    macs: int | None
    top1: float | None
    test_top1: float | None
    latency_us: float | None
    expected_gain: float | None


def asked(nas: Installation, search_id: str) -> list[Asked]:
    """The candidates of a search in the order asked, as the API shows them."""
    return [
        Asked(
            seq=one.seq,
            generation=one.generation,
            genotype=tuple(one.genotype),
            arch_id=one.arch_id,
            told_seq=one.told_seq,
            macs=one.macs,
            top1=one.top1,
            test_top1=one.test_top1,
            latency_us=None if one.latency is None else one.latency.p50_us,
            expected_gain=one.expected_gain,
        )
        for one in nas.api.searches.candidates(search_id)
    ]


def measured_by_lease(nas: Installation, job_id: str) -> list[str]:
    """Leases under which a job was measured, superseded results too."""
    rows = nas.rows(sa.select(measurements.c.lease_id).where(measurements.c.job_id == job_id))
    return [str(row.lease_id) for row in rows]


def lease_outcomes(nas: Installation, job_id: str) -> list[LeaseOutcome]:
    """How every lease of a job ended, oldest first."""
    statement = sa.select(leases.c.outcome).where(leases.c.job_id == job_id).order_by(leases.c.lease_epoch)
    return [row.outcome for row in nas.rows(statement)]


def assert_intact(nas: Installation, search_id: str, num_candidates: int) -> None:
    """Budget kept, nothing lost, nothing doubled, nothing left over."""
    search = nas.rows(sa.select(searches).where(searches.c.id == search_id))[0]
    assert search.state is SearchState.COMPLETED, search.reason
    _assert_candidates(nas, search_id, num_candidates)
    _assert_told_once(nas, search, num_candidates)
    _assert_evaluated_once(nas, search_id)
    _assert_measured_once(nas, search_id)


def _assert_candidates(nas: Installation, search_id: str, num_candidates: int) -> None:
    found = nas.rows(sa.select(candidates).where(candidates.c.search_id == search_id).order_by(candidates.c.seq))
    assert [row.seq for row in found] == list(range(1, num_candidates + 1))
    assert len({tuple(row.genotype) for row in found}) == num_candidates
    assert len({row.arch_id for row in found}) == num_candidates
    assert {row.state for row in found} == {CandidateState.COMPLETE}, Counter(row.reason for row in found)
    # The last step tells the last generation: nothing stays untold.
    assert all(row.told_seq is not None for row in found)


def _assert_told_once(nas: Installation, search: sa.Row[Any], num_candidates: int) -> None:
    """Every step committed once, and the steps' own counts add up to the budget."""
    of_search = (events.c.search_id == search.id, events.c.type == EventType.GENERATION)
    steps = [row.payload for row in nas.rows(sa.select(events.c.payload).where(*of_search).order_by(events.c.id))]
    assert [step["seq"] for step in steps] == list(range(1, search.checkpoint_seq + 1))
    assert sum(step["num_told"] for step in steps) == num_candidates
    assert sum(step["num_new"] for step in steps) == num_candidates
    kept = nas.rows(
        sa.select(checkpoints.c.seq).where(checkpoints.c.search_id == search.id).order_by(checkpoints.c.seq)
    )
    newest = search.checkpoint_seq
    assert [row.seq for row in kept] == list(range(newest - len(kept) + 1, newest + 1))


def _assert_evaluated_once(nas: Installation, search_id: str) -> None:
    awaited = nas.rows(sa.select(awaited_evaluations).where(awaited_evaluations.c.search_id == search_id))
    assert awaited == []
    found = nas.rows(sa.select(evaluations).where(evaluations.c.search_id == search_id))
    assert {row.attempt for row in found} <= {1}
    every_value = Counter((row.candidate_id, row.metric) for row in found)
    assert max(every_value.values(), default=1) == 1


def _assert_measured_once(nas: Installation, search_id: str) -> None:
    """One authoritative measurement per job, and one more only where a lease died."""
    for job in nas.rows(sa.select(jobs).where(jobs.c.search_id == search_id)):
        assert job.state is JobState.DONE, (job.kind, job.state, job.failure_message)
        ended = lease_outcomes(nas, job.id)
        died = [outcome for outcome in ended if outcome in DEAD]
        assert len(ended) - len(died) <= 1, (job.kind, ended)
        if job.kind is not JobKind.MEASURE:
            continue
        found = nas.rows(sa.select(measurements).where(measurements.c.job_id == job.id))
        assert len([row for row in found if not row.superseded]) == 1, (job.id, ended)
        assert len(found) <= 1 + len(died), (job.id, ended)
        assert len({row.lease_id for row in found}) == len(found)
