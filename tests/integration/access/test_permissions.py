"""The policy, run: every route that there is, asked by every role, on real things of two users and of an admin."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx2
import pytest

from server.access.permissions import POLICY, RULE_OF, Rule, check_policy
from server.access.token import Role
from tests.support.worlds.api_world import World
from tests.support.worlds.owned_things import OwnedThings
from tests.support.worlds.policy_requests import ask, routes

CALLERS: Mapping[str, Role | None] = {
    "anonymous": None,
    "vic": Role.VIEWER,
    "alice": Role.ENGINEER,
    "bob": Role.ENGINEER,
    "machine": Role.AGENT,
    "chief": Role.ADMIN,
}
OWNERS = ("alice", "bob", "root")
UNOWNED = [rule for rule in POLICY if rule.own is None]
OWNED = [rule for rule in POLICY if rule.own is not None and rule.subject]
FAULTS = {
    "get_candidate_bundle": 409,  # nothing was exported of it
    "get_network_bundle": 409,  # is not trained
    "export_candidate": 409,  # its search has no supernet
    "create_cost_report": 422,  # of a table that is not measured whole
    "unretire_device": 409,  # is not retired
    "create_what_if": 422,  # its search is not over
    "measure_next_of_what_if": 409,  # is not completed
}
"""What is answered to whoever is let through, where the thing is real and its state does not allow it."""
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
        **things.what_if("alice", measured["search_id"]),
        "supernet_id": things.registered("alice"),
        "sha256": things.weights.sha256,
        "space_id": "spos",
        "slug": "not-found",
        "principal_id": things.principal("vic").id,
        "token_id": things.tokens["vic"].id,
        "enrolment_token_id": things.tokens["vic"].id,
        "classification_id": things.classification(),
        "predictor_id": things.predictor(),
    }


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
                expected = (200, 201, 202, 204) if operation not in FAULTS else (FAULTS[operation],)
                assert answer.status_code in expected, (operation, answer.status_code, answer.text)
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
                expected = (200, 202) if operation not in FAULTS else (FAULTS[operation],)
                assert answer.status_code in expected, (operation, caller, owner, answer.text)


def test_what_is_not_there_is_not_found_rather_than_forbidden(things: OwnedThings) -> None:
    for rule in OWNED:
        given = {"table_id": "ltab_none", "search_id": "srch_none", rule.subject: "x_none"}
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
