"""Latency tables on the wire."""

from __future__ import annotations

from server.api.schemas.wire import Id, Resource
from server.service.spec_parts import DtypeName
from server.service.states import CandidateState, SearchState


class LatencyTableRowResource(Resource):
    """One operator."""

    latency_key: str
    """Structure, shapes, batch and data type; equal operators stand once."""

    label: str
    """Place and operator where it first stands."""

    state: CandidateState
    latency_us: float | None
    """Median; null before it is measured."""

    flags: list[str]
    """Why the latency may not be trusted; empty where valid."""


class LatencyTableResource(Resource):
    """What each operator of a search space costs on one device, measured alone."""

    id: Id
    """Also the id of the search that measures it: follow, pause or cancel it there."""

    name: str
    state: SearchState
    reason: str
    space_id: str
    hardware_key: str | None
    batch: int
    dtype: DtypeName
    num_operators: int
    num_measured: int
    rows: list[LatencyTableRowResource]
