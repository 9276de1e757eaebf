"""Devices: enrolment, credentials, states, labels, reservations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from nas_engine.domain.json_value import JsonValue
from server.access.enrolment_token import EnrolmentToken
from server.access.store import EnrolmentTokenStore
from server.access.tokens import digest, new_secret
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.wakeups import Topic
from server.core.errors import ConflictError, InvalidValueError, NotAuthenticatedError, NotPermittedError
from server.core.event_type import EventType
from server.core.events import EventStore, NewEvent
from server.core.ids import IdPrefix, new_id
from server.core.paging import Page, PageRequest
from server.fleet.device import Device, DeviceQuery, DeviceState, Enrolment
from server.fleet.lifecycle import set_device_state
from server.fleet.store import DeviceStore
from server.jobs.job import Job
from server.jobs.queue import JobStore
from server.jobs.settings import LeaseSettings

MAX_RESERVATION = timedelta(days=7)
MIN_CREDENTIAL_LENGTH = 40  # characters; 32 random bytes in base 64 have 43


class Devices:
    """Use cases of devices."""

    def __init__(self, uow: UnitOfWork, leases: LeaseSettings | None = None) -> None:
        self._uow = uow
        self._leases = leases or LeaseSettings()

    def enrol(self, enrolment_secret: str, enrolment: Enrolment, credential: str | None = None) -> tuple[Device, str]:
        """Take a device in; returns it with its credential, which is shown this once.

        An agent makes its credential itself and keeps it on its disk before it asks: then an enrolment that it sends
        twice, because an answer was late or lost, ends the same in whatever order the two are taken, and uses its token
        once. (If every enrolment made a fresh one, a late one would replace the credential of its own repetition.)

        A name that is known enrols again (new credential, same id) when the device was retired, is offline, or speaks
        from the same boot of the same host; so an agent that lost its state comes back as itself.

        Args:
            credential: what the agent wants to show from now on; None makes one.

        Raises:
            NotAuthenticatedError: the enrolment token is unknown, revoked, expired or used up.
            ConflictError: a live device has that name, or it was of another type.
            InvalidValueError: the credential is shorter than a secret should be.
        """
        secret = new_secret("dev") if credential is None else credential
        if len(secret) < MIN_CREDENTIAL_LENGTH:
            raise InvalidValueError(
                f"the credential asked for has {len(secret)} characters: use at least {MIN_CREDENTIAL_LENGTH}"
            )

        def work(tx: Transaction) -> Device:
            token = self._known_token(tx, enrolment_secret)
            again = DeviceStore(tx).find_device_by_credential(digest(secret))
            if again is not None and again.name == enrolment.name and again.state is not DeviceState.RETIRED:
                return again
            if token.max_uses is not None and token.num_uses >= token.max_uses:
                raise NotAuthenticatedError(f"enrolment token {token.id} is used up: {token.num_uses} devices enrolled")
            EnrolmentTokenStore(tx).count_use_of_enrolment_token(token.id)
            known = DeviceStore(tx).find_device_by_name(enrolment.name)
            device = (
                self._first(tx, enrolment, token, secret)
                if known is None
                else self._again(tx, DeviceStore(tx).lock_device(known.id), enrolment, token, secret)
            )
            payload: dict[str, JsonValue] = {
                "name": device.name,
                "device_type": device.device_type,
                "state": device.state.value,
                "reason": "enrolled",
            }
            EventStore(tx).append_event(NewEvent(type=EventType.DEVICE, payload=payload, device_id=device.id))
            return device

        return self._uow.write(work), secret

    def authenticate(self, credential: str) -> Device:
        """The device with this credential.

        Raises:
            NotAuthenticatedError: unknown.
            NotPermittedError: the device was retired.
        """
        device = self._uow.read(lambda tx: DeviceStore(tx).find_device_by_credential(digest(credential)))
        if device is None:
            raise NotAuthenticatedError("the device credential is unknown: enrol again")
        if device.state is DeviceState.RETIRED:
            raise NotPermittedError(f"device {device.id} was retired: enrol again")
        return device

    def get(self, device_id: str) -> Device:
        """One device. Raises NotFoundError."""
        return self._uow.read(lambda tx: DeviceStore(tx).get_device(device_id))

    def page(self, query: DeviceQuery, page: PageRequest) -> Page[Device]:
        """List the devices that a query matches, by name."""
        return self._uow.read(lambda tx: DeviceStore(tx).page_of_devices(query, page))

    def types(self) -> Mapping[str, int]:
        """Every device type with its number of devices."""
        return self._uow.read(lambda tx: DeviceStore(tx).count_devices_by_type())

    def online(self, device: Device) -> bool:
        """Whether a device was heard of lately, by the database's clock."""
        now = self._uow.read(lambda tx: tx.now())
        return device.online(now, timedelta(seconds=self._leases.device_timeout_s))

    def current_jobs(self, device_id: str) -> tuple[Job, ...]:
        """Jobs the device holds now."""
        return self._uow.read(lambda tx: JobStore(tx).jobs_leased_to(device_id))

    def utilisation(self, device_id: str, window: timedelta) -> float:
        """Share of the last `window` for which the device held leases, 0 to 1. Raises NotFoundError."""

        def look(tx: Transaction) -> float:
            since = max(tx.now() - window, DeviceStore(tx).get_device(device_id).enrolled_at)
            span_s = (tx.now() - since).total_seconds()
            return min(JobStore(tx).busy_s(device_id, since) / span_s, 1.0) if span_s > 0 else 0.0

        return self._uow.read(look)

    def set_state(self, device_id: str, state: DeviceState, reason: str = "") -> Device:
        """Drain, resume, quarantine or retire a device.

        Raises:
            NotFoundError: there is no such device.
            InvalidStateTransitionError: its state does not allow this.
        """
        return self._uow.write(lambda tx: set_device_state(tx, DeviceStore(tx).lock_device(device_id), state, reason))

    def set_labels(self, device_id: str, labels: Mapping[str, str]) -> Device:
        """Replace the labels engineers gave it; its own stay. Raises NotFoundError."""

        def work(tx: Transaction) -> Device:
            tx.wake(Topic.DEVICE_JOBS)
            return DeviceStore(tx).save_device(
                replace(DeviceStore(tx).lock_device(device_id), admin_labels=dict(labels))
            )

        return self._uow.write(work)

    def reserve(self, device_id: str, holder: str, until: datetime) -> Device:
        """Keep jobs off a device for a person who needs it; what it has now it finishes.

        Raises:
            InvalidValueError: `until` is in the past or more than 7 days away.
            ConflictError: somebody else has it.
        """

        def work(tx: Transaction) -> Device:
            now, device = tx.now(), DeviceStore(tx).lock_device(device_id)
            if not now < until <= now + MAX_RESERVATION:
                raise InvalidValueError(f"reservation until {until.isoformat()}: it must end within the next 7 days")
            if device.reserved(now) and device.reserved_by != holder:
                raise ConflictError(f"device {device_id} is {device.reserved_by}'s until {device.reserved_until}")
            return DeviceStore(tx).save_device(replace(device, reserved_by=holder, reserved_until=until))

        return self._uow.write(work)

    def release(self, device_id: str) -> Device:
        """End a reservation. Raises NotFoundError."""

        def work(tx: Transaction) -> Device:
            tx.wake(Topic.DEVICE_JOBS)
            return DeviceStore(tx).save_device(
                replace(DeviceStore(tx).lock_device(device_id), reserved_by=None, reserved_until=None)
            )

        return self._uow.write(work)

    @staticmethod
    def _known_token(tx: Transaction, secret: str) -> EnrolmentToken:
        """The token, locked: enrolments with one token take turns."""
        token = EnrolmentTokenStore(tx).lock_enrolment_token_by_secret(digest(secret))
        now = tx.now()
        if token is None or token.revoked_at is not None or (token.expires_at is not None and token.expires_at <= now):
            raise NotAuthenticatedError("the enrolment token is unknown, revoked or expired")
        return token

    @staticmethod
    def _first(tx: Transaction, enrolment: Enrolment, token: EnrolmentToken, credential: str) -> Device:
        device = Device(
            id=new_id(IdPrefix.DEVICE),
            name=enrolment.name,
            device_type=enrolment.device_type,
            credential_sha256=digest(credential),
            capabilities=enrolment.capabilities,
            labels=dict(enrolment.labels),
            admin_labels=dict(token.labels),
            agent_version=enrolment.agent_version,
            boot_id=enrolment.boot_id,
            instance_epoch=enrolment.instance_epoch,
            enrolled_at=tx.now(),
            last_seen_at=tx.now(),
            owner=token.owner,
        )
        DeviceStore(tx).add_device(device)
        return device

    def _again(
        self, tx: Transaction, known: Device, enrolment: Enrolment, token: EnrolmentToken, credential: str
    ) -> Device:
        retired = known.state is DeviceState.RETIRED
        same_host = bool(enrolment.boot_id) and enrolment.boot_id == known.boot_id
        live = known.online(tx.now(), timedelta(seconds=self._leases.device_timeout_s))
        if known.device_type != enrolment.device_type and not retired:
            raise ConflictError(
                f"device {known.name!r} is enrolled as {known.device_type!r}, not {enrolment.device_type!r}: "
                "choose another name, or retire it first"
            )
        if live and not same_host and not retired:
            raise ConflictError(f"a live device is named {known.name!r} already: choose another name")
        return DeviceStore(tx).save_device(
            replace(
                known,
                device_type=enrolment.device_type,
                credential_sha256=digest(credential),
                capabilities=enrolment.capabilities,
                labels=dict(enrolment.labels),
                admin_labels={**known.admin_labels, **token.labels},
                state=DeviceState.ACTIVE if retired else known.state,
                reason="" if retired else known.reason,
                agent_version=enrolment.agent_version,
                boot_id=enrolment.boot_id,
                instance_epoch=enrolment.instance_epoch,
                last_seen_at=tx.now(),
            )
        )
