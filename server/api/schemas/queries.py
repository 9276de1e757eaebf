"""Query parameters of the listings. Unknown parameters are refused: a misspelled filter must not list everything."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from server.api.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from server.api.schemas.wire import DeviceClassName, KindName, ValidityName
from server.service.states import CandidateState, DeviceState, JobKind, JobState, SearchState, StudyState, SupernetState

Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
LabelText = Annotated[
    str, Field(max_length=300, pattern=r"^[^:\x00-\x1f\x7f]+:[^\x00-\x1f\x7f]*$", examples=["team:vision"])
]
BoundText = Annotated[
    str,
    Field(
        max_length=100,
        pattern=r"^(top1|latency_us|macs|params|peak_activation_bytes):(ge|le):-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$",
        examples=["latency_us:le:8000"],
    ),
]
CandidateOrderText = Literal[
    "seq",
    "-seq",
    "top1",
    "-top1",
    "latency_us",
    "-latency_us",
    "macs",
    "-macs",
    "params",
    "-params",
    "peak_activation_bytes",
    "-peak_activation_bytes",
]


class ListQuery(BaseModel):
    """Paging, the same for every listing."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    page_size: int = Field(default=DEFAULT_PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE)
    """Items on a page."""

    page_token: Annotated[str, Field(max_length=2000)] | None = None
    """`next_page_token` of the page before, with the same filters."""


class CountedQuery(ListQuery):
    """Paging for listings that can be counted."""

    include_total: bool = False
    """Also count the whole listing; costs time on long ones."""


class SearchListQuery(CountedQuery):
    """Which searches."""

    state: list[SearchState] = Field(default_factory=list)
    """Any of these."""

    label: list[LabelText] = Field(default_factory=list, max_length=16)
    """All of these, as `name:value`."""

    space: Text | None = None
    """In this search space."""

    supernet_id: Text | None = None
    """With this supernet."""

    hardware_key: Text | None = None
    """Measuring under this hardware key."""

    order_by: Literal["created_at", "-created_at"] = "-created_at"
    """`-` is newest first."""


class CandidateListQuery(CountedQuery):
    """Which candidates."""

    state: list[CandidateState] = Field(default_factory=list)
    """Any of these."""

    arch_id: Text | None = None
    """Only this architecture."""

    generation: Annotated[int, Field(ge=0, le=2**31)] | None = None
    """Only this generation."""

    metric: list[BoundText] = Field(default_factory=list, max_length=10)
    """Known and within bounds, as `metric:le:number` or `metric:ge:number`; all must hold."""

    order_by: CandidateOrderText = "seq"
    """`-` is descending; candidates without the value come last."""


class ClassificationListQuery(ListQuery):
    """Which classifications."""

    device_type: Text | None = None
    """On devices of this type."""

    device_id: Text | None = None
    """On this device."""

    hardware_key: Text | None = None
    """Under this hardware key."""

    images_sha256: Text | None = None
    """Of this image set."""

    source_sha256: Text | None = None
    """Of files made of this ONNX model."""

    search_id: Text | None = None
    """Made for this search."""

    candidate_id: Text | None = None
    """Made for this candidate."""

    include_superseded: bool = False
    """Also results that came in after their job was given to another device."""


class MeasurementListQuery(CountedQuery):
    """Which measurements."""

    device_type: Text | None = None
    """On devices of this type."""

    device_id: Text | None = None
    """On this device."""

    device_class: DeviceClassName | None = None
    """From boards, emulated or simulated devices."""

    hardware_key: Text | None = None
    """Under this hardware key: only such latencies are comparable."""

    latency_key: Text | None = None
    """Of networks with this structure, input, batch and arithmetic."""

    arch_id: Text | None = None
    """Of this architecture."""

    space: Text | None = None
    """Of architectures of this search space."""

    search_id: Text | None = None
    """Made for this search."""

    candidate_id: Text | None = None
    """Made for this candidate."""

    kind: list[KindName] = Field(default=["measured"])
    """Any of these; only measured ones unless asked otherwise."""

    validity: list[ValidityName] = Field(default_factory=list)
    """Any of these; all unless asked otherwise."""

    include_superseded: bool = False
    """Also results that came in after their job was given to another device."""

    include_suspect: bool = False
    """Also results taken between a device's last good canary and a bad one."""

    since: AwareDatetime | None = None
    """Stored at this time or later, RFC 3339."""

    until: AwareDatetime | None = None
    """Stored before this time, RFC 3339."""


class DeviceListQuery(ListQuery):
    """Which devices."""

    device_type: Text | None = None
    """Of this type."""

    state: list[DeviceState] = Field(default_factory=list)
    """Any of these."""

    label: list[LabelText] = Field(default_factory=list, max_length=16)
    """All of these, as `name:value`."""


class SupernetListQuery(CountedQuery):
    """Which supernets."""

    state: list[SupernetState] = Field(default_factory=list)
    """Any of these."""

    space: Text | None = None
    """Of this search space."""

    dataset: Text | None = None
    """Trained on this data set."""


class StudyListQuery(CountedQuery):
    """Which ranking studies."""

    state: list[StudyState] = Field(default_factory=list)
    """Any of these."""

    supernet_id: Text | None = None
    """Of this supernet."""


class JobListQuery(ListQuery):
    """Which jobs."""

    kind: list[JobKind] = Field(default_factory=list)
    """Any of these."""

    state: list[JobState] = Field(default_factory=list)
    """Any of these."""

    search_id: Text | None = None
    """Of this search."""

    device_id: Text | None = None
    """Held by this device."""


class EventListQuery(BaseModel):
    """Which events; oldest first. The event id is the position: there is no page token."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    after: Annotated[int, Field(ge=0, le=2**62)] = 0
    """Only events with a larger id; the Last-Event-ID header wins."""

    limit: int = Field(default=100, ge=1, le=500)
    """Events on a page; a stream has no pages."""
