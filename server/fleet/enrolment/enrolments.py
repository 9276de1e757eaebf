"""How a device comes in: by a token that an admin made for its class and type, and once it is in, by its credential."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measurement import DeviceClass
from server.access.changes.change import Actor, ActorKind, ChangeAction, SubjectKind
from server.access.changes.changes import Subject, note_change
from server.access.enrolment_token import EnrolmentToken
from server.access.store import EnrolmentTokenStore, TokenStore
from server.access.tokens import digest
from server.core.database.transaction import Transaction
from server.core.errors import ConflictError, InvalidValueError, NotAuthenticatedError, NotPermittedError
from server.core.event_type import EventType
from server.core.events import EventStore, NewEvent
from server.core.ids import IdPrefix, new_id
from server.fleet.device import KNOWN_DEVICE_FEATURE, ClassSource, Device, DeviceState, Enrolment
from server.fleet.enrolment.trust import TRUST, admitted_class, believed, lowered_reason
from server.fleet.store import DeviceStore

CREDENTIAL_KIND = "dev"
MIN_CREDENTIAL_LENGTH = 40  # characters; 32 random bytes in base 64 have 43
_CREDENTIAL = re.compile(rf"nas_{CREDENTIAL_KIND}_[A-Za-z0-9_-]{{40,200}}")


def check_wanted_credential(credential: str) -> None:
    """Refuse what no device should show from now on: something short, or a secret of another kind.

    Raises:
        InvalidValueError: says what a credential looks like.
    """
    if _CREDENTIAL.fullmatch(credential) is None:
        raise InvalidValueError(
            f"the credential asked for has {len(credential)} characters and is none of a device: use `nas_dev_` and at "
            f"least {MIN_CREDENTIAL_LENGTH} random letters, digits, '-' or '_', or leave it to the server"
        )


def is_other_secret(tx: Transaction, secret: str) -> bool:
    """Whether a secret is that of an API token or an enrolment token: a device cannot speak with one."""
    return TokenStore(tx).is_secret_of_token(digest(secret))


def enrol_device(
    tx: Transaction, enrolment_secret: str, enrolment: Enrolment, credential: str, timeout: timedelta
) -> Device:
    """Take a device in, or give back the one that has this credential and this name already.

    Args:
        timeout: a device that was not heard of for so long is not live.

    Raises:
        NotAuthenticatedError: the enrolment token is unknown, revoked, expired or used up.
        NotPermittedError: it is for another class or type of devices.
        ConflictError: the name or the credential is that of another device.
        InvalidValueError: the credential is that of a token.
    """
    token = _known_token(tx, enrolment_secret)
    if is_other_secret(tx, credential):
        raise InvalidValueError("the credential asked for is a token: an agent makes one of its own, `nas_dev_...`")
    holder = DeviceStore(tx).find_device_by_credential(digest(credential))
    if holder is not None and holder.name != enrolment.name:
        raise ConflictError(
            f"this credential is that of device {holder.name!r}: give {enrolment.name!r} a state directory of its own"
        )
    known = holder or DeviceStore(tx).find_device_by_name(enrolment.name)
    if known is not None and known.state is DeviceState.RETIRED:
        raise ConflictError(
            f"device {known.name!r} was retired: an admin can take it back (hilnas devices unretire {known.id}), or "
            "enrol under another name"
        )
    if holder is not None:
        return holder
    admitted = admitted_class(token, enrolment.device_type, enrolment.capabilities.identity)
    if known is None:
        _check_untyped(tx, token, enrolment.device_type)
    else:
        known = DeviceStore(tx).lock_device(known.id)
        _check_return(tx, known, token, enrolment, timeout)
    if token.max_uses is not None and token.num_uses >= token.max_uses:
        raise NotAuthenticatedError(
            f"enrolment token {token.id} is used up: {token.num_uses} devices enrolled with it; ask an admin for "
            "another one (hilnas tokens enrolment)"
        )
    EnrolmentTokenStore(tx).count_use_of_enrolment_token(token.id)
    device = _device(tx, known, enrolment, token, admitted, credential)
    if known is None:
        DeviceStore(tx).add_device(device)
    else:
        device = DeviceStore(tx).save_device(device)
    payload: dict[str, JsonValue] = {
        "name": device.name,
        "device_type": device.device_type,
        "device_class": device.device_class.value,
        "state": device.state.value,
        "reason": "enrolled",
    }
    EventStore(tx).append_event(NewEvent(type=EventType.DEVICE, payload=payload, device_id=device.id))
    actor = Actor(kind=ActorKind.ENROLMENT_TOKEN, id=token.id, name=token.name)
    subject = Subject(device.name, None if device.owner is None else device.owner.id)
    note_change(tx, actor, ChangeAction.ENROL, SubjectKind.DEVICE, device.id, subject=subject)
    return device


def _known_token(tx: Transaction, secret: str) -> EnrolmentToken:
    """The token, locked: enrolments with one token take turns."""
    token = EnrolmentTokenStore(tx).lock_enrolment_token_by_secret(digest(secret))
    now = tx.now()
    if token is None or token.revoked_at is not None or (token.expires_at is not None and token.expires_at <= now):
        raise NotAuthenticatedError(
            "the enrolment token is unknown, revoked or expired: ask an admin for another one (hilnas tokens enrolment)"
        )
    return token


def _check_untyped(tx: Transaction, token: EnrolmentToken, device_type: str) -> None:
    """Keep devices that came with a token for any type out of the types of more trusted ones."""
    if token.device_type is not None:
        return
    classes = [device.class_limit for device in DeviceStore(tx).devices_of_type(device_type)]
    highest = max(classes, key=TRUST.index, default=DeviceClass.SIMULATED)
    if TRUST.index(highest) > TRUST.index(token.device_class):
        raise NotPermittedError(
            f"type {device_type!r} has {highest.value} devices, and enrolment token {token.id} lets "
            f"{token.device_class.value} devices of any other type in: choose another type, or ask an admin for a "
            f"token for type {device_type!r}"
        )


def _check_return(
    tx: Transaction,
    known: Device,
    token: EnrolmentToken,
    enrolment: Enrolment,
    timeout: timedelta,
) -> None:
    """Refuse to let somebody without its credential speak for a device that is there, or that is more than he is."""
    if known.device_type != enrolment.device_type:
        raise ConflictError(
            f"device {known.name!r} is enrolled as {known.device_type!r}, not {enrolment.device_type!r}: "
            "choose another name"
        )
    if TRUST.index(token.device_class) < TRUST.index(known.class_limit):
        raise ConflictError(
            f"device {known.name!r} is enrolled as {known.class_limit.value}, and enrolment token {token.id} lets "
            f"{token.device_class.value} devices in: choose another name, or ask an admin for a token for "
            f"{known.class_limit.value} devices of type {known.device_type!r}"
        )
    if known.online(tx.now(), timeout):
        raise ConflictError(
            f"a live device is named {known.name!r} already, and only its own credential speaks for it: choose another "
            "name; if this is that device without its state directory, stop its old agent and try again (one that was "
            f"killed counts as live for {timeout.total_seconds():.0f} s)"
        )
    # Agents of earlier releases cannot say which device they are: their name is all there is to go by.
    says_which = KNOWN_DEVICE_FEATURE in enrolment.capabilities.features
    if says_which and enrolment.device_id != known.id:
        raise ConflictError(
            f"a device named {known.name!r} is enrolled already, last seen {known.last_seen_at:%Y-%m-%d %H:%M:%S} UTC, "
            "and this agent's state directory is not that device's: choose another --name, or start the agent with its "
            f"--state-dir; if it is that very device and its state directory is lost, add --device-id {known.id}"
        )


def _device(
    tx: Transaction,
    known: Device | None,
    enrolment: Enrolment,
    token: EnrolmentToken,
    admitted: DeviceClass,
    credential: str,
) -> Device:
    """The record of a device that a token lets in."""
    now, sent = tx.now(), enrolment.capabilities.identity
    as_meant = sent.device_class is admitted and token.device_class is not DeviceClass.BOARD
    new = Device(
        id=new_id(IdPrefix.DEVICE),
        name=enrolment.name,
        device_type=enrolment.device_type,
        credential_sha256=digest(credential),
        capabilities=replace(enrolment.capabilities, identity=believed(sent, admitted)),
        class_limit=admitted,
        class_source=ClassSource.ENROLLED,
        class_reason="" if as_meant else lowered_reason(sent, token.device_class, f"enrolment token {token.id}"),
        enrolment_token_id=token.id,
        identity_since=now,
        labels=dict(enrolment.labels),
        admin_labels=dict(token.labels),
        agent_version=enrolment.agent_version,
        boot_id=enrolment.boot_id,
        instance_epoch=enrolment.instance_epoch,
        enrolled_at=now,
        last_seen_at=now,
        owner=token.owner,
    )
    if known is None:
        return new
    return replace(
        known,
        credential_sha256=new.credential_sha256,
        capabilities=new.capabilities,
        class_limit=new.class_limit,
        class_source=new.class_source,
        class_reason=new.class_reason,
        enrolment_token_id=new.enrolment_token_id,
        identity_since=new.identity_since,
        labels=new.labels,
        admin_labels={**known.admin_labels, **token.labels},
        agent_version=new.agent_version,
        boot_id=new.boot_id,
        instance_epoch=new.instance_epoch,
        last_seen_at=now,
        left_at=None,
    )
