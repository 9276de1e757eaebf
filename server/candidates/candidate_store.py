"""The store of candidates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from nas_engine.domain.metric import Metric
from server.candidates.candidate import Candidate, CandidateQuery, Evaluation, MetricBound, MetricValue
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.states import CandidateState
from server.candidates.tables import CANDIDATES, candidates, evaluations
from server.core.database.store import Store, chunks, count_of, where_given
from server.core.errors import ConflictError
from server.core.ids import IdPrefix, new_id
from server.core.paging import Page, PageRequest, Position
from server.spaces.store import ArchitectureStore

_FINAL = tuple(state for state in CandidateState if state.final)


_CHANGING = ("state", "reason", "model_sha256", "final_model_sha256", "told_seq", "finished_at")


class CandidateStore(Store):
    """Candidates joined with their architectures, each with its current values."""

    def add_candidates(self, new: Sequence[Candidate]) -> None:
        """Store new candidates with their architectures and what is known of them already."""
        ArchitectureStore(self._tx).put_architectures([candidate.record for candidate in new])
        try:
            with self._connection.begin_nested():
                self._insert(CANDIDATES, *new)
        except IntegrityError as error:
            raise ConflictError(
                f"search {new[0].search_id} holds one of these {len(new)} candidates already: candidates are unique"
            ) from error
        EvaluationStore(self._tx).add_first_evaluations(
            [_evaluation(candidate, known) for candidate in new for known in candidate.current.values()]
        )

    def get_candidate(self, candidate_id: str) -> Candidate:
        """Read one candidate with its architecture."""
        found = self._one(CANDIDATES, CANDIDATES.select(candidates.c.id == candidate_id), "candidate", candidate_id)
        return self._with_values([found])[0]

    def get_candidates(self, candidate_ids: Sequence[str]) -> tuple[Candidate, ...]:
        """Read those that exist, by (search, seq)."""
        found = self._with_values(self._list_in(CANDIDATES, candidates.c.id, candidate_ids))
        return tuple(sorted(found, key=lambda candidate: (candidate.search_id, candidate.seq)))

    def save_candidate(self, candidate: Candidate) -> None:
        """Write what changes in a candidate's life; its values are evaluations."""
        row = CANDIDATES.row_of(candidate)
        values = {name: row[name] for name in _CHANGING}
        self._connection.execute(sa.update(candidates).where(candidates.c.id == candidate.id).values(values))

    def mark_candidate_evaluating(self, candidate_id: str) -> None:
        """ASKED becomes EVALUATING; any other state stays."""
        asked = sa.and_(candidates.c.id == candidate_id, candidates.c.state == CandidateState.ASKED)
        statement = sa.update(candidates).where(asked).values(state=CandidateState.EVALUATING)
        self._connection.execute(statement)

    def page_of_candidates(self, query: CandidateQuery, page: PageRequest) -> Page[Candidate]:
        """List; those without the sort value come last."""
        found = (
            self._page(
                CANDIDATES,
                _filtered(query),
                page,
                value_column=candidates.c.seq,
                id_column=candidates.c.id,
                descending=query.descending,
            )
            if query.order is None
            else self._page_by_value(query, query.order, page)
        )
        return Page(self._with_values(found.items), found.next)

    def _page_by_value(self, query: CandidateQuery, metric: Metric, page: PageRequest) -> Page[Candidate]:
        """List those that have a value, in the order of an index; once they end, those that have none."""
        valued: Page[Candidate] = Page(())
        if page.after is None or page.after.value is not None:
            valued = self._page(
                CANDIDATES,
                _sorted_by(query, metric),
                page,
                value_column=evaluations.c.value,
                id_column=evaluations.c.candidate_id,
                descending=query.descending,
                has_nulls=False,
            )
            if valued.next is not None:
                return valued
        num_left = page.size - len(valued.items)
        known = sa.select(evaluations.c.id).where(
            evaluations.c.candidate_id == candidates.c.id, evaluations.c.metric == metric.name, evaluations.c.current
        )
        after = page.after if page.after is not None and page.after.value is None else None
        rest = self._page(
            CANDIDATES,
            _filtered(query).where(~known.exists()),
            PageRequest(max(num_left, 1), after),
            id_column=candidates.c.id,
            descending=query.descending,
        )
        if num_left > 0:
            return Page((*valued.items, *rest.items), rest.next)
        first_left = Position(None, "~" if query.descending else "")  # behind no id: they begin there
        return Page(valued.items, first_left if rest.items else None)

    def count_candidates(self, query: CandidateQuery) -> int:
        """Count the candidates that a query matches."""
        return count_of(self._connection, _filtered(query).with_only_columns(candidates.c.id))

    def count_candidates_by_state(self, search_id: str) -> Mapping[CandidateState, int]:
        """Candidates of a search per state."""
        statement = (
            sa.select(candidates.c.state, sa.func.count())
            .where(candidates.c.search_id == search_id)
            .group_by(candidates.c.state)
        )
        return {state: int(number) for state, number in self._connection.execute(statement)}

    def unobserved_candidates(self, search_id: str) -> tuple[Candidate, ...]:
        """Candidates in a final state that the algorithm has not observed yet, by seq."""
        return self._of(search_id, candidates.c.state.in_(_FINAL), candidates.c.told_seq.is_(None))

    def observed_candidates(self, search_id: str) -> tuple[Candidate, ...]:
        """Candidates that the algorithm has observed, by seq."""
        return self._of(search_id, candidates.c.told_seq.is_not(None))

    def all_complete_candidates(self, search_id: str) -> tuple[Candidate, ...]:
        """COMPLETE candidates, by seq."""
        return self._of(search_id, candidates.c.state == CandidateState.COMPLETE)

    def complete_candidate_ids(self, search_id: str) -> tuple[str, ...]:
        """Ids of the COMPLETE candidates, by seq."""
        statement = sa.select(candidates.c.id).where(
            candidates.c.search_id == search_id, candidates.c.state == CandidateState.COMPLETE
        )
        return tuple(self._connection.execute(statement.order_by(candidates.c.seq)).scalars())

    def unfinished_candidates(self, search_id: str) -> tuple[Candidate, ...]:
        """Candidates that are in no final state, by seq."""
        return self._of(search_id, candidates.c.state.not_in(_FINAL))

    def mark_candidates_observed(self, search_id: str, candidate_ids: Sequence[str], told_seq: int) -> int:
        """Mark those that were not observed yet; returns how many were marked."""
        marked = 0
        for ids in chunks(candidate_ids):
            statement = (
                sa.update(candidates)
                .where(candidates.c.search_id == search_id, candidates.c.id.in_(ids), candidates.c.told_seq.is_(None))
                .values(told_seq=told_seq)
            )
            marked += int(self._connection.execute(statement).rowcount)
        return marked

    def _of(self, search_id: str, *conditions: sa.ColumnElement[bool]) -> tuple[Candidate, ...]:
        statement = CANDIDATES.select(candidates.c.search_id == search_id, *conditions)
        return self._with_values(self._list(CANDIDATES, statement.order_by(candidates.c.seq)))

    def _with_values(self, found: Iterable[Candidate]) -> tuple[Candidate, ...]:
        """Give candidates their current values."""
        found = tuple(found)
        values: dict[str, dict[Metric, MetricValue]] = defaultdict(dict)
        for candidate_id, known in EvaluationStore(self._tx).current_values([candidate.id for candidate in found]):
            values[candidate_id][known.metric] = known
        return tuple(replace(candidate, current=values.get(candidate.id, {})) for candidate in found)


def _evaluation(candidate: Candidate, known: MetricValue) -> Evaluation:
    return Evaluation(
        id=new_id(IdPrefix.EVALUATION),
        search_id=candidate.search_id,
        candidate_id=candidate.id,
        metric=known.metric,
        value=known.value,
        uncertainty=known.uncertainty,
        validity=known.validity,
        flags=known.flags,
        source=known.source,
        created_at=candidate.created_at,
    )


def _sorted_by(query: CandidateQuery, metric: Metric) -> sa.Select[Any]:
    """Candidates that a query matches with their current value of a metric."""
    e = evaluations.c
    of_metric = (e.metric == metric.name, e.current, *_within(query.bounds, metric))
    if query.search_id is not None:
        of_metric = (e.search_id == query.search_id, *of_metric)
    others = replace(query, bounds=tuple(bound for bound in query.bounds if bound.metric != metric))
    # The evaluation says which search it is; said of the candidate too, planners expect far too few rows.
    statement = _filtered(others, of_search=False).join(evaluations, e.candidate_id == candidates.c.id)
    return statement.add_columns(e.value, e.candidate_id).where(*of_metric)


def _filtered(query: CandidateQuery, *, of_search: bool = True) -> sa.Select[Any]:
    c, e = candidates.c, evaluations.c
    statement = where_given(
        CANDIDATES.select(),
        {
            c.search_id: query.search_id if of_search else None,
            c.state: query.states,
            c.arch_id: query.arch_id,
            c.generation: query.generation,
        },
    )
    for metric in dict.fromkeys(bound.metric for bound in query.bounds):
        within = sa.select(e.candidate_id).where(e.metric == metric.name, e.current, *_within(query.bounds, metric))
        statement = statement.where(c.id.in_(where_given(within, {e.search_id: query.search_id})))
    return statement


def _within(bounds: Iterable[MetricBound], metric: Metric) -> tuple[sa.ColumnElement[bool], ...]:
    """Conditions of the bounds of one metric."""
    value = evaluations.c.value
    of_metric = [bound for bound in bounds if bound.metric == metric]
    lower = (value >= bound.minimum for bound in of_metric if bound.minimum is not None)
    upper = (value <= bound.maximum for bound in of_metric if bound.maximum is not None)
    return (*lower, *upper)
