"""The SDK retries what is safe to retry and turns problems into errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx2
import pytest

from hilnas.client import errors
from hilnas.client.core.event_source import ReceivedEvent, follow, parse
from hilnas.client.transport import RetryPolicy, Transport
from nas_engine.domain.json_value import JsonValue


@dataclass
class _Server:
    """Answers from a list and remembers what it was asked."""

    answers: list[httpx2.Response | Exception]
    requests: list[httpx2.Request] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def transport(self) -> Transport:
        retry = RetryPolicy(max_attempts=3, sleep=self.waits.append)
        return Transport("http://nas", "nas_x_y", retry=retry, transport=httpx2.MockTransport(self))


def _problem(status: int, slug: str, headers: dict[str, str] | None = None) -> httpx2.Response:
    return httpx2.Response(status, json={"type": f"/problems/{slug}", "detail": "why"}, headers=headers)


def test_reads_are_tried_again() -> None:
    server = _Server([httpx2.ConnectError("down"), httpx2.Response(503), httpx2.Response(200, json={"a": 1})])
    assert server.transport().get("/x") == {"a": 1}
    assert len(server.waits) == 2
    assert server.requests[0].headers["authorization"] == "Bearer nas_x_y"


def test_retry_after_is_obeyed_within_reason() -> None:
    server = _Server(
        [
            _problem(429, "quota-exceeded", {"Retry-After": "3"}),
            _problem(429, "quota-exceeded", {"Retry-After": "9999"}),
            httpx2.Response(200, json=1),
        ]
    )
    server.transport().get("/x")
    assert server.waits == [3.0, 10.0]


def test_a_repeated_post_carries_one_key() -> None:
    server = _Server([httpx2.ReadError("cut"), httpx2.Response(503), httpx2.Response(202, json={})])
    server.transport().post("/x", {"seed": 1})
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 1
    assert [json.loads(request.content) for request in server.requests] == [{"seed": 1}] * 3


def test_two_actions_have_two_keys() -> None:
    server = _Server([httpx2.Response(202, json={}), httpx2.Response(202, json={})])
    transport = server.transport()
    transport.post("/x")
    transport.post("/x")
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidRequestError),
        (401, errors.AuthenticationError),
        (403, errors.PermissionDeniedError),
        (404, errors.NotFoundError),
        (409, errors.ConflictError),
        (412, errors.ConflictError),
        (422, errors.InvalidRequestError),
        (500, errors.ServerFailedError),
    ],
)
def test_each_problem_becomes_its_error_at_once(status: int, kind: type[errors.ProblemError]) -> None:
    server = _Server([_problem(status, "some-slug")])
    with pytest.raises(kind) as caught:
        server.transport().get("/x")
    assert (caught.value.slug, caught.value.detail, caught.value.status) == ("some-slug", "why", status)


def test_an_error_names_every_wrong_place_and_the_feasible_range() -> None:
    places: list[JsonValue] = [{"detail": "too low", "pointer": "/constraints/0", "feasible_minimum": 1.5}]
    error = errors.problem_error(422, {"type": "/problems/invalid-search-spec", "detail": "no", "errors": places})
    assert error.errors[0].feasible_minimum == 1.5
    assert "/constraints/0: too low" in str(error)


def test_a_server_that_stays_away_is_reported() -> None:
    server = _Server([httpx2.ConnectError("down")] * 3)
    with pytest.raises(errors.ServerUnreachableError, match="http://nas"):
        server.transport().get("/x")


def test_a_server_that_never_answered_is_tried_for_a_second_and_one_that_has_for_longer() -> None:
    strange = _Server([httpx2.ConnectError("down")] * 3)
    with pytest.raises(errors.ServerUnreachableError):
        strange.transport().get("/x")
    assert 2 <= len(strange.requests) <= 3
    assert sum(strange.waits) <= 2.0
    known = _Server([httpx2.Response(200, json=1), *[httpx2.ConnectError("down")] * 3])
    transport = known.transport()
    transport.get("/x")
    with pytest.raises(errors.ServerUnreachableError):
        transport.get("/x")
    assert len(known.requests) == 4


def test_a_proxys_html_error_is_still_an_error() -> None:
    server = _Server([httpx2.Response(500, text="<html>")])
    with pytest.raises(errors.ServerFailedError):
        server.transport().get("/x")


def test_an_answer_that_is_no_json_is_a_protocol_error() -> None:
    with pytest.raises(errors.ProtocolError):
        _Server([httpx2.Response(200, text="<html>")]).transport().get("/x")


def _stream(text: str) -> httpx2.Response:
    return httpx2.Response(200, text=text, headers={"Content-Type": "text/event-stream"})


def test_a_cut_stream_goes_on_after_its_last_event() -> None:
    server = _Server(
        [
            _stream('event: state\ndata: {"n": 1}\nid: 4\n\nevent: state\ndata: {"n": 2}\n'),
            httpx2.ReadError("cut"),
            _stream('event: state\ndata: {"n": 2}\nid: 7\n\n'),
            httpx2.Response(204),
        ]
    )
    events = list(follow(server.transport(), "/events", after_id=1))
    assert [event.id for event in events] == [4, 7]
    assert [request.headers["last-event-id"] for request in server.requests] == ["1", "4", "4", "7"]


def test_a_stream_that_brings_nothing_is_not_asked_for_again_at_once() -> None:
    server = _Server(
        [_stream(""), _stream(": ping\n\n"), _stream("event: a\ndata: 1\nid: 2\n\n"), httpx2.Response(204)]
    )
    assert [event.id for event in follow(server.transport(), "/events")] == [2]
    assert len(server.waits) == 2


def test_a_server_that_stays_away_ends_the_stream() -> None:
    server = _Server([httpx2.ConnectError("down")] * 20)
    with pytest.raises(errors.ServerUnreachableError):
        list(follow(server.transport(), "/events"))


def test_comments_and_several_data_lines_are_read() -> None:
    lines = [": ping", "", "retry: 5", "", "id: 3", "event: a", 'data: {"x":', "data: 1}", "", "id: 9", "data: 1"]
    assert list(parse(lines)) == [ReceivedEvent(3, "a", {"x": 1})]


def test_an_event_without_an_id_is_refused() -> None:
    with pytest.raises(errors.ProtocolError):
        list(parse(["data: 1", ""]))


def test_bodies_are_made_anew_for_every_try() -> None:
    server = _Server([httpx2.ConnectError("down"), httpx2.Response(201, json={})])
    chunks: Callable[[], Iterator[bytes]] = lambda: iter([b"a", b"b"])  # noqa: E731
    server.transport().request("PUT", "/x", content=chunks)
    assert server.requests[-1].content == b"ab"
