"""The policy, run: every route that there is, asked by every role, on real things of two users and of an admin."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from server.access.permissions import POLICY, RULE_OF, Kind, Rule, check_policy
from server.access.token import Role
from tests.support.worlds.api_world import SMALL_PARAMETERS, World, cheap_spec
from tests.support.worlds.owned_things import NETWORK, TABLE, TRAINING, OwnedThings

CALLERS: Mapping[str, Role | None] = {
    "anonymous": None,
    "vic": Role.VIEWER,
    "alice": Role.ENGINEER,
    "bob": Role.ENGINEER,
    "machine": Role.AGENT,
    "chief": Role.ADMIN,
}
OWNERS = ("alice", "bob", "root")
NEW_BYTES = b"bytes that are new"
UNOWNED = [rule for rule in POLICY if rule.own is None]
OWNED = [rule for rule in POLICY if rule.own is not None]
FAULTS = (404, 409, 422)
"""Of requests that were let through, and name a thing that is not there, is used up or cannot be run."""
SKIPPED = frozenset({"openapi", "static", "sign_in", "sign_out", "show_login"})
"""Routes without parameters worth a request of the table's kind: `test_what_is_open_is_open` asks them."""


@pytest.fixture(scope="module")
def things(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnedThings]:
    folder = tmp_path_factory.mktemp("permissions")
    shutil.copy(migrated_sqlite, folder / "hilnas.sqlite3")
    world = World.open(folder)
    yield OwnedThings(world)
    world.close()


@pytest.fixture(scope="module")
def ids(things: OwnedThings) -> Mapping[str, str]:
    """Ids of things of alice's, by path parameter."""
    measured = things.measured_search("alice")
    made = {name: id for rule in OWNED for name, id in things.make(rule.kind, "alice").items()}
    return {
        **made,
        **measured,
        "supernet_id": things.registered("alice"),
        "sha256": things.weights.sha256,
        "space_id": "spos",
        "slug": "not-found",
        "token_id": things.tokens["vic"].id,
        "enrolment_token_id": things.tokens["vic"].id,
        "classification_id": "cls_none",
    }


def routes(world: World) -> dict[str, tuple[str, str]]:
    """Method and path of every route of the application, by the name of its function."""
    found = (context.original_route for context in iter_route_contexts(world.process.app.routes))
    return {
        route.name: (min((route.methods or {"GET"}) - {"HEAD"}), route.path.replace(":id}", "}"))
        for route in found
        if isinstance(route, APIRoute)
    }


def bodies(things: OwnedThings) -> Mapping[str, dict[str, Any]]:
    """What a request with a body carries."""
    return {
        "create_search": cheap_spec(),
        "validate_search": cheap_spec(),
        "amend_search": {"labels": {"a": "b"}},
        "create_supernet": TRAINING,
        "create_network": NETWORK,
        "register_network": {"spec": NETWORK, "weights_sha256": things.weights.sha256},
        "register_supernet": {"spec": TRAINING, "weights_sha256": things.weights.sha256},
        "retrain_candidate": {"epochs": 1, "dataset": "fashion-mnist-12k"},
        "create_ranking_study": things.study_spec(),
        "create_latency_table": TABLE,
        "create_cost_report": {"num_networks": 2},
        "measure_model": {"model_sha256": things.weights.sha256, "device": {"device_type": "rk3588"}},
        "register_table": {"id": "mine", "sha256": things.weights.sha256},
        "decode_architecture": {"architecture": [0] * 4, "parameters": SMALL_PARAMETERS},
        "set_device_labels": {"labels": {"rack": "b"}},
        "reserve_device": {"reserved_by": "ada", "duration_s": 60},
        "create_token": {"name": "a token", "roles": ["viewer"]},
        "create_enrolment_token": {"name": "an enrolment token"},
    }


def ask(things: OwnedThings, operation: str, caller: str, given: Mapping[str, str]) -> httpx2.Response:
    """Use a route as a caller."""
    method, template = routes(things.world)[operation]
    names = {"search-presets": "attentivenas", "training-presets": "spos-imagenet"}
    name = next((name for part, name in names.items() if part in template), "")
    if operation == "put_artifact":
        given = {**given, "sha256": hashlib.sha256(NEW_BYTES).hexdigest()}
        return things.client(caller).put(template.format(**given), content=NEW_BYTES)
    path = template.format(**given, name=name)
    body = bodies(things).get(operation) if method != "GET" else None
    client = things.browser(caller) if RULE_OF[operation].kind is Kind.PAGE else things.client(caller)
    return client.request(method, path, json=body, follow_redirects=False)


def may(rule: Rule, caller: str, owner: str | None) -> bool:
    """What the policy says."""
    role = CALLERS[caller]
    if role is None:
        return rule.others is None
    verdict = rule.verdict(role)
    return verdict == "all" or (verdict == "own" and caller == owner)


def check_refusal(answer: httpx2.Response, caller: str) -> None:
    """A refusal says why; without a token there is none to say anything of."""
    if caller == "anonymous":
        # A page leads to the login form, and so does its fragment.
        assert answer.status_code in (401, 303), answer.text
        return
    assert answer.status_code == 403, (caller, answer.status_code, answer.text)
    if answer.headers["content-type"].startswith("application/problem+json"):
        assert answer.json()["may"], answer.text


def test_every_route_stands_in_the_policy_and_no_other(things: OwnedThings) -> None:
    assert set(routes(things.world)) == set(RULE_OF) - {"openapi", "static"}
    with pytest.raises(LookupError, match="steal_search"):
        check_policy(["get_search", "steal_search"])
    assert len(RULE_OF) == sum(len(rule.operations) for rule in POLICY), "a route stands in two rules"


@pytest.mark.parametrize("rule", UNOWNED, ids=lambda rule: f"{rule.kind.value}, {rule.action.value}")
def test_roles_alone_decide_where_ownership_makes_no_difference(
    things: OwnedThings, ids: Mapping[str, str], rule: Rule
) -> None:
    for operation in rule.operations:
        if operation in SKIPPED:
            continue
        for caller in sorted(CALLERS, key=lambda caller: may(rule, caller, None)):
            given = ids
            if may(rule, caller, None) and operation in ("revoke_token", "revoke_enrolment_token"):
                named = "token_id" if operation == "revoke_token" else "enrolment_token_id"
                given = {**ids, named: _fresh_token(things, operation)}
            answer = ask(things, operation, caller, given)
            if may(rule, caller, None):
                assert answer.status_code in (200, 201, 202, 204, *FAULTS), (operation, answer.status_code, answer.text)
            else:
                check_refusal(answer, caller)


@pytest.mark.parametrize("rule", OWNED, ids=lambda rule: f"{rule.kind.value}, {rule.action.value}")
def test_owners_and_admins_may_and_others_are_told_whose_it_is(things: OwnedThings, rule: Rule) -> None:
    for owner in OWNERS:
        given = things.make(rule.kind, owner)
        for operation in rule.operations:
            for caller in (caller for caller in CALLERS if not may(rule, caller, owner)):
                answer = ask(things, operation, caller, given)
                check_refusal(answer, caller)
                if CALLERS[caller] is Role.ENGINEER:
                    named = answer.json()["owner"]
                    assert named == {"id": things.principal(owner).id, "name": things.principal(owner).name}
                    assert things.principal(owner).name in answer.json()["detail"]
        for caller in (caller for caller in CALLERS if may(rule, caller, owner)):
            mine = things.make(rule.kind, owner)
            for operation in rule.operations:
                answer = ask(things, operation, caller, mine)
                assert answer.status_code in (200, 202), (operation, caller, owner, answer.text)


def test_what_is_not_there_is_not_found_rather_than_forbidden(things: OwnedThings) -> None:
    for rule in OWNED:
        given = {"table_id": "ltab_none", rule.subject: "x_none"}
        for operation in rule.operations:
            assert ask(things, operation, "bob", given).status_code == 404, operation


def test_what_is_open_is_open(things: OwnedThings) -> None:
    nobody = things.client("anonymous")
    for path in ("/api/v1/openapi.json", "/login", "/static/app.css", "/healthz", "/version"):
        assert nobody.get(path).status_code in (200, 404), path
    assert nobody.post("/login", data={"token": "wrong"}).status_code == 401
    assert nobody.post("/logout", follow_redirects=False).status_code == 303


def _fresh_token(things: OwnedThings, operation: str) -> str:
    path = "tokens" if operation == "revoke_token" else "enrolment-tokens"
    body = {"name": "to be revoked", **({"roles": ["viewer"]} if path == "tokens" else {})}
    made = things.client("root").post(f"/api/v1/{path}", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])
