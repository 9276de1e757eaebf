"""`MeasurementStore`: measurements with their raw samples, and hardware keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from nas_engine.domain.measurement import HardwareKey, LatencyStats, Validity, ValidityFlag, ValidityPolicy
from server.db.keyset import fetch_page
from server.db.stores.base import Store, count_of
from server.db.tables.searching import architectures
from server.db.tables.working import hardware, measurements
from server.service.paging import Page, PageRequest
from server.service.states import MeasurementKind
from server.service.values.device import HardwareProfile
from server.service.values.measurement import MeasurementQuery, MeasurementRecord

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


class SqlMeasurementStore(Store):
    """Measurements as rows; statistics that are sorted or filtered by have columns of their own."""

    def add(self, record: MeasurementRecord, samples: bytes | None) -> None:
        """Store one with its raw samples."""
        self.put_hardware(HardwareProfile(key=record.hardware))
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

    def put_hardware(self, profile: HardwareProfile) -> None:
        """Remember what a hardware key stands for."""
        self._insert_ignore(hardware, [{"hardware_key": profile.hardware_key, "document": profile.key.to_json()}])

    def hardware(self, hardware_key: str) -> HardwareProfile:
        """What a hardware key stands for."""
        row = self._one(
            sa.select(hardware).where(hardware.c.hardware_key == hardware_key), "hardware key", hardware_key
        )
        return HardwareProfile(key=HardwareKey.from_json(row.document))

    def hardware_keys(self) -> tuple[HardwareProfile, ...]:
        """Every hardware key seen, by digest."""
        rows = self._connection.execute(sa.select(hardware).order_by(hardware.c.hardware_key))
        return tuple(HardwareProfile(key=HardwareKey.from_json(row.document)) for row in rows)


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
