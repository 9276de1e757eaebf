"""Devices and device types on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from nas_engine.domain.measuring.environment import DeviceClass
from nas_engine.settings.base import Labels
from server.access.schemas import Owner, OwnerName
from server.core.http.resources import Body, Id, Json, LabelText, ListQuery, NameText, Resource, Text
from server.fleet.device import ClassSource, DeviceState
from server.fleet.sharing.schemas import UseRulesResource
from server.jobs.schemas import JobResource


class DeviceListQuery(ListQuery):
    """Filters of the listing of devices; those that are absent let every device through."""

    device_type: Text | None = None
    """Type of the devices to list, as they registered it."""

    state: list[DeviceState] = Field(default_factory=list)
    """States of devices to list; repeat it for several, absent: every state."""

    label: list[LabelText] = Field(default_factory=list, max_length=16)
    """Labels that a listed device must carry, as `name:value`; repeat it for several, all must match."""

    owner: OwnerName = None
    """Name or id of a principal; only what it owns is listed."""


class DeviceResource(Resource):
    """A device: a board that enrolled, with what the server knows of it."""

    id: Id
    """Id of the device, `dev_...`, given by the server as it enrolled."""

    name: str
    """Name of the device for people, unique, given as it enrolled."""

    device_type: str
    """Type of the board, such as `rk3588`, given as it enrolled."""

    device_class: DeviceClass
    """Class that its numbers count as: board (measured), emulated or simulated. Never more than an admin gave it; its
    agent can only lower it."""

    class_source: ClassSource
    """Who vouches for the class: declared is its own word, from the first release, whose tokens named no class;
    enrolled is the token it came in with; confirmed is an admin. What a declared board measured is not reused."""

    class_reason: str
    """Reason for which it counts for less than its agent or its token says, or the admin's words; empty where there is
    none."""

    identity_since: datetime
    """Time since which it runs with its present runtime, versions, clocks and cores, RFC 3339 in UTC; earlier canaries
    do not count for it."""

    state: DeviceState
    """State the server keeps it in; only available devices are given jobs."""

    reason: str
    """Reason of its state for people, from the server or the engineer who set it; empty where there is none."""

    online: bool
    """Whether the server heard of its agent lately."""

    labels: dict[str, str]
    """Labels of the device: its own and those of engineers, which win."""

    capabilities: Json
    """Capabilities that its agent reported: identity, arithmetic, model formats, core masks, memory."""

    agent_version: str
    """Version of the agent software on the board, as it reported it."""

    num_failures_in_a_row: int
    """Number of its latest jobs that failed one after the other, counted by the server."""

    enrolled_at: datetime
    """Time at which it enrolled, RFC 3339 in UTC."""

    owner: Owner = None
    """Principal of the admin whose enrolment token let it in, or to whom an admin gave it since; null where that token
    was made without authentication."""

    rules: UseRulesResource = UseRulesResource()
    """Rules by which others than its owner use it; those of a board that is not restricted hold nobody up."""

    last_seen_at: datetime
    """Time at which the server last heard of its agent, RFC 3339 in UTC."""

    reserved_by: str | None
    """Name of whoever reserved it; null while it is not reserved."""

    reserved_until: datetime | None
    """Time at which the reservation ends; null while it is not reserved."""

    last_canary_at: datetime | None
    """Time of its last canary, the reference model that shows whether the board is well; null before the first."""

    last_canary_ratio: float | None
    """Median latency of its last canary over its baseline, computed by the server: 1 is well; null before there is
    one."""

    version: int
    """Version of this record, grown by the server with every change."""


class DeviceDetail(DeviceResource):
    """A device with the jobs it holds and how busy it was."""

    current_jobs: list[JobResource]
    """Jobs that it holds leases of now."""

    utilisation_24h: float
    """Share of the last 24 hours for which it held leases, 0 to 1, computed by the server."""


class DeviceTypeResource(Resource):
    """A type of board, with how many devices registered under it."""

    device_type: str
    """Name of the type, as devices registered it."""

    device_classes: list[DeviceClass]
    """Classes of the devices of this type: board, emulated or simulated."""

    num_devices: int
    """Number of enrolled devices of this type."""

    num_online: int
    """Number of these that the server heard of lately."""

    num_available: int
    """Number of these that are given jobs now."""


class RuntimeResource(Resource):
    """An inference engine that enrolled devices measure with; agents bring them, and report them by name."""

    name: str
    """Name of the runtime, as hardware keys and device specs write it."""

    device_types: list[str]
    """Types of the devices that have it, as they registered."""

    num_devices: int
    """Number of enrolled devices that have it."""

    title: str | None
    """Title for people, one line, from its declaration; null where only agents of earlier releases have it."""

    package: str | None
    """Package that brings it to the devices; `hilnas` for what ships with the agent."""

    version: str | None
    """Version of that package on the device that enrolled last; hardware keys say which one a latency is of."""

    settings_schema: dict[str, Json] | None
    """JSON schema of what its agents take as `--runtime-settings`, from the declaration of that version."""


class ReasonBody(Body):
    """The reason of a change, shown with the device."""

    reason: Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    """Reason of the change for people, given by the engineer; empty: none."""


class ConfirmationBody(ReasonBody):
    """The class an admin vouches for."""

    device_class: DeviceClass | None = None
    """Class that the device counts as from now on, at most; absent: the one it counts as now."""


class ReservationBody(Body):
    """A reservation: who needs the board, and how long; it gets no jobs meanwhile."""

    reserved_by: NameText
    """Name of whoever needs the board, for people."""

    duration_s: float = Field(ge=1, lt=7 * 86_400)
    """Seconds from now until the reservation ends: at least one, less than seven days."""


class DeviceLabelsBody(Body):
    """Labels set by engineers; they win over the device's own."""

    labels: Labels
    """Labels that replace those engineers set before, by name."""
