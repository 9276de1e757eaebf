"""The store of candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.metric import Metric
from server.candidates.candidate import Candidate, CandidateQuery, Evaluation, MetricBound, MetricValue
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.states import CandidateState
from server.candidates.tables import CANDIDATES, candidates, evaluations
from server.core.database.keyset import fetch_page
from server.core.database.labels import with_words
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
        # First which they are, from indexes: what is read beside cannot make a planner sort a whole search.
        ids = self._page_of_ids(query, page)
        found = {candidate.id: candidate for candidate in self._list_in(CANDIDATES, candidates.c.id, ids.items)}
        return Page(self._with_values(found[id] for id in ids.items if id in found), ids.next)

    def _page_of_ids(self, query: CandidateQuery, page: PageRequest) -> Page[str]:
        """List those that have a value, in the order of an index; once they end, those that have none."""
        c, e = candidates.c, evaluations.c
        if query.order is None:
            return self._ids(_matching(sa.select(c.id, c.seq), query), query, page, c.id, c.seq)
        after_valued = page.after is not None and page.after.value is None
        valued: Page[str] = Page(())
        if not after_valued:
            valued = self._ids(_sorted_by(query, query.order), query, page, e.candidate_id, e.value)
            if valued.next is not None:
                return valued
        num_left = page.size - len(valued.items)
        known = sa.select(e.id).where(e.candidate_id == c.id, e.metric == query.order.name, e.current)
        rest = self._ids(
            _matching(sa.select(c.id), query).where(~known.exists()),
            query,
            PageRequest(max(num_left, 1), page.after if after_valued else None),
            c.id,
        )
        if num_left > 0:
            return Page((*valued.items, *rest.items), rest.next)
        first_left = Position(None, "~" if query.descending else "")  # behind no id: they begin there
        return Page(valued.items, first_left if rest.items else None)

    def _ids(
        self,
        statement: sa.Select[Any],
        query: CandidateQuery,
        page: PageRequest,
        id_column: sa.Column[Any],
        value_column: sa.Column[Any] | None = None,
    ) -> Page[str]:
        return fetch_page(
            self._connection,
            statement,
            page,
            id_column=id_column,
            from_row=lambda row: str(row._mapping[id_column]),
            value_column=value_column,
            descending=query.descending,
            has_nulls=False,
        )

    def count_candidates(self, query: CandidateQuery) -> int:
        """Count the candidates that a query matches."""
        return count_of(self._connection, _matching(sa.select(candidates.c.id), query))

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

    def searches_with_untold_complete(self, search_ids: Sequence[str]) -> frozenset[str]:
        """Those of the searches that have COMPLETE candidates which the algorithm has not observed yet."""
        c = candidates.c
        untold = sa.select(c.search_id).where(c.state == CandidateState.COMPLETE, c.told_seq.is_(None)).distinct()
        found = (
            id
            for ids in chunks(search_ids)
            for id in self._connection.execute(untold.where(c.search_id.in_(ids))).scalars()
        )
        return frozenset(found)

    def expected_gains(self, search_id: str, num: int) -> Mapping[Genotype, float]:
        """What the last `num` candidates of a search were expected to add; those of which nothing was, are left out."""
        c = candidates.c
        statement = sa.select(c.genotype, c.expected_gain).where(c.search_id == search_id).order_by(c.seq.desc())
        found = self._connection.execute(statement.limit(num))
        return {genotype: gain for genotype, gain in found if gain is not None}

    def finish_times(self, search_id: str, last: int | None = None) -> dict[str, datetime]:
        """When candidates ended that are in a final state, by id and in the order of their seq; of the last so many."""
        c = candidates.c
        ended = sa.select(c.id, c.finished_at).where(c.search_id == search_id, c.finished_at.is_not(None))
        newest_first = ended.order_by(c.seq.desc())
        found = self._connection.execute(newest_first if last is None else newest_first.limit(last)).all()
        return {row.id: row.finished_at for row in reversed(found)}

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
        values = EvaluationStore(self._tx).current_values([candidate.id for candidate in found])
        return tuple([replace(candidate, current=values.get(candidate.id, {})) for candidate in found])


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
    """Values of a metric of the candidates that a query matches, with their ids."""
    c, e = candidates.c, evaluations.c
    # The value says which search it is; said of the candidate too, planners expect far too few rows.
    statement = where_given(sa.select(e.value, e.candidate_id), {e.search_id: query.search_id})
    statement = statement.where(e.metric == metric.name, e.current, *_within(e.value, query.bounds, metric))
    statement = _bounded(statement, e.candidate_id, query, [one for one in query.bounds if one.metric != metric])
    if any(_asked(query).values()) or query.words:
        statement = where_given(statement.join(candidates, c.id == e.candidate_id), _asked(query))
    return _with_words(statement, query)


def _matching(statement: sa.Select[Any], query: CandidateQuery) -> sa.Select[Any]:
    """Keep the candidates of a statement that a query matches."""
    c = candidates.c
    statement = where_given(statement, {c.search_id: query.search_id, **_asked(query)})
    statement = _with_words(statement, query)
    return _bounded(statement, c.id, query, query.bounds)


def _with_words(statement: sa.Select[Any], query: CandidateQuery) -> sa.Select[Any]:
    """Keep those that words find; a genotype is written as ``[0,3,1]``, which the databases space differently."""
    c = candidates.c
    genotype = sa.func.replace(sa.cast(c.genotype, sa.Text), " ", "")
    return with_words(statement, query.words, c.id, c.arch_id, c.state, genotype)


def _asked(query: CandidateQuery) -> dict[sa.Column[Any], Any]:
    """What a query asks of a candidate itself, but for its search."""
    c = candidates.c
    generations = () if query.generation is None else (query.generation,)
    return {c.state: query.states, c.arch_id: query.arch_id, c.generation: generations}


def _bounded(
    statement: sa.Select[Any], id_column: sa.Column[Any], query: CandidateQuery, bounds: Sequence[MetricBound]
) -> sa.Select[Any]:
    """Keep the candidates of a statement whose values are within bounds."""
    e = evaluations.alias("bounded").c
    for metric in dict.fromkeys(bound.metric for bound in bounds):
        within = where_given(sa.select(e.candidate_id), {e.search_id: query.search_id})
        within = within.where(e.metric == metric.name, e.current, *_within(e.value, bounds, metric))
        statement = statement.where(id_column.in_(within))
    return statement


def _within(
    value: sa.ColumnElement[float], bounds: Iterable[MetricBound], metric: Metric
) -> tuple[sa.ColumnElement[bool], ...]:
    """Conditions of the bounds of one metric."""
    of_metric = [bound for bound in bounds if bound.metric == metric]
    lower = (value >= bound.minimum for bound in of_metric if bound.minimum is not None)
    upper = (value <= bound.maximum for bound in of_metric if bound.maximum is not None)
    return (*lower, *upper)
