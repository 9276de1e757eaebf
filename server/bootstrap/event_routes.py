"""Events: as a page of JSON, or as a stream that replays and goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from nas_engine.domain.json_value import JsonValue
from server.access.auth import Caller, Viewer
from server.bootstrap.http_context import ApiContext, Context
from server.bootstrap.presenter import event_resource
from server.bootstrap.schemas import EventListQuery, EventPage
from server.candidates.search_store import SearchStore
from server.core.events import Event, EventQuery
from server.core.http.event_stream import EVENT_STREAM_HEADERS, Subject, stream_events
from server.core.http.negotiation import EVENT_STREAM, JSON, preferred
from server.core.http.openapi import COMMON, problems
from server.core.http.problem_types import NOT_ACCEPTABLE, NOT_FOUND, TOO_MANY_STREAMS
from server.studies.store import StudyStore
from server.training.store import SupernetStore

router = APIRouter(prefix="/api/v1", tags=["events"])
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


@router.get("/events", response_model=EventPage, responses=_RESPONSES)
def list_events(
    request: Request,
    context: Context,
    caller: Viewer,
    query: Annotated[EventListQuery, Query()],
    last_event_id: LastEventId = None,
) -> Response:
    """Everything that happens on this server."""
    return _answer(request, context, caller, query, last_event_id, EventQuery(), lambda: False)


@router.get("/searches/{search_id:id}/events", response_model=EventPage, responses=_RESPONSES)
def list_search_events(
    search_id: Annotated[str, Path(examples=["srch_01jd3x5w8k2v7m4q9r6t1y0z3a"])],
    request: Request,
    context: Context,
    caller: Viewer,
    query: Annotated[EventListQuery, Query()],
    last_event_id: LastEventId = None,
) -> Response:
    """What happens to a search; the stream ends with it."""

    def ended() -> bool:
        return context.uow.read(lambda tx: SearchStore(tx).get(search_id)).state.final

    return _answer(request, context, caller, query, last_event_id, EventQuery(search_id=search_id), ended)


@router.get("/supernets/{supernet_id:id}/events", response_model=EventPage, responses=_RESPONSES)
def list_supernet_events(
    supernet_id: Annotated[str, Path(examples=["sup_01jd3x5w8k2v7m4q9r6t1y0z3a"])],
    request: Request,
    context: Context,
    caller: Viewer,
    query: Annotated[EventListQuery, Query()],
    last_event_id: LastEventId = None,
) -> Response:
    """How a supernet's training goes; the stream ends with it."""

    def ended() -> bool:
        return context.uow.read(lambda tx: SupernetStore(tx).get(supernet_id)).state.final

    return _answer(request, context, caller, query, last_event_id, EventQuery(supernet_id=supernet_id), ended)


@router.get("/ranking-studies/{study_id:id}/events", response_model=EventPage, responses=_RESPONSES)
def list_ranking_study_events(
    study_id: Annotated[str, Path(examples=["study_01jd3x5w8k2v7m4q9r6t1y0z3a"])],
    request: Request,
    context: Context,
    caller: Viewer,
    query: Annotated[EventListQuery, Query()],
    last_event_id: LastEventId = None,
) -> Response:
    """How a ranking study goes, training by training; the stream ends with it."""

    def ended() -> bool:
        return context.uow.read(lambda tx: StudyStore(tx).get(study_id)).state.final

    return _answer(request, context, caller, query, last_event_id, EventQuery(study_id=study_id), ended)


def _answer(
    request: Request,
    context: ApiContext,
    caller: Caller,
    query: EventListQuery,
    last_event_id: str | None,
    wanted: EventQuery,
    ended: Callable[[], bool],
) -> Response:
    after_id = query.after if last_event_id is None else int(last_event_id)
    over = ended()
    if preferred(request, JSON, EVENT_STREAM) == JSON:
        found = context.events.after(after_id, wanted, query.limit)
        last_id = found[-1].id if found else after_id
        page = EventPage(items=[event_resource(event) for event in found], last_id=last_id, ended=over)
        return Response(page.model_dump_json(), media_type=JSON)
    if over and not context.events.after(after_id, wanted, 1):
        return Response(status_code=204)
    context.hub.check_slot(caller.id)
    subject = Subject(read=lambda after, limit: _read(context, wanted, after, limit), ended=ended)
    stream = stream_events(context.hub, subject, after_id, caller.id)
    return StreamingResponse(stream, media_type=EVENT_STREAM, headers=EVENT_STREAM_HEADERS)


def _read(context: ApiContext, wanted: EventQuery, after_id: int, limit: int) -> list[_Streamed]:
    return [_streamed(event) for event in context.events.after(after_id, wanted, limit)]


def _streamed(event: Event) -> _Streamed:
    return _Streamed(event.id, event.type.value, event_resource(event).model_dump(mode="json"))
