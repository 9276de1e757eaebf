"""The table of measurements and its store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from nas_engine.domain.measurement import HardwareKey, LatencyStats, Validity, ValidityFlag, ValidityPolicy
from server.core.database.keyset import fetch_page
from server.core.database.metadata import metadata
from server.core.database.store import Store, count_of
from server.core.database.types import Digest, Id, Json, Label, Timestamp, finite
from server.core.paging import Page, PageRequest
from server.fleet.device import HardwareProfile
from server.fleet.store import HardwareStore, hardware
from server.measuring.measurement import MeasurementKind, MeasurementQuery, MeasurementRecord
from server.spaces.store import architectures

measurements = sa.Table(
    "measurements",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("kind", Label, nullable=False),
    sa.Column("latency_key", Digest, nullable=False),
    sa.Column("hardware_key", Digest, sa.ForeignKey("hardware.hardware_key"), nullable=False),
    sa.Column("device_class", Label, nullable=False),
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
    sa.Column("stats", Json, nullable=False),
    sa.Column("npu_p50_us", sa.Double),
    sa.Column("load_us", sa.Double, nullable=False),
    sa.Column("init_us", sa.Double, nullable=False),
    sa.Column("first_run_us", sa.Double, nullable=False),
    sa.Column("validity", Label, nullable=False),
    sa.Column("flags", Json, nullable=False),
    sa.Column("superseded", sa.Boolean, nullable=False),
    sa.Column("suspect", sa.Boolean, nullable=False),
    sa.Column("environment", Json),
    sa.Column("canary_before", Json),
    sa.Column("canary_after", Json),
    sa.Column("output_digest", sa.String(128)),
    sa.Column("result_digest", Digest),
    sa.Column("samples", sa.LargeBinary),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Index("ix_measurements_latency_key_hardware_key", "latency_key", "hardware_key"),
    sa.Index("ix_measurements_device_type_id", "device_type", "id"),
    sa.Index("ix_measurements_device_id_created_at", "device_id", "created_at"),
    finite("p50_us"),
    finite("min_us"),
    finite("ci95_low_us"),
    finite("ci95_high_us"),
)


_COLUMNS = [column for column in measurements.c if column.name != "samples"]


_CONVERTED = (
    "kind",
    "device_class",
    "p50_us",
    "min_us",
    "p90_us",
    "ci95_low_us",
    "ci95_high_us",
    "stats",
    "validity",
    "flags",
)


_SAME = tuple(column.name for column in _COLUMNS if column.name not in _CONVERTED)


_JOINED: sa.Select[Any] = sa.select(*_COLUMNS, hardware.c.document.label("hardware")).join(
    hardware, hardware.c.hardware_key == measurements.c.hardware_key
)


class MeasurementStore(Store):
    """Measurements as rows; statistics that are sorted or filtered by have columns of their own."""

    def add(self, record: MeasurementRecord, samples: bytes | None) -> None:
        """Store one with its raw samples."""
        HardwareStore(self._tx).put(HardwareProfile(key=record.hardware))
        self._connection.execute(sa.insert(measurements).values({**_row(record), "samples": samples}))

    def get(self, measurement_id: str) -> MeasurementRecord:
        """Read one."""
        return _record(self._one(_JOINED.where(measurements.c.id == measurement_id), "measurement", measurement_id))

    def of_lease(self, lease_id: str) -> MeasurementRecord | None:
        """What one lease brought."""
        row = self._connection.execute(_JOINED.where(measurements.c.lease_id == lease_id)).one_or_none()
        return None if row is None else _record(row)

    def samples(self, measurement_id: str) -> bytes | None:
        """Raw samples as they came; None for estimates."""
        statement = sa.select(measurements.c.samples).where(measurements.c.id == measurement_id)
        found = self._one(statement, "measurement", measurement_id).samples
        return None if found is None else bytes(found)

    def page(self, query: MeasurementQuery, page: PageRequest) -> Page[MeasurementRecord]:
        """List, newest first."""
        return fetch_page(
            self._connection,
            _filtered(query),
            page,
            id_column=measurements.c.id,
            from_row=_record,
            descending=True,
        )

    def count(self, query: MeasurementQuery) -> int:
        """How many `page` would list in all."""
        return count_of(self._connection, _filtered(query).with_only_columns(measurements.c.id))

    def reusable(
        self,
        latency_key: str,
        hardware_key: str,
        kinds: Sequence[MeasurementKind],
        profiles: Sequence[str],
        policy: ValidityPolicy,
    ) -> MeasurementRecord | None:
        """The newest authoritative, unsuspected one that the policy accepts; valid ones first."""
        statement = _JOINED.where(
            measurements.c.latency_key == latency_key,
            measurements.c.hardware_key == hardware_key,
            measurements.c.kind.in_([kind.value for kind in kinds]),
            measurements.c.profile.in_(list(profiles)),
            measurements.c.superseded.is_(False),
            measurements.c.suspect.is_(False),
        ).order_by(measurements.c.validity != Validity.VALID.value, measurements.c.id.desc())
        for row in self._connection.execute(statement):
            record = _record(row)
            if policy.accepts(record.flags):
                return record
        return None

    def ids_since(self, device_id: str, since: datetime) -> tuple[str, ...]:
        """What a device measured since then and is not suspect yet, oldest first."""
        statement = sa.select(measurements.c.id).where(
            measurements.c.device_id == device_id,
            measurements.c.created_at >= since,
            measurements.c.suspect.is_(False),
        )
        return tuple(row.id for row in self._connection.execute(statement.order_by(measurements.c.id)))

    def mark_suspect(self, device_id: str, since: datetime) -> int:
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
    statement = _JOINED
    for column, wanted in (
        (m.device_type, query.device_type),
        (m.device_id, query.device_id),
        (m.device_class, None if query.device_class is None else query.device_class.value),
        (m.hardware_key, query.hardware_key),
        (m.latency_key, query.latency_key),
        (m.arch_id, query.arch_id),
        (m.search_id, query.search_id),
        (m.candidate_id, query.candidate_id),
    ):
        if wanted is not None:
            statement = statement.where(column == wanted)
    if query.space_id is not None:
        of_space = sa.select(architectures.c.arch_id).where(architectures.c.space_id == query.space_id)
        statement = statement.where(m.arch_id.in_(of_space))
    if query.kinds:
        statement = statement.where(m.kind.in_([kind.value for kind in query.kinds]))
    if query.validities:
        statement = statement.where(m.validity.in_([validity.value for validity in query.validities]))
    if not query.include_superseded:
        statement = statement.where(m.superseded.is_(False))
    if not query.include_suspect:
        statement = statement.where(m.suspect.is_(False))
    if query.since is not None:
        statement = statement.where(m.created_at >= query.since)
    if query.until is not None:
        statement = statement.where(m.created_at < query.until)
    return statement


def _row(record: MeasurementRecord) -> dict[str, Any]:
    stats = record.stats
    return {
        **{name: getattr(record, name) for name in _SAME},
        "kind": record.kind.value,
        "device_class": record.device_class.value,
        "p50_us": stats.p50_us,
        "min_us": stats.min_us,
        "p90_us": stats.p90_us,
        "ci95_low_us": stats.ci95_low_us,
        "ci95_high_us": stats.ci95_high_us,
        "stats": asdict(stats),
        "validity": record.validity.value,
        "flags": [[flag.validity.value, flag.reason] for flag in record.flags],
    }


def _record(row: sa.Row[Any]) -> MeasurementRecord:
    return MeasurementRecord(
        id=row.id,
        kind=MeasurementKind(row.kind),
        latency_key=row.latency_key,
        hardware_key=row.hardware_key,
        hardware=HardwareKey.from_json(row.hardware),
        device_type=row.device_type,
        device_id=row.device_id,
        job_id=row.job_id,
        lease_id=row.lease_id,
        search_id=row.search_id,
        candidate_id=row.candidate_id,
        arch_id=row.arch_id,
        model_sha256=row.model_sha256,
        label=row.label,
        profile=row.profile,
        stats=LatencyStats(**row.stats),
        npu_p50_us=row.npu_p50_us,
        load_us=row.load_us,
        init_us=row.init_us,
        first_run_us=row.first_run_us,
        validity=Validity(row.validity),
        flags=tuple(ValidityFlag(Validity(validity), reason) for validity, reason in row.flags),
        superseded=row.superseded,
        suspect=row.suspect,
        environment=row.environment,
        canary_before=row.canary_before,
        canary_after=row.canary_after,
        output_digest=row.output_digest,
        result_digest=row.result_digest,
        created_at=row.created_at,
    )
