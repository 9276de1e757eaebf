"""Which candidates are measured once more before a search may end."""

from __future__ import annotations

from collections.abc import Set

from nas_engine.domain.dominance import CONFIDENCE_Z, Dominance
from nas_engine.domain.metric import Metric
from server.candidates.boards import Confirmation
from server.candidates.candidate import Candidate
from server.candidates.search import Search
from server.searches.fronts.fronts import Front, Fronts

NOISY = 0.02
"""Half-width of a latency's 95 % interval, as a share of it, beyond which the front may hold it by luck."""

CANDIDATES_PER_REMEASUREMENT = 10
"""Candidates asked for each one that is measured again while a search whose algorithm remeasures goes on."""


def noisy_best(search: Search, front: Front, remeasured: Set[str]) -> tuple[str, ...]:
    """Ids of the members of a front that are measured again before an algorithm that remeasures believes them.

    Of many candidates the best by a noisy value is often the luckiest: a second measurement, which replaces the first,
    owes nothing to that. The noisiest come first; nothing is measured again twice.
    """
    metrics = _measured_metrics(search)
    doubted = [
        (-noise, candidate.seq, candidate.id)
        for candidate in front.points
        if candidate.id not in remeasured
        and (noise := max((_noise(candidate, metric) for metric in metrics), default=0.0)) * CONFIDENCE_Z > NOISY
    ]
    left = search.progress.num_asked // CANDIDATES_PER_REMEASUREMENT - len(remeasured)
    return tuple(candidate_id for _, _, candidate_id in sorted(doubted)[: max(left, 0)])


def _noise(candidate: Candidate, metric: Metric) -> float:
    """Standard error of a value, as a share of it; 0 where it is exact or not known."""
    known = candidate.current.get(metric)
    return 0.0 if known is None or known.uncertainty is None else known.uncertainty / known.value


def _measured_metrics(search: Search) -> list[Metric]:
    """Latencies that the search goes by and that a board can give again."""
    boards = search.spec.needed_boards()
    return [board.metric for board in boards if search.hardware_key_on(board) is not None]


def candidates_to_remeasure(
    search: Search, front: Front, fronts: Fronts, remeasured: Set[str], *, noisy: bool
) -> tuple[str, ...]:
    """Ids of the candidates to measure again, in the order asked, those left out that were before.

    `noisy` says whether the algorithm wants noisy members of the front measured again where the spec confirms nothing.

    Ends after finitely many rounds: no candidate is named twice. Latencies of a table cannot be measured again.
    """
    if not _measured_metrics(search):
        return ()
    match search.spec.measurement.confirm:
        case Confirmation.NONE:
            return noisy_best(search, front, remeasured) if noisy else ()
        case Confirmation.FRONT:
            chosen: tuple[Candidate, ...] = front.points
        case Confirmation.CONFIDENT:
            version_id = search.supernet_version_id
            chosen = fronts.of_search(search.id, supernet_version_id=version_id, dominance=Dominance.CONFIDENT).points
    return tuple(c.id for c in sorted(chosen, key=lambda c: c.seq) if c.id not in remeasured)
