"""The API does what its description says: schemathesis sends what the description allows, and what it forbids.

No answer may be a server error, every status must be described, and every body must have the described
media type and schema.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from tests.golden.test_openapi import GOLDEN
from tests.support.worlds.api_world import ADMIN, World, cheap_spec, latency_spec

load_all_checks()
_CHECKS: list[Any] = [
    CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "ignored_auth",
        "unsupported_method",
        "allow_header_conformance",
        "missing_required_header",
    )
]
# For every operation; `make conformance` asks for many more.
_NUM_EXAMPLES = int(os.environ.get("CONFORMANCE_EXAMPLES", "12"))
_HEADERS = {"Authorization": f"Bearer {ADMIN}"}


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[World]:
    """A server that holds one of everything."""
    home = tmp_path_factory.mktemp("conformance")
    shutil.copy(migrated_sqlite, home / "hilnas.sqlite3")
    world = World.open(home)
    client, board = world.client(), world.enrol()
    client.post("/api/v1/searches", json=latency_spec())
    world.step([[0, 0, 0, 0], [1, 1, 1, 1]])
    world.convert_all()
    world.measure_all(board)
    client.post("/api/v1/searches", json=cheap_spec())
    yield world
    world.close()


@pytest.fixture(scope="module")
def known_ids(described: World) -> dict[str, str]:
    """What really exists, by the name it has in paths."""
    client = described.client()

    def first(path: str, key: str = "id") -> str:
        return str(client.get(f"/api/v1/{path}").json()["items"][0][key])

    spare = client.post("/api/v1/tokens", json={"name": "spare", "roles": ["viewer"]}).json()
    search_id = first("measurements", "search_id")
    return {
        "search_id": search_id,
        "candidate_id": first(f"searches/{search_id}/candidates"),
        "measurement_id": first("measurements"),
        "device_id": first("devices"),
        "job_id": first("jobs"),
        "sha256": first("artifacts", "sha256"),
        "space_id": "spos",
        "token_id": spare["id"],
    }


@pytest.fixture(scope="module")
def api_schema(described: World) -> schemathesis.BaseSchema:
    """The description as the server gives it."""
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", described.process.app)


def _operations() -> list[tuple[str, str]]:
    document = json.loads(GOLDEN.read_text(encoding="utf-8"))
    methods = {"get", "put", "post", "patch", "delete"}
    return [(path, method) for path, item in document["paths"].items() for method in item if method in methods]


@pytest.mark.parametrize(("path", "method"), _operations(), ids=lambda part: part)
def test_an_operation_conforms_to_its_description(
    api_schema: schemathesis.BaseSchema, known_ids: dict[str, str], path: str, method: str
) -> None:
    def about_what_exists(case: schemathesis.Case[Any]) -> schemathesis.Case[Any]:
        """Random ids find nothing; these do."""
        case.path_parameters.update({name: known_ids.get(name, value) for name, value in case.path_parameters.items()})
        return case

    operation = api_schema[path][method]
    # Only where there is a body: some wrong query values (an empty list) vanish on their way into the URL.
    checks = [*_CHECKS, CHECKS.get_one("negative_data_rejection")] if method != "get" else _CHECKS
    allowed = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    forbidden = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @settings(
        max_examples=_NUM_EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=allowed | allowed.map(about_what_exists) | forbidden)
    def conforms(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(headers=_HEADERS, checks=checks)

    conforms()
