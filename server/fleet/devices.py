"""Devices: enrolment, credentials, states, labels, reservations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from nas_engine.domain.measurement import DeviceClass
from server.access.tokens import digest, new_secret
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.wakeups import Topic
from server.core.errors import ConflictError, InvalidValueError, NotAuthenticatedError, NotPermittedError
from server.core.paging import Page, PageRequest
from server.fleet.device import ClassSource, Device, DeviceQuery, DeviceState, Enrolment
from server.fleet.enrolment.enrolments import (
    CREDENTIAL_KIND,
    MIN_CREDENTIAL_LENGTH,
    check_wanted_credential,
    enrol_device,
    is_other_secret,
)
from server.fleet.enrolment.trust import believed, is_simulator
from server.fleet.lifecycle import note_device, set_device_state
from server.fleet.store import DeviceStore
from server.jobs.job import Job
from server.jobs.queue import JobStore
from server.jobs.settings import LeaseSettings

MAX_RESERVATION = timedelta(days=7)
MAX_PAST_JOBS = 200


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

        A name that is known enrols again (new credential, same id) once that device is offline, with a token for its
        class, by an agent that says that it is this device: its state directory tells it, or the operator who lost
        that. Agents of earlier releases cannot say so, and come back by their name. Nobody takes over a live one, and
        a retired one stays so until an admin takes it back.

        Args:
            credential: what the agent wants to show from now on; None makes one.

        Raises:
            NotAuthenticatedError: the enrolment token is unknown, revoked, expired or used up.
            NotPermittedError: it is for devices of another class or type.
            ConflictError: a live or retired device has that name, or one of another type or a more trusted class, or
                one that the agent does not say it is.
            InvalidValueError: the credential is none of a device.
        """
        if credential is not None:
            check_wanted_credential(credential)
        secret = new_secret(CREDENTIAL_KIND) if credential is None else credential
        timeout = timedelta(seconds=self._leases.device_timeout_s)
        return self._uow.write(lambda tx: enrol_device(tx, enrolment_secret, enrolment, secret, timeout)), secret

    def authenticate(self, credential: str) -> Device:
        """The device with this credential.

        Raises:
            NotAuthenticatedError: unknown, too short to be one, or the secret of a token.
            NotPermittedError: the device was retired.
        """
        if len(credential) < MIN_CREDENTIAL_LENGTH:
            raise NotAuthenticatedError(
                f"a device credential has at least {MIN_CREDENTIAL_LENGTH} characters, this one {len(credential)}: "
                "enrol again"
            )

        def look(tx: Transaction) -> tuple[Device | None, bool]:
            return DeviceStore(tx).find_device_by_credential(digest(credential)), is_other_secret(tx, credential)

        device, other = self._uow.read(look)
        if other:
            raise NotAuthenticatedError("this is the secret of a token, no device speaks with it: enrol again")
        if device is None:
            raise NotAuthenticatedError("the device credential is unknown: enrol again")
        if device.state is DeviceState.RETIRED:
            raise NotPermittedError(f"device {device.id} was retired: ask an admin to take it back")
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

    def past_jobs(self, device_id: str) -> tuple[Job, ...]:
        """The latest jobs that the device held, newest lease first."""
        return self._uow.read(lambda tx: JobStore(tx).jobs_held_by(device_id, MAX_PAST_JOBS))

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

    def confirm(self, device_id: str, device_class: DeviceClass | None, reason: str = "") -> Device:
        """Vouch for the class of a device, or give it another; what its agent says can lower that later.

        Args:
            device_class: None for the one it counts as now.

        Raises:
            NotFoundError: there is no such device.
            ConflictError: its runtime simulates, so it cannot be what was asked for.
        """

        def work(tx: Transaction) -> Device:
            device = DeviceStore(tx).lock_device(device_id)
            identity, limit = device.capabilities.identity, device_class or device.device_class
            if is_simulator(identity.runtime) and limit is not DeviceClass.SIMULATED:
                raise ConflictError(
                    f"device {device.name!r} runs {identity.runtime!r}, which computes its times: it can be simulated "
                    f"only, not {limit.value}"
                )
            capabilities = replace(device.capabilities, identity=believed(identity, limit))
            confirmed = replace(
                device,
                capabilities=capabilities,
                class_limit=limit,
                class_source=ClassSource.CONFIRMED,
                class_reason=reason,
                identity_since=device.identity_since if capabilities == device.capabilities else tx.now(),
            )
            note_device(tx, confirmed, f"confirmed as {limit.value}" + (f": {reason}" if reason else ""))
            tx.wake(Topic.DEVICE_JOBS)
            return DeviceStore(tx).save_device(confirmed)

        return self._uow.write(work)

    def unretire(self, device_id: str, reason: str = "") -> Device:
        """Take a retired device back; its own credential speaks for it again.

        Raises:
            NotFoundError: there is no such device.
            ConflictError: it is not retired.
        """

        def work(tx: Transaction) -> Device:
            device = DeviceStore(tx).lock_device(device_id)
            if device.state is not DeviceState.RETIRED:
                raise ConflictError(f"device {device.id} is {device.state.value}, not retired: nothing to take back")
            return set_device_state(tx, device, DeviceState.ACTIVE, reason, returning=True)

        return self._uow.write(work)

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
