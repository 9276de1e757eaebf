"""The table of candidates and its store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.measurement import Validity
from nas_engine.domain.objective import Metric
from server.candidates.candidate import Candidate, CandidateOrder, CandidateQuery
from server.candidates.states import CandidateState
from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.store import Store, chunks, count_of, where_given
from server.core.database.types import Digest, EnumText, Id, Json, JsonOf, Timestamp, finite
from server.core.errors import ConflictError
from server.core.paging import Page, PageRequest
from server.spaces.store import ARCHITECTURES, ArchitectureStore, architectures

candidates = sa.Table(
    "candidates",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("search_id", Id, sa.ForeignKey("searches.id"), nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("arch_id", Digest, sa.ForeignKey("architectures.arch_id"), nullable=False, index=True),
    sa.Column("genotype", JsonOf(Genotype), nullable=False),
    sa.Column("latency_key", Digest),
    sa.Column("state", EnumText(CandidateState), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("top1", sa.Double),
    sa.Column("test_top1", sa.Double),
    sa.Column("device_top1", sa.Double),
    sa.Column("latency_us", sa.Double),
    sa.Column("latency_flags", JsonOf(tuple[Validity, ...]), nullable=False),
    sa.Column("model_sha256", Digest),
    sa.Column("final_model_sha256", Digest),
    sa.Column("told_seq", sa.BigInteger),
    sa.Column("provenance", Json),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("finished_at", Timestamp),
    sa.UniqueConstraint("search_id", "arch_id"),
    sa.UniqueConstraint("search_id", "seq"),
    sa.Index("ix_candidates_search_id_state", "search_id", "state"),
    finite("top1"),
    finite("test_top1"),
    finite("device_top1"),
    finite("latency_us"),
)


_FINAL = tuple(state for state in CandidateState if state.final)


CANDIDATES = Rows(Candidate, candidates, joined={"record": ARCHITECTURES})


_CHANGING = (
    "state",
    "reason",
    "top1",
    "test_top1",
    "device_top1",
    "latency_us",
    "latency_flags",
    "model_sha256",
    "final_model_sha256",
    "told_seq",
    "finished_at",
)


_VALUE_COLUMNS: Mapping[Metric, sa.ColumnElement[Any]] = {
    Metric.TOP1: candidates.c.top1,
    Metric.TEST_TOP1: candidates.c.test_top1,
    Metric.DEVICE_TOP1: candidates.c.device_top1,
    Metric.LATENCY_US: candidates.c.latency_us,
    Metric.MACS: architectures.c.macs,
    Metric.PARAMS: architectures.c.params,
    Metric.PEAK_ACTIVATION_BYTES: architectures.c.peak_activation_bytes,
}


class CandidateStore(Store):
    """Candidates joined with their architectures."""

    def add_candidates(self, new: Sequence[Candidate]) -> None:
        """Store new candidates with their architectures."""
        ArchitectureStore(self._tx).put_architectures([candidate.record for candidate in new])
        try:
            with self._connection.begin_nested():
                self._insert(CANDIDATES, *new)
        except IntegrityError as error:
            raise ConflictError(
                f"search {new[0].search_id} holds one of these {len(new)} candidates already: candidates are unique"
            ) from error

    def get_candidate(self, candidate_id: str) -> Candidate:
        """Read one candidate with its architecture."""
        return self._one(CANDIDATES, CANDIDATES.select(candidates.c.id == candidate_id), "candidate", candidate_id)

    def get_candidates(self, candidate_ids: Sequence[str]) -> tuple[Candidate, ...]:
        """Read those that exist, by (search, seq)."""
        found = self._list_in(CANDIDATES, candidates.c.id, candidate_ids)
        return tuple(sorted(found, key=lambda candidate: (candidate.search_id, candidate.seq)))

    def save_candidate(self, candidate: Candidate) -> None:
        """Write what changes in a candidate's life."""
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
        by_seq = query.order is CandidateOrder.SEQ
        value = candidates.c.seq if by_seq else _VALUE_COLUMNS[Metric.from_label(query.order.value)]
        return self._page(
            CANDIDATES,
            _filtered(query),
            page,
            value_column=value,
            id_column=candidates.c.id,
            descending=query.descending,
        )

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
        return self._list(CANDIDATES, statement.order_by(candidates.c.seq))


def _filtered(query: CandidateQuery) -> sa.Select[Any]:
    c = candidates.c
    statement = where_given(
        CANDIDATES.select(),
        {
            c.search_id: query.search_id,
            c.state: query.states,
            c.arch_id: query.arch_id,
            c.generation: query.generation,
        },
    )
    for bound in query.bounds:
        column = _VALUE_COLUMNS[bound.metric]
        statement = statement.where(column.is_not(None))
        if bound.minimum is not None:
            statement = statement.where(column >= bound.minimum)
        if bound.maximum is not None:
            statement = statement.where(column <= bound.maximum)
    return statement
