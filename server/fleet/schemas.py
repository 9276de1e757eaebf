"""Devices and device types on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from nas_engine.settings.base import Labels
from server.core.http.resources import Body, DeviceClassName, Id, Json, LabelText, ListQuery, NameText, Resource, Text
from server.fleet.device import DeviceState
from server.jobs.schemas import JobResource


class DeviceListQuery(ListQuery):
    """Which devices."""

    device_type: Text | None = None
    """Of this type."""

    state: list[DeviceState] = Field(default_factory=list)
    """Any of these."""

    label: list[LabelText] = Field(default_factory=list, max_length=16)
    """All of these, as `name:value`."""


class DeviceResource(Resource):
    """One enrolled board."""

    id: Id
    name: str
    device_type: str
    device_class: DeviceClassName
    state: DeviceState
    reason: str
    online: bool
    """Whether it was heard of lately."""

    labels: dict[str, str]
    """Its own and those of engineers, which win."""

    capabilities: Json
    """What it says it can do: identity, arithmetic, model formats, core masks, memory."""

    agent_version: str
    num_failures_in_a_row: int
    enrolled_at: datetime
    last_seen_at: datetime
    reserved_by: str | None
    reserved_until: datetime | None
    last_canary_at: datetime | None
    last_canary_ratio: float | None
    """Its canary's median over its baseline: 1 is well."""

    version: int


class DeviceDetail(DeviceResource):
    """A board with what it does now."""

    current_jobs: list[JobResource]
    utilisation_24h: float
    """Share of the last day for which it held leases, 0 to 1."""


class DeviceTypeResource(Resource):
    """A kind of board, as devices registered it."""

    device_type: str
    device_classes: list[DeviceClassName]
    num_devices: int
    num_online: int
    """Of these, heard of lately."""

    num_available: int
    """Of these, given jobs now."""


class ReasonBody(Body):
    """Why; shown with the device."""

    reason: Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""


class ReservationBody(Body):
    """Who needs the board, and how long; it gets no jobs meanwhile."""

    reserved_by: NameText
    duration_s: float = Field(gt=0, lt=7 * 86_400)
    """At most seven days."""


class DeviceLabelsBody(Body):
    """Labels set by engineers; they win over the device's own."""

    labels: Labels
