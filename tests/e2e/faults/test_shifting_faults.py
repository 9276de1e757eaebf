"""kill -9 of the worker while it shifts a supernet: the same candidates, the same weights, the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from server.candidates.search_store import searches
from server.candidates.states import SearchState
from server.candidates.tables import candidates, evaluations
from server.jobs.states import JobKind, LeaseOutcome
from server.training.store import supernet_versions
from tests.support.processes.fault_searches import ACCURACY, TRAINING
from tests.support.processes.records import lease_outcomes
from tests.support.processes.rig import Installation

NUM_CANDIDATES = 6
SHIFTED: Mapping[str, Any] = {
    **ACCURACY,
    "name": "accuracy of a supernet that shifts",
    "algorithm": {"kind": "nsga2", "population_size": 3},
    "budget": {"num_candidates": NUM_CANDIDATES},
    "shifting": {"mode": "immediate", "steps_per_candidate": 30, "batch_size": 16, "learning_rate": 0.01},
}


def test_a_worker_killed_in_the_middle_of_a_shift_comes_to_the_same_bytes(nas: Installation) -> None:
    nas.start()
    undisturbed = nas.create({**SHIFTED, "supernet": {**TRAINING, "iterations": 5}})
    nas.until_done(undisturbed)

    disturbed = nas.create({**SHIFTED, "supernet": supernet_of(nas, undisturbed)})
    with nas.in_the_middle_of(JobKind.SHIFT) as job_id:
        nas.worker.kill()
    nas.worker.start()
    nas.until_done(disturbed)

    ended = lease_outcomes(nas, job_id)
    assert (ended[0], ended[-1]) == (LeaseOutcome.EXPIRED, LeaseOutcome.DONE)
    assert nas.state(disturbed) is SearchState.COMPLETED
    assert len(weights_of(nas, disturbed)) == NUM_CANDIDATES
    assert weights_of(nas, disturbed) == weights_of(nas, undisturbed)
    assert accuracies_of(nas, disturbed) == accuracies_of(nas, undisturbed)


def supernet_of(nas: Installation, search_id: str) -> str:
    return str(nas.rows(sa.select(searches.c.supernet_id).where(searches.c.id == search_id))[0].supernet_id)


def weights_of(nas: Installation, search_id: str) -> list[str]:
    """Digests of the weights of every version that a search made, in order."""
    mine = sa.select(supernet_versions.c.weights_sha256).where(supernet_versions.c.search_id == search_id)
    return [str(row.weights_sha256) for row in nas.rows(mine.order_by(supernet_versions.c.number))]


def accuracies_of(nas: Installation, search_id: str) -> list[tuple[object, ...]]:
    """Every accuracy of every candidate: architecture, attempt, weights it was taken with, value."""
    statement = (
        sa.select(
            candidates.c.arch_id,
            evaluations.c.metric,
            evaluations.c.attempt,
            supernet_versions.c.weights_sha256,
            evaluations.c.value,
        )
        .join(candidates, candidates.c.id == evaluations.c.candidate_id)
        .join(supernet_versions, supernet_versions.c.id == evaluations.c.supernet_version_id)
        .where(evaluations.c.search_id == search_id)
        .order_by(candidates.c.seq, evaluations.c.metric, evaluations.c.attempt)
    )
    return [tuple(row) for row in nas.rows(statement)]
