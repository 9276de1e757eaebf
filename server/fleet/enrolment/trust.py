"""What a device's numbers count as: never more than an admin gave it, nor than its agent says, nor than its runtime can
be."""

from __future__ import annotations

from dataclasses import replace

from nas_engine.domain.measurement import DeviceClass, DeviceIdentity
from server.access.enrolment_token import EnrolmentToken
from server.core.errors import NotPermittedError

TRUST = (DeviceClass.SIMULATED, DeviceClass.EMULATED, DeviceClass.BOARD)
"""Classes from the least to the most trusted."""

SIMULATORS = frozenset({"fake", "rk3588-sim"})
"""Runtimes that compute their times instead of measuring them; so does every runtime whose name ends in `-sim`."""


def least_trusted(*classes: DeviceClass) -> DeviceClass:
    """The class that all of these allow."""
    return min(classes, key=TRUST.index)


def is_simulator(runtime: str) -> bool:
    """Whether a runtime measures nothing, so that its device can be nothing but simulated."""
    name = runtime.casefold()
    return name in SIMULATORS or name.endswith("-sim")


def believed(identity: DeviceIdentity, limit: DeviceClass) -> DeviceIdentity:
    """An identity as its agent sent it, in the class that is believed of it."""
    possible = DeviceClass.SIMULATED if is_simulator(identity.runtime) else limit
    return replace(identity, device_class=least_trusted(identity.device_class, limit, possible))


def lowered_reason(sent: DeviceIdentity, limit: DeviceClass, given_by: str) -> str:
    """Why an identity counts for less than its agent, or the admin, says; empty where it does not.

    Args:
        sent: the identity as the agent sent it.
        limit: the class that it may count as at most.
        given_by: what set the limit, such as `enrolment token enr_...`.
    """
    counted = believed(sent, limit).device_class
    if counted is not limit and is_simulator(sent.runtime):
        return f"counts as {counted.value}, not as {limit.value}: its runtime {sent.runtime!r} computes its times"
    if counted is not limit:
        return (
            f"counts as {counted.value}, not as {limit.value}: its agent says so; an admin can confirm it as something "
            "else"
        )
    if sent.device_class is not counted:
        return (
            f"counts as {counted.value}, not as {sent.device_class.value}: {given_by} lets {limit.value} devices in; "
            "an admin can confirm it as something else"
        )
    return ""


def admitted_class(token: EnrolmentToken, device_type: str, identity: DeviceIdentity) -> DeviceClass:
    """The class in which a token lets a device in.

    Raises:
        NotPermittedError: the token is for another type, or for boards where this agent simulates one.
    """
    if token.device_type not in (None, device_type):
        raise NotPermittedError(
            f"enrolment token {token.id} lets in devices of type {token.device_type!r}, not {device_type!r}: start the "
            "agent with that type, or ask an admin for a token for this one"
        )
    counted = believed(identity, token.device_class).device_class
    if token.device_class is DeviceClass.BOARD and counted is DeviceClass.SIMULATED:
        raise NotPermittedError(
            f"enrolment token {token.id} is for boards, and runtime {identity.runtime!r} only simulates one: start the "
            "agent with the board's runtime, or ask an admin for a token for simulated devices"
        )
    return counted
