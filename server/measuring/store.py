"""The table of measurements and its store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from nas_engine.domain.measurement import DeviceClass, LatencyStats, Validity, ValidityFlag
from nas_engine.domain.measuring.layer_times import LayerProfile
from nas_engine.domain.metric import Metric
from nas_engine.domain.uncertainty import Interval
from server.candidates.tables import evaluations
from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.statements import insert_row
from server.core.database.store import Store, chunks, count_of, where_given
from server.core.database.types import Digest, EnumText, Id, Json, JsonOf, Label, Timestamp, finite
from server.core.errors import NotFoundError
from server.core.paging import Page, PageRequest
from server.fleet.device import HardwareProfile
from server.fleet.store import ENVIRONMENT, HardwareStore, hardware, reusable_from
from server.measuring.measurement import MeasurementKind, MeasurementQuery, MeasurementRecord
from server.spaces.store import architectures

FLAGS = JsonOf(  # pairs of validity and reason
    tuple[ValidityFlag, ...],
    dump=lambda flags: [[flag.validity.value, flag.reason] for flag in flags],
    load=lambda pairs: tuple(ValidityFlag(Validity(validity), reason) for validity, reason in pairs),
)


measurements = sa.Table(
    "measurements",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("kind", EnumText(MeasurementKind), nullable=False),
    sa.Column("latency_key", Digest, nullable=False),
    sa.Column("hardware_key", Digest, sa.ForeignKey("hardware.hardware_key"), nullable=False),
    sa.Column("device_class", EnumText(DeviceClass), nullable=False),
    sa.Column("device_type", Label, nullable=False),
    sa.Column("device_id", Id, sa.ForeignKey("devices.id")),
    sa.Column("job_id", Id),
    sa.Column("lease_id", Id, unique=True),
    sa.Column("search_id", Id, index=True),
    sa.Column("candidate_id", Id),
    sa.Column("arch_id", Digest, index=True),
    sa.Column("model_sha256", Digest),
    sa.Column("label", Label, nullable=False),
    sa.Column("profile", Label, nullable=False),
    sa.Column("p50_us", sa.Double, nullable=False),
    sa.Column("min_us", sa.Double, nullable=False),
    sa.Column("p90_us", sa.Double),
    sa.Column("ci95_low_us", sa.Double, nullable=False),
    sa.Column("ci95_high_us", sa.Double, nullable=False),
    sa.Column("stats", JsonOf(LatencyStats), nullable=False),
    sa.Column("npu_p50_us", sa.Double),
    sa.Column("npu_time_source", Label),
    sa.Column("load_us", sa.Double, nullable=False),
    sa.Column("init_us", sa.Double, nullable=False),
    sa.Column("first_run_us", sa.Double, nullable=False),
    sa.Column("validity", EnumText(Validity), nullable=False),
    sa.Column("flags", FLAGS, nullable=False),
    sa.Column("superseded", sa.Boolean, nullable=False),
    sa.Column("suspect", sa.Boolean, nullable=False),
    sa.Column("rejection", sa.Text, nullable=False),
    sa.Column("environment", ENVIRONMENT),
    sa.Column("canary_before", Json),
    sa.Column("canary_after", Json),
    sa.Column("output_digest", sa.String(128)),
    sa.Column("result_digest", Digest),
    sa.Column("samples", sa.LargeBinary),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Index("ix_measurements_latency_key_hardware_key", "latency_key", "hardware_key"),
    sa.Index("ix_measurements_hardware_key_id", "hardware_key", "id"),
    sa.Index("ix_measurements_device_type_id", "device_type", "id"),
    sa.Index("ix_measurements_device_id_created_at", "device_id", "created_at"),
    finite("p50_us"),
    finite("min_us"),
    finite("ci95_low_us"),
    finite("ci95_high_us"),
)


# How long each layer takes, by the runtime's profiler: few measurements have that.
measurement_layers = sa.Table(
    "measurement_layers",
    metadata,
    sa.Column("measurement_id", Id, sa.ForeignKey("measurements.id"), primary_key=True),
    sa.Column("profile", JsonOf(LayerProfile), nullable=False),
)


_PATHS = {name: f"stats.{name}" for name in ("p50_us", "min_us", "p90_us", "ci95_low_us", "ci95_high_us")}
_JOINED = {"hardware": hardware.c.document}
_UNLISTED = ("environment", "canary_before", "canary_after")
MEASUREMENTS = Rows(
    MeasurementRecord,
    measurements,
    paths=_PATHS,
    joined=_JOINED,
    beside=("samples",),  # large, and read apart
)
LISTED = Rows(  # what a device may fill with a quarter of a MiB is left out of pages of a thousand
    MeasurementRecord, measurements, paths=_PATHS, joined=_JOINED, beside=("samples", *_UNLISTED), apart=_UNLISTED
)


@dataclass(frozen=True, slots=True)
class MeasuredLatency:
    """Median latency of one architecture."""

    arch_id: str
    p50_us: float


@dataclass(frozen=True, slots=True)
class MeasuredRange:
    """What was measured of one search space under one hardware key."""

    num_architectures: int
    fastest: MeasuredLatency
    slowest: MeasuredLatency


class MeasurementStore(Store):
    """Measurements as rows; statistics that are sorted or filtered by have columns of their own."""

    def add_measurement(
        self, record: MeasurementRecord, samples: bytes | None, layers: LayerProfile | None = None
    ) -> None:
        """Store one with its raw samples, and how long its layers take where that is known."""
        HardwareStore(self._tx).put_hardware(HardwareProfile(key=record.hardware))
        insert_row(self._connection, measurements, {**MEASUREMENTS.row_of(record), "samples": samples})
        if layers is not None:
            row = {"measurement_id": record.id, "profile": layers}
            self._connection.execute(sa.insert(measurement_layers).values(row))

    def get_measurement(self, measurement_id: str) -> MeasurementRecord:
        """Read a measurement without its samples. Raises NotFoundError."""
        statement = MEASUREMENTS.select(measurements.c.id == measurement_id)
        return self._one(MEASUREMENTS, statement, "measurement", measurement_id)

    def get_many(self, measurement_ids: Iterable[str]) -> dict[str, MeasurementRecord]:
        """Read those that are there, by id."""
        return {one.id: one for one in self._list_in(MEASUREMENTS, measurements.c.id, measurement_ids)}

    def intervals_of_measurements(self, measurement_ids: Iterable[str]) -> dict[str, Interval]:
        """Read the medians with the 95 % intervals that their samples gave, microseconds, of those that are there."""
        m = measurements.c
        columns = sa.select(m.id, m.p50_us, m.ci95_low_us, m.ci95_high_us)
        found: dict[str, Interval] = {}
        for ids in chunks(measurement_ids):
            rows = self._connection.execute(columns.where(m.id.in_(ids)))
            found |= {id: Interval(p50_us, low_us, high_us) for id, p50_us, low_us, high_us in rows}
        return found

    def intervals_of_latencies(
        self, candidate_ids: Iterable[str], metrics: Sequence[Metric]
    ) -> dict[str, dict[Metric, Interval]]:
        """Read the same of the measurements that these candidates' current latencies were taken from, by candidate."""
        e, m = evaluations.c, measurements.c
        columns = (e.candidate_id, e.metric, m.p50_us, m.ci95_low_us, m.ci95_high_us)
        by_name = {metric.name: metric for metric in metrics}
        statement = sa.select(*columns).select_from(evaluations.join(measurements, m.id == e.measurement_id))
        found: dict[str, dict[Metric, Interval]] = defaultdict(dict)
        for ids in chunks(candidate_ids):
            wanted = statement.where(e.candidate_id.in_(ids), e.current, e.metric.in_(list(by_name)))
            for id, name, p50_us, low_us, high_us in self._connection.execute(wanted):
                found[id][by_name[name]] = Interval(p50_us, low_us, high_us)
        return found

    def measurement_of_lease(self, lease_id: str) -> MeasurementRecord | None:
        """What one lease brought."""
        return self._find(MEASUREMENTS, measurements.c.lease_id, lease_id)

    def samples_of_measurement(self, measurement_id: str) -> bytes | None:
        """Raw samples as they came; None for estimates."""
        statement = sa.select(measurements.c.samples).where(measurements.c.id == measurement_id)
        row = self._connection.execute(statement).one_or_none()
        if row is None:
            raise NotFoundError("measurement", measurement_id)
        return row.samples  # type: ignore[no-any-return]

    def layers_of_measurement(self, measurement_id: str) -> LayerProfile | None:
        """How long each layer took; None where that was not asked for, or the runtime does not tell."""
        statement = sa.select(measurement_layers.c.profile).where(measurement_layers.c.measurement_id == measurement_id)
        return self._connection.execute(statement).scalar_one_or_none()

    def newest_measurement(
        self, latency_key: str, hardware_key: str, *, with_layers: bool = False
    ) -> MeasurementRecord | None:
        """The last authoritative, unsuspected measurement of a network on some hardware, or that timed its layers."""
        statement = _filtered(MeasurementQuery(latency_key=latency_key, hardware_key=hardware_key, kinds=()))
        if with_layers:
            statement = statement.where(measurements.c.id.in_(sa.select(measurement_layers.c.measurement_id)))
        return self._first(MEASUREMENTS, statement.order_by(measurements.c.id.desc()).limit(1))

    def page_of_measurements(self, query: MeasurementQuery, page: PageRequest) -> Page[MeasurementRecord]:
        """List the measurements that a query selects, newest first."""
        return self._page(MEASUREMENTS, _filtered(query), page, id_column=measurements.c.id, descending=True)

    def page_of_listed(self, query: MeasurementQuery, page: PageRequest) -> Page[MeasurementRecord]:
        """As `page_of_measurements`, without the state of the device and its canaries."""
        statement = _filtered(query).with_only_columns(*LISTED.columns)
        return self._page(LISTED, statement, page, id_column=measurements.c.id, descending=True)

    def count_measurements(self, query: MeasurementQuery) -> int:
        """How many `page` would list in all."""
        return count_of(self._connection, _filtered(query).with_only_columns(measurements.c.id))

    def measured_range(
        self, hardware_key: str, space_id: str, parameters: str, kind: MeasurementKind
    ) -> MeasuredRange | None:
        """Read the fastest and the slowest architecture of a space, by its canonical parameters; None without any."""
        of_space = sa.select(architectures.c.arch_id).where(
            architectures.c.space_id == space_id, architectures.c.parameters == parameters
        )
        query = MeasurementQuery(hardware_key=hardware_key, kinds=(kind,))
        arch_id, p50_us = measurements.c.arch_id, measurements.c.p50_us
        counted = _filtered(query).where(arch_id.in_(of_space)).with_only_columns(arch_id, p50_us)
        by_latency = counted.order_by(p50_us).limit(1), counted.order_by(p50_us.desc()).limit(1)
        ends = [self._connection.execute(statement).one_or_none() for statement in by_latency]
        fastest, slowest = (None if row is None else MeasuredLatency(row.arch_id, row.p50_us) for row in ends)
        if fastest is None or slowest is None:
            return None
        return MeasuredRange(
            count_of(self._connection, counted.with_only_columns(arch_id).distinct()), fastest, slowest
        )

    def reusable_measurements(
        self,
        latency_key: str,
        hardware_key: str,
        device_type: str,
        kinds: Sequence[MeasurementKind],
        profiles: Sequence[str],
    ) -> Iterator[MeasurementRecord]:
        """Authoritative, unsuspected ones, the newest first; valid ones before all others. From devices of the asked
        type, and from none that is a board by its own word alone.
        """
        statement = MEASUREMENTS.select(
            measurements.c.latency_key == latency_key,
            measurements.c.hardware_key == hardware_key,
            measurements.c.device_type == device_type,
            reusable_from(measurements.c.device_id),
            measurements.c.kind.in_(kinds),
            measurements.c.profile.in_(profiles),
            measurements.c.superseded.is_(False),
            measurements.c.suspect.is_(False),
        ).order_by(measurements.c.validity != Validity.VALID, measurements.c.id.desc())
        return map(MEASUREMENTS.value_of, self._connection.execute(statement).all())

    def ids_of_measurements_since(self, device_id: str, since: datetime) -> tuple[str, ...]:
        """What a device measured since then and is not suspect yet, oldest first."""
        statement = sa.select(measurements.c.id).where(
            measurements.c.device_id == device_id,
            measurements.c.created_at >= since,
            measurements.c.suspect.is_(False),
        )
        return tuple(row.id for row in self._connection.execute(statement.order_by(measurements.c.id)))

    def mark_measurements_suspect(self, device_id: str, since: datetime) -> int:
        """Flag everything a device measured since then; returns how many."""
        statement = (
            sa.update(measurements)
            .where(
                measurements.c.device_id == device_id,
                measurements.c.created_at >= since,
                measurements.c.suspect.is_(False),
            )
            .values(suspect=True)
        )
        return int(self._connection.execute(statement).rowcount)


def _filtered(query: MeasurementQuery) -> sa.Select[Any]:
    m = measurements.c
    statement = where_given(
        MEASUREMENTS.select(),
        {
            m.device_type: query.device_type,
            m.device_id: query.device_id,
            m.device_class: query.device_class,
            m.hardware_key: query.hardware_key,
            m.latency_key: query.latency_key,
            m.arch_id: query.arch_id,
            m.search_id: query.search_id,
            m.candidate_id: query.candidate_id,
            m.kind: query.kinds,
            m.validity: query.validities,
        },
    )
    if query.space_id is not None:
        of_space = sa.select(architectures.c.arch_id).where(architectures.c.space_id == query.space_id)
        statement = statement.where(m.arch_id.in_(of_space))
    if not query.include_superseded:
        statement = statement.where(m.superseded.is_(False))
    if not query.include_suspect:
        statement = statement.where(m.suspect.is_(False))
    if query.since is not None:
        statement = statement.where(m.created_at >= query.since)
    if query.until is not None:
        statement = statement.where(m.created_at < query.until)
    return statement
