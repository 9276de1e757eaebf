"""`DeviceStore`: devices, enrolment tokens and canaries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from server.db.keyset import fetch_page
from server.db.stores.base import Store, with_labels
from server.db.stores.device_rows import canary_from_row, device_from_row, device_row, token_from_row
from server.db.tables.working import canaries, devices, enrolment_tokens
from server.db.types import now
from server.service.errors import ConflictError
from server.service.paging import Page, PageRequest
from server.service.states import DeviceState, JobKind
from server.service.values.device import CanaryRecord, Device, DeviceQuery, EnrolmentToken
from server.service.values.job import JobTarget


class SqlDeviceStore(Store):
    """Devices as rows; capabilities are JSON."""

    def add(self, device: Device) -> None:
        """Store a new device."""
        try:
            with self._connection.begin_nested():
                self._connection.execute(sa.insert(devices).values(device_row(device)))
        except IntegrityError as error:
            raise ConflictError(f"a device named {device.name!r} exists already: choose another name") from error
        self._put_labels(device.id, device.all_labels)

    def get(self, device_id: str) -> Device:
        """Read one."""
        return device_from_row(self._one(sa.select(devices).where(devices.c.id == device_id), "device", device_id))

    def lock(self, device_id: str) -> Device:
        """Read one and hold it until the transaction ends."""
        statement = sa.select(devices).where(devices.c.id == device_id).with_for_update()
        return device_from_row(self._one(statement, "device", device_id))

    def by_name(self, name: str) -> Device | None:
        """The device of that name."""
        return self._find(devices.c.name == name)

    def by_credential(self, credential_sha256: str) -> Device | None:
        """The device with this credential."""
        return self._find(devices.c.credential_sha256 == credential_sha256)

    def save(self, device: Device) -> Device:
        """Write a locked device with its version one higher."""
        written = replace(device, version=device.version + 1)
        self._connection.execute(sa.update(devices).where(devices.c.id == device.id).values(device_row(written)))
        self._put_labels(device.id, device.all_labels)
        return written

    def touch(self, device_id: str) -> None:
        """Set last_seen_at to now, without a new version."""
        self._connection.execute(sa.update(devices).where(devices.c.id == device_id).values(last_seen_at=now()))

    def page(self, query: DeviceQuery, page: PageRequest) -> Page[Device]:
        """List, by name."""
        statement = sa.select(devices)
        if query.device_type is not None:
            statement = statement.where(devices.c.device_type == query.device_type)
        if query.states:
            statement = statement.where(devices.c.state.in_([state.value for state in query.states]))
        return fetch_page(
            self._connection,
            with_labels(statement, devices.c.id, query.labels),
            page,
            value_column=devices.c.name,
            id_column=devices.c.id,
            from_row=device_from_row,
        )

    def of_type(self, device_type: str) -> tuple[Device, ...]:
        """Every device of a type that is not retired, by name."""
        return self._all(devices.c.device_type == device_type, devices.c.state != DeviceState.RETIRED.value)

    def types(self) -> Mapping[str, int]:
        """Every device type with its number of devices that are not retired."""
        statement = (
            sa.select(devices.c.device_type, sa.func.count())
            .where(devices.c.state != DeviceState.RETIRED.value)
            .group_by(devices.c.device_type)
            .order_by(devices.c.device_type)
        )
        return {str(device_type): int(number) for device_type, number in self._connection.execute(statement)}

    def num_able(
        self, target: JobTarget, excluding: str, kind: JobKind = JobKind.MEASURE, *, reserved: bool = True
    ) -> int:
        """Devices, other than `excluding`, that could do a job of this kind with this target and take jobs."""
        conditions: list[sa.ColumnElement[bool]] = [devices.c.id != excluding]
        if not reserved:
            conditions.append(sa.or_(devices.c.reserved_until.is_(None), devices.c.reserved_until <= now()))
        if target.device_type is not None:
            conditions.append(devices.c.device_type == target.device_type)
        if target.device_id is not None:
            conditions.append(devices.c.id == target.device_id)
        return sum(_able(device, target, kind) for device in self._all(*conditions))

    def add_enrolment_token(self, token: EnrolmentToken) -> None:
        """Store a new one."""
        self._connection.execute(sa.insert(enrolment_tokens).values({**asdict(token), "labels": dict(token.labels)}))

    def enrolment_token(self, secret_sha256: str) -> EnrolmentToken | None:
        """Find one by the digest of its secret, locked."""
        statement = sa.select(enrolment_tokens).where(enrolment_tokens.c.secret_sha256 == secret_sha256)
        row = self._connection.execute(statement.with_for_update()).one_or_none()
        return None if row is None else token_from_row(row)

    def use_enrolment_token(self, token_id: str) -> None:
        """Count one use."""
        self._update_token(token_id, {"num_uses": enrolment_tokens.c.num_uses + 1})

    def revoke_enrolment_token(self, token_id: str) -> None:
        """Let no device enrol with it any more."""
        self._one(sa.select(enrolment_tokens).where(enrolment_tokens.c.id == token_id), "enrolment token", token_id)
        self._update_token(token_id, {"revoked_at": now()})

    def enrolment_tokens(self) -> tuple[EnrolmentToken, ...]:
        """All of them, oldest first."""
        rows = self._connection.execute(sa.select(enrolment_tokens).order_by(enrolment_tokens.c.id))
        return tuple(token_from_row(row) for row in rows)

    def add_canary(self, canary: CanaryRecord) -> None:
        """Store one canary run."""
        self._connection.execute(sa.insert(canaries).values(asdict(canary)))

    def canaries(self, device_id: str, page: PageRequest) -> Page[CanaryRecord]:
        """Canary runs of a device, newest first."""
        return fetch_page(
            self._connection,
            sa.select(canaries).where(canaries.c.device_id == device_id),
            page,
            id_column=canaries.c.id,
            from_row=canary_from_row,
            descending=True,
        )

    def last_good_canary(self, device_id: str) -> CanaryRecord | None:
        """The newest that passed."""
        return self._newest_canary(canaries.c.device_id == device_id, canaries.c.passed.is_(True))

    def last_canary_under(
        self, device_id: str, pool_key: str, artifact_sha256: str, *, passed: bool
    ) -> CanaryRecord | None:
        """The newest of this model under this pool key; with `passed`, of those that did."""
        conditions = [
            canaries.c.device_id == device_id,
            canaries.c.pool_key == pool_key,
            canaries.c.artifact_sha256 == artifact_sha256,
        ]
        if passed:
            conditions.append(canaries.c.passed.is_(True))
        return self._newest_canary(*conditions)

    def _newest_canary(self, *conditions: sa.ColumnElement[bool]) -> CanaryRecord | None:
        statement = sa.select(canaries).where(*conditions).order_by(canaries.c.id.desc()).limit(1)
        row = self._connection.execute(statement).one_or_none()
        return None if row is None else canary_from_row(row)

    def _find(self, condition: sa.ColumnElement[bool]) -> Device | None:
        row = self._connection.execute(sa.select(devices).where(condition)).one_or_none()
        return None if row is None else device_from_row(row)

    def _all(self, *conditions: sa.ColumnElement[bool]) -> tuple[Device, ...]:
        rows = self._connection.execute(sa.select(devices).where(*conditions).order_by(devices.c.name))
        return tuple(device_from_row(row) for row in rows)

    def _update_token(self, token_id: str, values: dict[str, Any]) -> None:
        self._connection.execute(sa.update(enrolment_tokens).where(enrolment_tokens.c.id == token_id).values(values))


def _able(device: Device, target: JobTarget, kind: JobKind) -> bool:
    offers = target.pool_key is None or target.pool_key in device.capabilities.pool_keys()
    knows = kind in device.capabilities.job_kinds
    return device.state.takes_jobs and knows and offers and target.labels.items() <= device.all_labels.items()
