"""Tables of candidates, of their values, and of the values that are awaited."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.measurement import Validity
from nas_engine.domain.measuring.paired import CorrectAnswers
from nas_engine.domain.metric import Goal
from server.candidates.candidate import AwaitedEvaluation, Candidate, Evaluation
from server.candidates.states import CandidateState, EvaluationSource
from server.core.database.metadata import metadata
from server.core.database.metric_text import MetricText
from server.core.database.rows import Rows
from server.core.database.types import Digest, EnumText, Id, Json, JsonOf, Label, Timestamp, finite
from server.spaces.store import ARCHITECTURES

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
    sa.Column("latency_keys", JsonOf(Mapping[str, str]), nullable=False, server_default="{}"),
    sa.Column("state", EnumText(CandidateState), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("model_sha256", Digest),
    sa.Column("final_model_sha256", Digest),
    sa.Column("told_seq", sa.BigInteger),
    sa.Column("expected_gain", sa.Double),
    sa.Column("expected_gain_reason", sa.Text, nullable=False, server_default="asked by an earlier version"),
    sa.Column("provenance", Json),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("finished_at", Timestamp),
    sa.UniqueConstraint("search_id", "arch_id"),
    sa.UniqueConstraint("search_id", "seq"),
    sa.Index("ix_candidates_search_id_state", "search_id", "state"),
)


evaluations = sa.Table(
    "evaluations",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("search_id", Id, sa.ForeignKey("searches.id"), nullable=False),
    sa.Column("candidate_id", Id, sa.ForeignKey("candidates.id"), nullable=False),
    sa.Column("metric", Label, nullable=False),
    # Name, unit and goal lie in the row: it can be read where whoever declared the metric is gone.
    sa.Column("unit", Label, nullable=False),
    sa.Column("goal", EnumText(Goal), nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("uncertainty", sa.Double),
    sa.Column("validity", EnumText(Validity), nullable=False),
    sa.Column("flags", JsonOf(tuple[Validity, ...]), nullable=False),
    sa.Column("source", EnumText(EvaluationSource), nullable=False),
    sa.Column("package", Label),
    sa.Column("package_version", Label),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    # Whether it is the candidate's value; later attempts with other weights than the search compares are not.
    sa.Column("current", sa.Boolean, nullable=False),
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
# What lists are sorted and filtered by, whatever the metric; at most one current value of each.
sa.Index(
    "ix_evaluations_search_id_metric_value_candidate_id",
    evaluations.c.search_id,
    evaluations.c.metric,
    evaluations.c.value,
    evaluations.c.candidate_id,
    sqlite_where=evaluations.c.current,
    postgresql_where=evaluations.c.current,
)
sa.Index(
    "uq_evaluations_candidate_id_metric_current",
    evaluations.c.candidate_id,
    evaluations.c.metric,
    unique=True,
    sqlite_where=evaluations.c.current,
    postgresql_where=evaluations.c.current,
)


# Which images an accuracy got right, a bit each: apart from the evaluations, which are listed without them.
evaluation_answers = sa.Table(
    "evaluation_answers",
    metadata,
    sa.Column("evaluation_id", Id, sa.ForeignKey("evaluations.id"), primary_key=True),
    sa.Column("num_images", sa.BigInteger, nullable=False),
    sa.Column("labels_sha256", Digest, nullable=False),
    sa.Column("bits", sa.LargeBinary, nullable=False),
)


awaited_evaluations = sa.Table(
    "awaited_evaluations",
    metadata,
    sa.Column("candidate_id", Id, sa.ForeignKey("candidates.id"), primary_key=True),
    sa.Column("metric", MetricText(), primary_key=True),
    sa.Column("search_id", Id, sa.ForeignKey("searches.id"), nullable=False, index=True),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    sa.Column("supernet_version_id", Id),
    sa.Column("latency_key", Digest),
    sa.Column("hardware_key", Digest),
    sa.Column("is_needed", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Index("ix_awaited_evaluations_latency_key_hardware_key", "latency_key", "hardware_key"),
)


CANDIDATES = Rows(Candidate, candidates, joined={"record": ARCHITECTURES}, apart=("current",))
EVALUATIONS = Rows(
    Evaluation,
    evaluations,
    paths={
        "metric": "metric.name",
        "unit": "metric.unit",
        "goal": "metric.goal",
        "package": "provider.package",
        "package_version": "provider.version",
    },
    beside=("recorded_step", "current"),
)
ANSWERS = Rows(CorrectAnswers, evaluation_answers, beside=("evaluation_id",))
AWAITED_EVALUATIONS = Rows(AwaitedEvaluation, awaited_evaluations)
