"""A metric is a row: the values of candidates lie among their evaluations, and no column is named after a metric.

Each candidate's current value of a metric is one of its evaluations, marked so; what was counted from the layer graph
becomes rows too. Architectures keep those counts in one document. Nothing is lost: a value of a candidate that no
evaluation holds becomes one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013_metrics_as_rows"
down_revision = "0012_sessions_and_uploads"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
# Unit, goal and the source of values that no evaluation holds, as they were when these were columns.
EVALUATED = {
    "top1": ("fraction", "maximize", "evaluated"),
    "test_top1": ("fraction", "maximize", "evaluated"),
    "device_top1": ("fraction", "maximize", "measured"),
    "latency_us": ("us", "minimize", "measured"),
}
COUNTED = {"macs": "macs", "params": "params", "peak_activation_bytes": "bytes"}
TABLE_SPACE = "table"
ROW = (
    "id, search_id, candidate_id, metric, unit, goal, value, uncertainty, validity, flags, source, attempt, "
    '"current", recorded_step, created_at'
)


def upgrade() -> None:
    for column in (
        sa.Column("unit", sa.String(length=200), nullable=False, server_default=""),
        sa.Column("goal", sa.String(length=200), nullable=False, server_default="minimize"),
        sa.Column("flags", JSON, nullable=False, server_default="[]"),
        sa.Column("package", sa.String(length=200), nullable=True),
        sa.Column("package_version", sa.String(length=200), nullable=True),
        sa.Column("current", sa.Boolean(), nullable=False, server_default=sa.false()),
    ):
        op.add_column("evaluations", column)
    _describe_evaluations()
    for metric in EVALUATED:
        _keep_value(metric)
    _count()
    with op.batch_alter_table("evaluations", schema=None) as batch_op:
        for name in ("unit", "goal", "flags", "current"):
            batch_op.alter_column(name, server_default=None)
    # Spelled as the statements spell it: SQLite uses a partial index only where it sees its very condition.
    is_current = sa.text(f'"current" = {_true()}' if op.get_bind().dialect.name == "sqlite" else '"current"')
    op.create_index(
        "ix_evaluations_search_id_metric_value_candidate_id",
        "evaluations",
        ["search_id", "metric", "value", "candidate_id"],
        unique=False,
        sqlite_where=is_current,
        postgresql_where=is_current,
    )
    op.create_index(
        "uq_evaluations_candidate_id_metric_current",
        "evaluations",
        ["candidate_id", "metric"],
        unique=True,
        sqlite_where=is_current,
        postgresql_where=is_current,
    )
    with op.batch_alter_table("candidates", schema=None) as batch_op:
        for metric in EVALUATED:
            batch_op.drop_constraint(batch_op.f(f"ck_candidates_{metric}_finite"), type_="check")
        for name in (*EVALUATED, "latency_flags"):
            batch_op.drop_column(name)
    with op.batch_alter_table("architectures", schema=None) as batch_op:
        batch_op.alter_column("values", server_default=None)
        for name in COUNTED:
            batch_op.drop_column(name)
    if _on_postgresql():  # until it looked at them itself, lists would be planned by what these tables were
        op.execute("ANALYZE evaluations, candidates, architectures")


def _describe_evaluations() -> None:
    """Give every evaluation the unit and goal of its metric, its flags, and whether it is its candidate's value.

    The current one is the latest that gave the candidate its value. Rows are written once: they are many.
    """
    own = " ".join(f"WHEN '{metric}' THEN c.{metric}" for metric in EVALUATED)
    op.execute(
        f"""CREATE TEMPORARY TABLE current_evaluations AS
            SELECT candidate_id, metric, max(attempt) AS attempt FROM (
                SELECT e.candidate_id, e.metric, e.attempt FROM evaluations e JOIN candidates c ON c.id = e.candidate_id
                WHERE e.value = CASE e.metric {own} END) AS giving
            GROUP BY candidate_id, metric"""
    )
    op.execute("CREATE UNIQUE INDEX ix_current_evaluations ON current_evaluations (candidate_id, metric, attempt)")
    if _on_postgresql():
        op.execute("ANALYZE current_evaluations")
    units = " ".join(f"WHEN '{metric}' THEN '{unit}'" for metric, (unit, _, _) in EVALUATED.items())
    goals = " ".join(f"WHEN '{metric}' THEN '{goal}'" for metric, (_, goal, _) in EVALUATED.items())
    flag = "jsonb_build_array(validity)" if _on_postgresql() else "json_array(validity)"
    is_current = """EXISTS (SELECT 1 FROM current_evaluations n WHERE n.candidate_id = evaluations.candidate_id
                    AND n.metric = evaluations.metric AND n.attempt = evaluations.attempt)"""
    op.execute(
        f"""UPDATE evaluations SET unit = CASE metric {units} ELSE '' END,
            goal = CASE metric {goals} ELSE 'minimize' END, "current" = {is_current},
            flags = CASE WHEN metric = 'latency_us' AND {is_current}
                    THEN (SELECT c.latency_flags FROM candidates c WHERE c.id = evaluations.candidate_id)
                    WHEN validity = 'valid' THEN {_empty_list()} ELSE {flag} END"""
    )
    op.execute("DROP TABLE current_evaluations")


def _keep_value(metric: str) -> None:
    """Make those values of candidates evaluations that none gave them."""
    unit, goal, source = EVALUATED[metric]
    flags = "c.latency_flags" if metric == "latency_us" else _empty_list()
    op.execute(
        f"""INSERT INTO evaluations ({ROW})
            SELECT {_id(metric)}, c.search_id, c.id, '{metric}', '{unit}', '{goal}', c.{metric}, NULL, 'valid',
                {flags}, '{source}', (
                    SELECT coalesce(max(e.attempt), 0) + 1 FROM evaluations e
                    WHERE e.candidate_id = c.id AND e.metric = '{metric}'),
                {_true()}, 0, coalesce(c.finished_at, c.created_at)
            FROM candidates c WHERE c.{metric} IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM evaluations e
                WHERE e.candidate_id = c.id AND e.metric = '{metric}' AND e."current")"""
    )


def _count() -> None:
    """Make what was counted from the layer graph a document of the architecture, and a row of each candidate."""
    op.add_column("architectures", sa.Column("values", JSON, nullable=False, server_default="{}"))
    pairs = ", ".join(f"'{metric}', {metric}" for metric in COUNTED)
    document = f"json_patch('{{}}', json_object({pairs}))"
    if _on_postgresql():
        document = f"jsonb_strip_nulls(jsonb_build_object({pairs}))"
    op.execute(f'UPDATE architectures SET "values" = {document}')
    for metric, unit in COUNTED.items():
        op.execute(
            f"""INSERT INTO evaluations ({ROW})
                SELECT {_id(metric)}, c.search_id, c.id, '{metric}', '{unit}', 'minimize', a.{metric}, NULL, 'valid',
                    {_empty_list()}, CASE a.space_id WHEN '{TABLE_SPACE}' THEN 'table' ELSE 'graph' END, 1, {_true()},
                    0, c.created_at
                FROM candidates c JOIN architectures a ON a.arch_id = c.arch_id WHERE a.{metric} IS NOT NULL"""
        )


def _id(metric: str) -> str:
    """An id made of the candidate's: its first digit, 0 for some thousand years, becomes the metric's."""
    digit = "mpktvxz"[[*COUNTED, *EVALUATED].index(metric)]
    return f"'eval_{digit}' || substr(c.id, 7)"


def _on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _true() -> str:
    return "true" if _on_postgresql() else "1"


def _empty_list() -> str:
    return "'[]'::jsonb" if _on_postgresql() else "'[]'"


def downgrade() -> None:
    """Back to the revision before; values of metrics that it has no column for stay among the evaluations."""
    for metric in EVALUATED:
        op.add_column("candidates", sa.Column(metric, sa.Double(), nullable=True))
    op.add_column("candidates", sa.Column("latency_flags", JSON, nullable=False, server_default="[]"))
    for metric in COUNTED:
        op.add_column("architectures", sa.Column(metric, sa.BigInteger(), nullable=True))
    for metric in EVALUATED:
        op.execute(f"UPDATE candidates SET {metric} = {_current('value', metric)}")
    op.execute(f"UPDATE candidates SET latency_flags = coalesce({_current('flags', 'latency_us')}, {_empty_list()})")
    for metric in COUNTED:
        counted = f"json_extract(\"values\", '$.{metric}')"
        if _on_postgresql():
            counted = f"CAST(CAST(\"values\" ->> '{metric}' AS DOUBLE PRECISION) AS BIGINT)"
        op.execute(f"UPDATE architectures SET {metric} = {counted}")
    counted_rows = ", ".join(f"'{metric}'" for metric in COUNTED)
    op.execute(f"DELETE FROM evaluations WHERE metric IN ({counted_rows})")
    op.drop_index("uq_evaluations_candidate_id_metric_current", table_name="evaluations")
    op.drop_index("ix_evaluations_search_id_metric_value_candidate_id", table_name="evaluations")
    with op.batch_alter_table("evaluations", schema=None) as batch_op:
        for name in ("unit", "goal", "flags", "package", "package_version", "current"):
            batch_op.drop_column(name)
    with op.batch_alter_table("candidates", schema=None) as batch_op:
        batch_op.alter_column("latency_flags", server_default=None)
        for metric in EVALUATED:
            batch_op.create_check_constraint(
                batch_op.f(f"ck_candidates_{metric}_finite"), f"{metric} >= -1.7e308 AND {metric} <= 1.7e308"
            )
    with op.batch_alter_table("architectures", schema=None) as batch_op:
        batch_op.drop_column("values")


def _current(column: str, metric: str) -> str:
    return (
        f"(SELECT e.{column} FROM evaluations e "
        f"WHERE e.candidate_id = candidates.id AND e.metric = '{metric}' AND e.\"current\")"
    )
