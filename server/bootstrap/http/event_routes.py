"""Events: as a page of JSON, or as a stream that replays and goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from nas_engine.domain.json_value import JsonValue
from server.access.auth import Caller, Permitted
from server.bootstrap.http.schemas import EventListQuery, EventPage, EventResource
from server.candidates.search_store import SearchStore
from server.core.database.transaction import Transaction
from server.core.events import Event, EventQuery, Events
from server.core.http.event_stream import EVENT_STREAM_HEADERS, EventHub, Subject, stream_events
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.problem_types import NOT_ACCEPTABLE, NOT_FOUND, TOO_MANY_STREAMS
from server.core.http.provide import UowDep, provided
from server.core.http.requests import EVENT_STREAM, JSON, preferred
from server.latency_tables.store import BatchStore
from server.studies.store import StudyStore
from server.training.networks.store import NetworkStore
from server.training.store import SupernetStore

router = api_router("events")
LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", max_length=20, pattern=r"^[0-9]{1,18}$", description="Id of the last event seen."),
]
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            EVENT_STREAM: {
                "schema": {"type": "string"},
                "itemSchema": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string"},
                        "event": {"type": "string"},
                        "data": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "contentSchema": {"$ref": "#/components/schemas/EventResource"},
                        },
                    },
                },
            }
        },
        "description": "A page of events, or with Accept text/event-stream all of them as they come.",
    },
    204: {"description": "Stream only: everything was sent and nothing more will come; do not reconnect."},
    **problems(*COMMON, NOT_FOUND, NOT_ACCEPTABLE, TOO_MANY_STREAMS),
}


@dataclass(frozen=True, slots=True)
class _Streamed:
    id: int
    type: str
    data: JsonValue


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request for events asks, whatever its subject."""

    request: Request
    caller: Caller
    events: Events
    hub: EventHub
    query: EventListQuery
    last_event_id: str | None

    def answer(self, wanted: EventQuery, ended: Callable[[], bool]) -> Response:
        """A page or a stream of the wanted events; `ended` tells whether more can come."""
        after_id = self.query.after if self.last_event_id is None else int(self.last_event_id)
        over = ended()
        if preferred(self.request, JSON, EVENT_STREAM) == JSON:
            found = self.events.after(after_id, wanted, self.query.limit)
            last_id = found[-1].id if found else after_id
            page = EventPage(items=[_resource(event) for event in found], last_id=last_id, ended=over)
            return Response(page.model_dump_json(), media_type=JSON)
        if over and not self.events.after(after_id, wanted, 1):
            return Response(status_code=204)
        self.hub.check_slot(self.caller.id)

        def read(after: int, limit: int) -> list[_Streamed]:
            return [
                _Streamed(event.id, event.type.value, _resource(event).model_dump(mode="json"))
                for event in self.events.after(after, wanted, limit)
            ]

        subject = Subject(read=read, ended=ended)
        stream = stream_events(self.hub, subject, after_id, self.caller.id, self.caller.credential)
        return StreamingResponse(stream, media_type=EVENT_STREAM, headers=EVENT_STREAM_HEADERS)


def _resource(event: Event) -> EventResource:
    return EventResource.of(event, data=event.payload, supernet_id=event.supernet_id or event.network_id)


async def _asked(
    request: Request,
    caller: Permitted,
    events: Annotated[Events, provided(Events)],
    hub: Annotated[EventHub, provided(EventHub)],
    query: Annotated[EventListQuery, Query()],
    last_event_id: LastEventId = None,
) -> _Asked:
    return _Asked(request, caller, events, hub, query, last_event_id)


Asked = Annotated[_Asked, Depends(_asked)]


@router.get("/events", response_model=EventPage, responses=_RESPONSES)
def list_events(asked: Asked) -> Response:
    """Everything that happens on this server."""
    return asked.answer(EventQuery(), lambda: False)


@router.get("/searches/{search_id:id}/events", response_model=EventPage, responses=_RESPONSES)
def list_search_events(
    search_id: Annotated[str, Path(examples=["srch_01jd3x5w8k2v7m4q9r6t1y0z3a"])], asked: Asked, uow: UowDep
) -> Response:
    """What happens to a search, or to a latency table or report; the stream ends with it."""

    def is_over(tx: Transaction) -> bool:
        batch = BatchStore(tx).find_batch(search_id)
        return SearchStore(tx).get_search(search_id).state.final if batch is None else batch.state.final

    return asked.answer(EventQuery(search_id=search_id), lambda: uow.read(is_over))


@router.get("/supernets/{supernet_id:id}/events", response_model=EventPage, responses=_RESPONSES)
def list_supernet_events(
    supernet_id: Annotated[str, Path(examples=["sup_01jd3x5w8k2v7m4q9r6t1y0z3a"])], asked: Asked, uow: UowDep
) -> Response:
    """How a supernet's training goes, or, as clients of the first release ask, a network's; the stream ends with it."""
    if uow.read(lambda tx: NetworkStore(tx).find_training(supernet_id)) is not None:
        return list_network_events(supernet_id, asked, uow)
    return asked.answer(
        EventQuery(supernet_id=supernet_id),
        lambda: uow.read(lambda tx: SupernetStore(tx).get_training(supernet_id)).state.final,
    )


@router.get("/networks/{network_id:id}/events", response_model=EventPage, responses=_RESPONSES)
def list_network_events(
    network_id: Annotated[str, Path(examples=["network_01jd3x5w8k2v7m4q9r6t1y0z3a"])], asked: Asked, uow: UowDep
) -> Response:
    """How a network's training goes; the stream ends with it."""
    return asked.answer(
        EventQuery(network_id=network_id),
        lambda: uow.read(lambda tx: NetworkStore(tx).get_training(network_id)).state.final,
    )


@router.get("/ranking-studies/{study_id:id}/events", response_model=EventPage, responses=_RESPONSES)
def list_ranking_study_events(
    study_id: Annotated[str, Path(examples=["study_01jd3x5w8k2v7m4q9r6t1y0z3a"])], asked: Asked, uow: UowDep
) -> Response:
    """How a ranking study goes, training by training; the stream ends with it."""
    return asked.answer(
        EventQuery(study_id=study_id), lambda: uow.read(lambda tx: StudyStore(tx).get_study(study_id)).state.final
    )
