"""The tables of latency predictors, and how far new measurements were counted for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from nas_engine.domain.architecture import Genotype
from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.statements import update_row
from server.core.database.store import Store
from server.core.database.types import Digest, Id, JsonOf, Label, Timestamp
from server.core.paging import Page, PageRequest
from server.fleet.store import reusable_from
from server.latencies.predictors.predictor import FitQuality, LatencyPredictor, PredictedGroup, TableStanding
from server.measuring.measurement import MeasurementKind
from server.measuring.store import measurements
from server.spaces.store import architectures

latency_predictors = sa.Table(
    "latency_predictors",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("device_type", Label, nullable=False),
    sa.Column("hardware_key", Digest, sa.ForeignKey("hardware.hardware_key"), nullable=False),
    sa.Column("space_id", Label, nullable=False),
    sa.Column("parameters", sa.Text, nullable=False),
    sa.Column("space_key", Digest, nullable=False),
    sa.Column("table_id", Id, sa.ForeignKey("latency_batches.id"), unique=True),
    sa.Column("standing", JsonOf(TableStanding)),
    sa.Column("num_seen", sa.BigInteger, nullable=False),
    sa.Column("num_seen_at_fit", sa.BigInteger, nullable=False),
    sa.Column("num_fitted", sa.BigInteger, nullable=False),
    sa.Column("model", Label, nullable=False),
    sa.Column("artifact_sha256", Digest),
    sa.Column("quality", JsonOf(FitQuality)),
    sa.Column("newest_measurement_id", Id),
    sa.Column("trouble", sa.Text, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("fitted_at", Timestamp),
    sa.Column("version", sa.BigInteger, nullable=False),
)
_OF_ARCHITECTURES = latency_predictors.c.table_id.is_(None)
sa.Index(
    "ix_latency_predictors_group",
    *(latency_predictors.c[name] for name in ("device_type", "space_key", "hardware_key")),
    unique=True,
    sqlite_where=_OF_ARCHITECTURES,
    postgresql_where=_OF_ARCHITECTURES,
)


# One row: the last measurement that was counted.
latency_predictor_progress = sa.Table(
    "latency_predictor_progress",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("measurement_id", Id, nullable=False),
)


PREDICTORS = Rows(LatencyPredictor, latency_predictors)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedSample:
    """One measured architecture that a predictor learns from."""

    measurement_id: str
    arch_id: str
    genotype: Genotype
    latency_us: float
    standard_error_us: float


class PredictorStore(Store):
    """Predictors as rows: one for each group, and one for each latency table."""

    def add_predictor(self, predictor: LatencyPredictor) -> None:
        """Store a new one."""
        self._insert(PREDICTORS, predictor)

    def get_predictor(self, predictor_id: str) -> LatencyPredictor:
        """Read one. Raises NotFoundError."""
        return self._get(PREDICTORS, latency_predictors.c.id, predictor_id, "latency predictor")

    def lock_predictor(self, predictor_id: str) -> LatencyPredictor:
        """Read one and hold it until the transaction ends. Raises NotFoundError."""
        return self._get(PREDICTORS, latency_predictors.c.id, predictor_id, "latency predictor", lock=True)

    def save_predictor(self, predictor: LatencyPredictor) -> LatencyPredictor:
        """Write a locked one with its version one higher."""
        return self._save(PREDICTORS, predictor)

    def find_group(self, group: PredictedGroup) -> LatencyPredictor | None:
        """Read that of a group which is fitted to architectures; None where there is none."""
        c = latency_predictors.c
        statement = PREDICTORS.select(
            _OF_ARCHITECTURES,
            c.device_type == group.device_type,
            c.space_key == group.space_key,
            c.hardware_key == group.hardware_key,
        )
        return self._first(PREDICTORS, statement)

    def of_tables(self, table_ids: Collection[str]) -> dict[str, LatencyPredictor]:
        """Those of these latency tables, by table."""
        found = self._list_in(PREDICTORS, latency_predictors.c.table_id, sorted(table_ids))
        return {one.table_id: one for one in found if one.table_id is not None}

    def of_spaces(self, device_types: Collection[str], space_keys: Collection[str]) -> list[LatencyPredictor]:
        """Every one of these device types and spaces, those that are not fitted yet among them."""
        c = latency_predictors.c
        return self._list_in(PREDICTORS, c.space_key, sorted(space_keys), c.device_type.in_(sorted(device_types)))

    def page_of_predictors(
        self, device_type: str | None, hardware_key: str | None, page: PageRequest
    ) -> Page[LatencyPredictor]:
        """List them, newest first."""
        c = latency_predictors.c
        statement = PREDICTORS.select()
        if device_type is not None:
            statement = statement.where(c.device_type == device_type)
        if hardware_key is not None:
            statement = statement.where(c.hardware_key == hardware_key)
        return self._page(PREDICTORS, statement, page, id_column=c.id, descending=True)

    def lock_progress(self) -> str:
        """Id of the last measurement that was counted, empty before the first; held until the transaction ends."""
        c = latency_predictor_progress.c
        self._insert_ignore(latency_predictor_progress, [{"id": 1, "measurement_id": ""}])
        statement = sa.select(c.measurement_id).where(c.id == 1).with_for_update()
        return str(self._connection.execute(statement).scalar_one())

    def save_progress(self, measurement_id: str) -> None:
        """Write how far measurements were counted."""
        update_row(self._connection, latency_predictor_progress.c.id, 1, {"measurement_id": measurement_id})

    def new_in_groups(self, after: str, limit: int) -> tuple[str, dict[PredictedGroup, int]]:
        """Count the next measurements of architectures by group.

        Returns:
            The id of the last measurement that was looked at, and the numbers.
        """
        m, a = measurements.c, architectures.c
        last = sa.select(m.id).where(m.id > after).order_by(m.id).limit(limit).subquery()
        newest = self._connection.execute(sa.select(sa.func.max(last.c.id))).scalar_one()
        if newest is None:
            return after, {}
        columns = (m.device_type, m.hardware_key, a.space_id, a.parameters)
        statement = (
            sa.select(*columns, sa.func.count())
            .where(m.id > after, m.id <= newest, m.arch_id == a.arch_id, *_counted())
            .group_by(*columns)
        )
        found = {
            PredictedGroup(device_type=row[0], hardware_key=row[1], space_id=row[2], parameters=row[3]): int(row[4])
            for row in self._connection.execute(statement)
        }
        return str(newest), found

    def samples_of(self, group: PredictedGroup, limit: int) -> Sequence[FittedSample]:
        """The newest measurement of each architecture of a group, the newest architectures first."""
        m, a = measurements.c, architectures.c
        place = sa.func.row_number().over(partition_by=m.arch_id, order_by=m.id.desc())
        read = (m.id, m.arch_id, m.p50_us, m.ci95_low_us, m.ci95_high_us, a.genotype)
        ranked = (
            sa.select(*read, place.label("place"))
            .where(
                m.hardware_key == group.hardware_key,
                m.device_type == group.device_type,
                m.arch_id == a.arch_id,
                a.space_id == group.space_id,
                a.parameters == group.parameters,
                *_counted(),
            )
            .subquery()
        )
        newest = sa.select(ranked).where(ranked.c.place == 1).order_by(ranked.c.id.desc()).limit(limit)
        return [
            FittedSample(
                measurement_id=row.id,
                arch_id=row.arch_id,
                genotype=tuple(row.genotype),
                latency_us=row.p50_us,
                standard_error_us=max((row.ci95_high_us - row.ci95_low_us) / (2 * 1.96), 0.0),
            )
            for row in self._connection.execute(newest)
            if row.genotype is not None
        ]


def _counted() -> tuple[sa.ColumnElement[bool], ...]:
    """What may teach a predictor: what may steer a search."""
    m = measurements.c
    return (
        m.arch_id.is_not(None),
        m.kind.in_((MeasurementKind.MEASURED, MeasurementKind.SIMULATED)),
        m.superseded.is_(False),
        m.suspect.is_(False),
        reusable_from(m.device_id),
    )
