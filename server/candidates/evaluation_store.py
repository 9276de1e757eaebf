"""Tables of evaluations and of those that are awaited, and their store."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from nas_engine.domain.measurement import Validity
from nas_engine.domain.objective import Metric
from server.candidates.candidate import AwaitedEvaluation, Evaluation
from server.candidates.candidate_store import candidates
from server.candidates.search_store import searches
from server.candidates.states import EvaluationSource
from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.store import Store
from server.core.database.types import Digest, EnumText, Id, Timestamp, finite

evaluations = sa.Table(
    "evaluations",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("search_id", Id, sa.ForeignKey("searches.id"), nullable=False),
    sa.Column("candidate_id", Id, sa.ForeignKey("candidates.id"), nullable=False),
    sa.Column("metric", EnumText(Metric, by="label"), nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("uncertainty", sa.Double),
    sa.Column("validity", EnumText(Validity), nullable=False),
    sa.Column("source", EnumText(EvaluationSource), nullable=False),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    sa.Column("supernet_version_id", Id),
    sa.Column("measurement_id", Id),
    # Step after which it was recorded: tells what a later step still has to revise.
    sa.Column("recorded_step", sa.BigInteger, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.UniqueConstraint("candidate_id", "metric", "attempt"),
    sa.Index("ix_evaluations_search_id_recorded_step", "search_id", "recorded_step"),
    finite("value"),
    finite("uncertainty"),
)


awaited_evaluations = sa.Table(
    "awaited_evaluations",
    metadata,
    sa.Column("candidate_id", Id, sa.ForeignKey("candidates.id"), primary_key=True),
    sa.Column("metric", EnumText(Metric, by="label"), primary_key=True),
    sa.Column("search_id", Id, sa.ForeignKey("searches.id"), nullable=False, index=True),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    sa.Column("supernet_version_id", Id),
    sa.Column("latency_key", Digest),
    sa.Column("hardware_key", Digest),
    sa.Index("ix_awaited_evaluations_latency_key_hardware_key", "latency_key", "hardware_key"),
)


EVALUATIONS = Rows(Evaluation, evaluations, beside=("recorded_step",))
AWAITED_EVALUATIONS = Rows(AwaitedEvaluation, awaited_evaluations)


class EvaluationStore(Store):
    """Evaluations as rows; one per candidate, metric and attempt."""

    def add_evaluation(self, evaluation: Evaluation) -> bool:
        """Store one; False where this candidate, metric and attempt has one already."""
        step = sa.select(searches.c.checkpoint_seq).where(searches.c.id == evaluation.search_id)
        row = {
            **EVALUATIONS.row_of(evaluation),
            "recorded_step": self._connection.execute(step).scalar_one(),
        }
        return self._insert_ignore(evaluations, [row]) == 1

    def evaluations_of_candidates(self, candidate_ids: Sequence[str]) -> tuple[Evaluation, ...]:
        """Every evaluation of these candidates, by (candidate, metric, attempt)."""
        found = self._list_in(EVALUATIONS, evaluations.c.candidate_id, candidate_ids)
        return tuple(sorted(found, key=lambda e: (e.candidate_id, e.metric.label, e.attempt)))

    def evaluations_from_measurements(self, measurement_ids: Sequence[str]) -> tuple[Evaluation, ...]:
        """Evaluations whose value comes from one of these measurements."""
        found = self._list_in(EVALUATIONS, evaluations.c.measurement_id, measurement_ids)
        return tuple(sorted(found, key=lambda e: e.id))

    def evaluations_since(self, search_id: str, told_seq: int) -> tuple[Evaluation, ...]:
        """Evaluations of already told candidates recorded after step `told_seq`."""
        statement = (
            EVALUATIONS.select()
            .join(candidates, candidates.c.id == evaluations.c.candidate_id)
            .where(
                evaluations.c.search_id == search_id,
                evaluations.c.recorded_step >= told_seq,
                candidates.c.told_seq <= told_seq,
            )
            .order_by(candidates.c.seq, evaluations.c.metric, evaluations.c.attempt)
        )
        return self._list(EVALUATIONS, statement)

    def await_evaluations(self, awaited: Sequence[AwaitedEvaluation]) -> None:
        """Note what jobs will bring."""
        self._insert(AWAITED_EVALUATIONS, *awaited)

    def awaited_evaluations_of(self, candidate_id: str) -> tuple[AwaitedEvaluation, ...]:
        """What one candidate still waits for."""
        return self._awaited(awaited_evaluations.c.candidate_id == candidate_id)

    def awaited_evaluations_under(self, latency_key: str, hardware_key: str) -> tuple[AwaitedEvaluation, ...]:
        """Every candidate, of any search, that waits for this measurement."""
        return self._awaited(
            awaited_evaluations.c.latency_key == latency_key, awaited_evaluations.c.hardware_key == hardware_key
        )

    def num_awaited_evaluations(self, search_id: str) -> int:
        """How many evaluations a search waits for."""
        statement = (
            sa.select(sa.func.count())
            .select_from(awaited_evaluations)
            .where(awaited_evaluations.c.search_id == search_id)
        )
        return int(self._connection.execute(statement).scalar_one())

    def settle_awaited(self, candidate_id: str, metric: Metric) -> bool:
        """Take one off the list; False where it was not awaited."""
        return (
            self._settle(awaited_evaluations.c.candidate_id == candidate_id, awaited_evaluations.c.metric == metric) > 0
        )

    def settle_awaited_of_candidate(self, candidate_id: str) -> None:
        """Take everything one candidate waits for off the list."""
        self._settle(awaited_evaluations.c.candidate_id == candidate_id)

    def settle_awaited_of_search(self, search_id: str) -> None:
        """Take everything a search waits for off the list."""
        self._settle(awaited_evaluations.c.search_id == search_id)

    def _awaited(self, *conditions: sa.ColumnElement[bool]) -> tuple[AwaitedEvaluation, ...]:
        in_order = (awaited_evaluations.c.candidate_id, awaited_evaluations.c.metric)
        return self._list(AWAITED_EVALUATIONS, AWAITED_EVALUATIONS.select(*conditions).order_by(*in_order))

    def _settle(self, *conditions: sa.ColumnElement[bool]) -> int:
        return int(self._connection.execute(sa.delete(awaited_evaluations).where(*conditions)).rowcount)
