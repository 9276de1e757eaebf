"""What one owner may have, send and ask is bounded, and a refusal names the limit and where it is set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.access.limits.quotas import Quotas, QuotaSettings
from server.access.token import Role
from server.access.tokens import Tokens
from server.bootstrap.settings import Settings
from server.core.errors import QuotaExceededError
from tests.support.worlds.api_world import World, cheap_spec, latency_spec
from tests.support.worlds.owned_things import TRAINING

_LIMITS: dict[str, object] = {
    "quota_open_searches": 2,
    "quota_queued_jobs": 3,
    "quota_search_candidates": 50,
    "quota_open_candidates": 60,
    "quota_open_trainings": 2,
    "quota_open_studies": 2,
    "quota_open_latency_tables": 2,
    "quota_registrations_per_day": 3,
    "quota_upload_bytes_per_day": 8 << 20,
    "quota_label_bytes": 100,
    "quota_open_sessions": 2,
    "quota_event_streams": 1,
    "quota_requests_per_minute": 40,
}


@pytest.fixture
def tight(tmp_path: Path) -> Iterator[World]:
    world = World.open(tmp_path, **_LIMITS)
    yield world
    world.close()


def test_open_searches_are_counted_by_owner_and_a_finished_one_makes_room(tight: World) -> None:
    mine, others = tight.client(tight.token(Role.ENGINEER)), tight.client(tight.token(Role.ENGINEER))
    first = mine.post("/api/v1/searches", json=cheap_spec()).json()
    assert mine.post("/api/v1/searches", json=cheap_spec()).status_code == 202
    refused = mine.post("/api/v1/searches", json=cheap_spec())
    assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-requests")
    assert int(refused.headers["retry-after"]) > 0
    assert (refused.json()["limit"], refused.json()["setting"]) == (2, "HILNAS_QUOTA_OPEN_SEARCHES")
    assert "HILNAS_QUOTA_OPEN_SEARCHES" in refused.json()["detail"]
    assert others.post("/api/v1/searches", json=cheap_spec()).status_code == 202
    assert mine.post(f"/api/v1/searches/{first['id']}:cancel").status_code == 202
    assert mine.post("/api/v1/searches", json=cheap_spec()).status_code == 202


def test_tokens_of_one_owner_share_its_quota(tight: World) -> None:
    tokens = tight.process.get(Tokens)
    secrets = [tokens.create(f"t{n}", [Role.ENGINEER], principal="one team")[1] for n in range(3)]
    answers = [tight.client(one).post("/api/v1/searches", json=cheap_spec()).status_code for one in secrets]
    assert answers == [202, 202, 429]


def test_candidates_are_bounded_in_one_search_and_in_all_open_ones_by_amendment_too(tight: World) -> None:
    mine = tight.client(tight.token(Role.ENGINEER))
    refused = mine.post("/api/v1/searches", json=cheap_spec(51))
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/quota-exceeded")
    assert refused.json()["setting"] == "HILNAS_QUOTA_SEARCH_CANDIDATES"
    made = mine.post("/api/v1/searches", json=cheap_spec(40)).json()
    assert mine.post("/api/v1/searches", json=cheap_spec(21)).json()["setting"] == "HILNAS_QUOTA_OPEN_CANDIDATES"
    path = f"/api/v1/searches/{made['id']}"
    assert mine.patch(path, json={"num_candidates": 51}).status_code == 403
    assert mine.get(path).json()["spec"]["budget"]["num_candidates"] == 40
    assert mine.patch(path, json={"num_candidates": 50}).status_code == 200


def test_labels_are_bounded_and_a_refused_amendment_changes_nothing(tight: World) -> None:
    mine = tight.client(tight.token(Role.ENGINEER))
    assert mine.post("/api/v1/searches", json=cheap_spec(labels={"a": "é" * 60})).status_code == 403
    made = mine.post("/api/v1/searches", json=cheap_spec(labels={"a": "small"})).json()
    assert mine.patch(f"/api/v1/searches/{made['id']}", json={"labels": {"b": "x" * 150}}).status_code == 403
    assert mine.get(f"/api/v1/searches/{made['id']}").json()["spec"]["labels"] == {"a": "small"}


def test_whose_jobs_fill_the_queue_orders_no_more(tight: World) -> None:
    mine = tight.client(tight.token(Role.ENGINEER))
    tight.enrol()
    made = mine.post("/api/v1/searches", json=latency_spec()).json()
    tight.step([[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2]])
    refused = mine.post("/api/v1/searches", json=cheap_spec())
    assert (refused.status_code, refused.json()["setting"]) == (429, "HILNAS_QUOTA_QUEUED_JOBS")
    mine.post(f"/api/v1/searches/{made['id']}:cancel")
    assert mine.post("/api/v1/searches", json=cheap_spec()).status_code == 202


def test_an_order_that_is_sent_300_times_is_one_with_a_key_and_refused_without(tmp_path: Path) -> None:
    world = World.open(tmp_path, quota_open_searches=20, quota_queued_jobs=30)
    mine = world.client(world.token(Role.ENGINEER))
    try:
        answers = [
            mine.post("/api/v1/searches", json=cheap_spec(), headers={"Idempotency-Key": "one"}) for _ in range(300)
        ]
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["id"] for answer in answers}) == 1
        for path, spec, setting, limit in (
            ("searches", cheap_spec(), "HILNAS_QUOTA_OPEN_SEARCHES", 20),
            ("supernets", TRAINING, "HILNAS_QUOTA_QUEUED_JOBS", 30),
        ):
            answers = [mine.post(f"/api/v1/{path}", json=spec) for _ in range(40)]
            assert [answer.status_code for answer in answers] == sorted(answer.status_code for answer in answers)
            refused = answers[-1]
            assert (refused.status_code, refused.json()["setting"], refused.json()["limit"]) == (429, setting, limit)
    finally:
        world.close()


def test_uploads_are_counted_by_day_and_written_down(tight: World) -> None:
    mine = tight.client(tight.token(Role.ENGINEER))

    def put(content: bytes) -> tuple[int, str]:
        answer = mine.put(f"/api/v1/artifacts/{hashlib.sha256(content).hexdigest()}", content=content)
        return answer.status_code, answer.json().get("setting", "")

    mib = 1 << 20
    assert put(b"a" * (5 * mib)) == (201, "")
    assert put(b"b" * (4 * mib)) == (429, "HILNAS_QUOTA_UPLOAD_BYTES_PER_DAY")
    tight.process.get(Quotas).write_uses()
    assert put(b"c" * (4 * mib)) == (429, "HILNAS_QUOTA_UPLOAD_BYTES_PER_DAY")
    for content in (b"", b"d", b"ee"):  # each costs a file and a row, and counts as 1 MiB
        assert put(content) == (201, "")
    assert put(b"fff") == (429, "HILNAS_QUOTA_UPLOAD_BYTES_PER_DAY")
    assert put(b"") == (429, "HILNAS_QUOTA_UPLOAD_BYTES_PER_DAY")


def test_too_many_requests_are_refused_and_others_are_not(tight: World) -> None:
    mine, others = tight.client(tight.token(Role.VIEWER)), tight.client(tight.token(Role.VIEWER))
    statuses = [mine.get("/api/v1/jobs").status_code for _ in range(60)]
    assert statuses.count(429) > 5
    assert set(statuses) == {200, 429}
    refused = mine.get("/api/v1/jobs")
    assert refused.json()["setting"] == "HILNAS_QUOTA_REQUESTS_PER_MINUTE"
    assert int(refused.headers["retry-after"]) >= 1
    assert others.get("/api/v1/jobs").status_code == 200


@pytest.mark.parametrize(
    ("role", "priority", "status"), [("engineer", 1, 403), ("engineer", 0, 202), ("admin", 100, 202)]
)
def test_a_priority_above_0_is_for_admins(world: World, role: str, priority: int, status: int) -> None:
    client = world.client(world.token(Role(role)))
    made = client.post("/api/v1/searches", json=cheap_spec(priority=priority))
    assert made.status_code == status
    if status == 202:
        amended = client.patch(f"/api/v1/searches/{made.json()['id']}", json={"priority": 7})
        assert amended.status_code == (200 if role == "admin" else 403)


def test_a_limit_of_0_is_none() -> None:
    QuotaSettings(search_candidates=0, open_searches=0, open_candidates=0).check_search(10**9, 10**9, 10**6)
    with pytest.raises(QuotaExceededError, match="HILNAS_QUOTA_OPEN_SEARCHES"):
        QuotaSettings(open_searches=1).check_search(1, 1, 2)


def test_every_limit_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILNAS_QUOTA_LABEL_BYTES", "77")
    assert Settings.load().quotas.label_bytes == 77
    assert Settings.load(dict.fromkeys(_LIMITS, 5)).quotas == QuotaSettings(
        **{name.removeprefix("quota_"): 5 for name in _LIMITS}
    )
