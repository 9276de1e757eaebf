"""Candidates of a table of results: their values are there already, labelled as what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nas_engine.domain.objective import Metric
from server.service.accuracy_work import expect
from server.service.errors import InvalidValueError
from server.service.ids import IdPrefix, new_id
from server.service.ports.unit_of_work import Transaction
from server.service.progress import record_value
from server.service.states import EvaluationSource
from server.service.values.candidate import Candidate, Evaluation, KnownValue
from server.service.values.search import Search


def record_known(
    tx: Transaction,
    search: Search,
    candidate: Candidate,
    awaited: Sequence[Metric],
    known: Mapping[Metric, KnownValue],
) -> Search:
    """Give a candidate of a locked search the values that its table holds; completes it.

    Raises:
        InvalidValueError: the table lacks a metric that the search wants.
    """
    missing = [metric.label for metric in awaited if metric not in known]
    if missing:
        raise InvalidValueError(f"the table of search {search.id} holds no {', '.join(missing)} of {candidate.arch_id}")
    # All of them are awaited before the first is recorded, which would complete the candidate otherwise.
    for metric in awaited:
        expect(tx, search, candidate, metric, 1, None)
    for metric in awaited:
        evaluation = Evaluation(
            id=new_id(IdPrefix.EVALUATION),
            search_id=search.id,
            candidate_id=candidate.id,
            metric=metric,
            value=known[metric].value,
            uncertainty=known[metric].standard_error,
            source=EvaluationSource.TABLE,
            created_at=tx.now(),
        )
        search = record_value(tx, search, tx.candidates.get(candidate.id), evaluation)
    return search
