"""Which candidates are measured once more before a search may end."""

from __future__ import annotations

from collections.abc import Set

from nas_engine.domain.dominance import Dominance
from nas_engine.domain.metrics import LATENCY_US
from server.candidates.candidate import Candidate
from server.candidates.search import Search
from server.candidates.spec import Confirmation
from server.searches.fronts import Front, Fronts


def candidates_to_remeasure(search: Search, front: Front, fronts: Fronts, remeasured: Set[str]) -> tuple[str, ...]:
    """Ids of the candidates to measure again, in the order asked, those left out that were before.

    Ends after finitely many rounds: no candidate is named twice. Latencies of a table cannot be measured again.
    """
    if LATENCY_US not in search.spec.metrics() or search.hardware_key is None:
        return ()
    match search.spec.measurement.confirm:
        case Confirmation.NONE:
            chosen: tuple[Candidate, ...] = ()
        case Confirmation.FRONT:
            chosen = front.points
        case Confirmation.CONFIDENT:
            version_id = search.supernet_version_id
            chosen = fronts.of_search(search.id, supernet_version_id=version_id, dominance=Dominance.CONFIDENT).points
    return tuple(c.id for c in sorted(chosen, key=lambda c: c.seq) if c.id not in remeasured)
