"""Requests for every route that the policy names, on the things of `OwnedThings`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import httpx2
from fastapi.routing import APIRoute, iter_route_contexts

from server.access.permissions import RULE_OF, Kind
from server.artifacts.artifacts import Artifacts
from tests.support.samples.odd_models import relu
from tests.support.samples.table_results import table_bytes
from tests.support.worlds.api_world import SMALL_PARAMETERS, SMALL_SPACE, World, cheap_spec
from tests.support.worlds.owned_things import NETWORK, TABLE, TRAINING, OwnedThings

NEW_BYTES = b"bytes that are new"
LEASE = {"trial_id": "job_that_is_not", "lease_id": "lease_that_is_not", "fence": 1}


def routes(world: World) -> dict[str, tuple[str, str]]:
    """Method and path of every route of the application, by the name of its function."""
    found = (context.original_route for context in iter_route_contexts(world.process.app.routes))
    return {
        route.name: (min((route.methods or {"GET"}) - {"HEAD"}), route.path.replace(":id}", "}"))
        for route in found
        if isinstance(route, APIRoute)
    }


def body_of(things: OwnedThings, operation: str) -> dict[str, Any] | None:
    """What a request carries; None for those without a body."""
    if operation == "create_ranking_study":
        return things.study_spec()
    put = things.world.process.get(Artifacts).put
    model, table = put(relu((1, 4)), "application/onnx"), put(table_bytes(), "application/json")
    bodies: Mapping[str, dict[str, Any]] = {
        "create_search": cheap_spec(),
        "ask_trials": {"evaluator": "rig"},
        "renew_trial": LEASE,
        "tell_trial": {**LEASE, "give_back": True},
        "validate_search": cheap_spec(),
        "amend_search": {"labels": {"a": "b"}},
        "amend_running_search": {"labels": {"a": "b"}},
        "clone_search": {},
        "create_supernet": TRAINING,
        "create_network": NETWORK,
        "register_network": {"spec": NETWORK, "weights_sha256": things.weights.sha256},
        "register_supernet": {"spec": TRAINING, "weights_sha256": things.weights.sha256},
        "retrain_candidate": {"epochs": 1, "dataset": "fashion-mnist-12k"},
        "create_latency_table": TABLE,
        "create_cost_report": {"num_networks": 2},
        "measure_model": {
            "model_sha256": model.sha256,
            "device": {"device_type": "rk3588"},
        },
        "query_latencies": {
            "architectures": [{"space": SMALL_SPACE, "genotype": [0] * 4}],
            "devices": [{"device_type": "rk3588"}],
        },
        "create_what_if": {"device": {"device_type": "rk3588"}},
        "measure_neighbours": {"max_networks": 1},
        "register_table": {"id": "mine", "sha256": table.sha256},
        "decode_architecture": {"architecture": [0] * 4, "parameters": SMALL_PARAMETERS},
        "set_device_labels": {"labels": {"rack": "b"}},
        "set_device_rules": {"max_hours_per_day": 24},
        "set_device_owner": {"owner": things.principal("root").name},
        "reserve_device": {"reserved_by": "ada", "duration_s": 60},
        "amend_principal": {"weight": 2.0},
        "create_token": {"name": "a token", "roles": ["viewer"]},
        "create_enrolment_token": {"name": "an enrolment token"},
    }
    return bodies.get(operation)


def ask(things: OwnedThings, operation: str, caller: str, given: Mapping[str, str]) -> httpx2.Response:
    """Use a route as a caller."""
    method, template = routes(things.world)[operation]
    names = {"search-presets": "densenas-imagenet100-mbv2", "training-presets": "spos-imagenet"}
    name = next((name for part, name in names.items() if part in template), "")
    if operation == "put_artifact":
        given = {**given, "sha256": hashlib.sha256(NEW_BYTES).hexdigest()}
        return things.client(caller).put(template.format(**given), content=NEW_BYTES)
    if operation == "get_cost_table":
        given = {**given, "sha256": things.cost_table().sha256}
    path = template.format(**given, name=name)
    body = body_of(things, operation) if method != "GET" else None
    if operation in ("renew_trial", "tell_trial") and body is not None:
        body = {**body, **things.held_trial(given["search_id"])}
    params = {"search_id": given["search_id"]} if operation == "compare_searches" else None
    client = things.browser(caller) if RULE_OF[operation].kind is Kind.PAGE else things.client(caller)
    return client.request(method, path, params=params, json=body, follow_redirects=False)
