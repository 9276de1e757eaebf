"""Every failure, ours or the framework's, is one kind of document."""

from __future__ import annotations

import json
from typing import Annotated

import pytest
from fastapi import FastAPI, Query
from prometheus_client.core import GaugeMetricFamily
from pydantic import BaseModel, ConfigDict
from starlette.testclient import TestClient

from server.core.errors import json_pointer
from server.core.http import problem_types as types
from server.core.http.guards import BodyLimitGuard, BodyLimits, HostAndOriginGuard
from server.core.http.metrics import Metrics
from server.core.http.problem_handlers import install_problem_handlers
from server.core.http.problems import FieldError, Problem, problem_document
from server.core.http.request_context import RequestContextMiddleware, TraceContext


class _Body(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")
    size: float
    items: list[int] = []


def _client(metrics: Metrics | None = None) -> TestClient:
    app = FastAPI()
    install_problem_handlers(app)

    @app.post("/things")
    def make(body: _Body) -> _Body:
        return body

    @app.get("/things")
    def find(page_size: Annotated[int, Query(ge=1)] = 1) -> int:
        return page_size

    @app.get("/broken")
    def fail() -> int:
        raise RuntimeError("secret cause")

    @app.get("/refused")
    def refuse() -> int:
        raise Problem(types.CONFLICT, "taken", errors=(FieldError("no", pointer="/a"),), members={"from": "x"})

    app.add_middleware(BodyLimitGuard, limits=BodyLimits(100, {"/big": 1000}))
    app.add_middleware(
        HostAndOriginGuard, allowed_hosts=("testserver", "*.example.com"), allowed_origins=("https://ok",)
    )
    app.add_middleware(RequestContextMiddleware, observer=metrics or Metrics())
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "slug"),
    [
        ("GET", "/nothing", None, 404, "not-found"),
        ("PUT", "/things", None, 405, "method-not-allowed"),
        ("POST", "/things", b"{", 400, "malformed-request"),
        ("POST", "/things", b"{}", 422, "invalid-request"),
        ("POST", "/things", b'{"size": NaN}', 422, "invalid-request"),
        ("GET", "/things?page_size=0", None, 422, "invalid-request"),
        ("POST", "/things", b"x" * 101, 413, "content-too-large"),
        ("GET", "/broken", None, 500, "internal-error"),
        ("GET", "/refused", None, 409, "conflict"),
    ],
)
def test_every_failure_is_a_problem_document(
    method: str, path: str, content: bytes | None, status: int, slug: str
) -> None:
    headers = {"Content-Type": "application/json", "X-Request-Id": "me-1"}
    response = _client().request(method, path, content=content, headers=headers)
    document = response.json()
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert (document["type"], document["status"]) == (f"/problems/{slug}", status)
    assert document["request_id"] == "me-1" == response.headers["x-request-id"]
    assert document["detail"]
    assert "secret" not in response.text


def test_a_wrong_body_is_pointed_at() -> None:
    document = _client().post("/things", json={"size": 1, "items": [1, "x"], "more": 1}).json()
    assert {error["pointer"] for error in document["errors"]} == {"/items/1", "/more"}


def test_a_wrong_query_parameter_is_named() -> None:
    document = _client().get("/things?page_size=0").json()
    assert [error["parameter"] for error in document["errors"]] == ["page_size"]


def test_a_chunked_body_is_cut_off_at_the_limit() -> None:
    response = _client().post("/things", content=iter([b"x" * 60, b"x" * 60]))
    assert (response.status_code, response.json()["type"]) == (413, "/problems/content-too-large")


def test_extension_members_cannot_hide_the_standard_ones() -> None:
    document = problem_document(Problem(types.CONFLICT, "taken", members={"status": 1, "from": "x"}), "r")
    assert (document["status"], document["from"]) == (409, "x")


def test_allow_header_goes_with_405() -> None:
    allow = _client().put("/things").headers["allow"]
    assert {method.strip() for method in allow.split(",")} >= {"POST"}


@pytest.mark.parametrize("host", ["evil.test", "testserver.evil.test", ""])
def test_a_host_that_is_not_ours_is_refused(host: str) -> None:
    response = _client().get("/things", headers={"Host": host})
    assert (response.status_code, response.json()["type"]) == (421, "/problems/unknown-host")


@pytest.mark.parametrize("host", ["testserver:8080", "a.example.com"])
def test_our_own_host_names_are_answered(host: str) -> None:
    assert _client().get("/things", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://testserver", 200),
        ("https://ok", 200),
        ("http://testserver:81", 403),
        ("https://evil.test", 403),
        ("null", 403),
    ],
)
def test_another_sites_page_cannot_post(origin: str, status: int) -> None:
    response = _client().post("/things", json={"size": 1}, headers={"Origin": origin})
    assert response.status_code == status


def test_the_callers_trace_goes_on() -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    answered = _client().get("/things", headers={"traceparent": parent}).headers["traceparent"]
    assert answered.startswith("00-4bf92f3577b34da6a3ce929d0e0e4736-")
    assert answered.endswith("-01")
    assert "00f067aa0ba902b7" not in answered


@pytest.mark.parametrize("header", [None, "", "junk", f"00-{'0' * 32}-00f067aa0ba902b7-01"])
def test_a_missing_or_malformed_trace_begins_a_new_one(header: str | None) -> None:
    assert TraceContext.of(header).trace_id != TraceContext.of(header).trace_id


def test_a_request_id_that_could_forge_log_lines_is_replaced() -> None:
    response = _client().get("/things", headers={"X-Request-Id": "a b"})
    assert response.headers["x-request-id"] != "a b"


def test_json_pointers_escape_their_separators() -> None:
    assert json_pointer(("a/b", 0, "~c")) == "/a~1b/0/~0c"


def test_slugs_are_unique_and_speak_of_their_status() -> None:
    assert len(types.PROBLEM_TYPES) == sum(1 for v in vars(types).values() if isinstance(v, type(types.CONFLICT)))
    for status in (400, 401, 403, 404, 405, 406, 409, 412, 413, 415, 416, 422, 503):
        assert types.for_status(status).status == status
    assert types.for_status(418) is types.MALFORMED_REQUEST
    assert types.for_status(502) is types.INTERNAL_ERROR


def test_metrics_count_requests_by_route_and_not_by_path() -> None:
    jobs = GaugeMetricFamily("hilnas_jobs", "Jobs.", labels=("state",))
    jobs.add_metric(('a"b',), 3)
    metrics = Metrics((lambda: jobs,))
    client = _client(metrics)
    client.get("/things")
    client.get("/nothing/here")
    text = metrics.render().decode()
    assert 'hilnas_http_request_duration_seconds_count{method="GET",route="/things",status="200"} 1.0' in text
    assert 'route="unmatched",status="404"' in text
    assert 'le="+Inf",method="GET",route="/things",status="200"} 1.0' in text
    assert 'hilnas_jobs{state="a\\"b"} 3.0' in text
    assert "/nothing/here" not in text


def test_documents_are_plain_json() -> None:
    assert json.loads(_client().get("/refused").text)["from"] == "x"
