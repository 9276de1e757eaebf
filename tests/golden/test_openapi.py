"""The API's description is committed: a change of the contract shows in review.

Regenerate after a wanted change with ``python -m tests.golden.test_openapi``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.worlds.api_world import World

GOLDEN = Path(__file__).with_name("openapi.json")
_METHODS = {"get", "put", "post", "patch", "delete"}
_LEAST_WORDS = 3


def _document(home: Path) -> str:
    world = World.open(home)
    document = world.process.app.openapi()
    world.close()
    document["info"]["version"] = "golden"
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def _operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in _METHODS
    ]


def test_the_committed_description_is_current(tmp_path: Path) -> None:
    assert _document(tmp_path) == GOLDEN.read_text(encoding="utf-8"), (
        "the API's description has changed: if that is wanted, run `python -m tests.golden.test_openapi`"
    )


def test_every_failure_is_described_as_a_problem_document() -> None:
    document = json.loads(GOLDEN.read_text(encoding="utf-8"))
    for name, operation in _operations(document):
        for status, response in operation["responses"].items():
            if status >= "400" and "/readyz" not in name:
                shared = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
                assert list(shared["content"]) == ["application/problem+json"], f"{name} {status}"
        assert operation["summary"], name
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_operation_under_the_api_wants_a_token() -> None:
    document = json.loads(GOLDEN.read_text(encoding="utf-8"))
    for name, operation in _operations(document):
        if "/api/v1/" in name:
            assert operation.get("security"), name
            assert {"401", "403"} <= set(operation["responses"]), name


def test_every_field_and_query_parameter_is_described_in_a_phrase(tmp_path: Path) -> None:
    document = json.loads(_document(tmp_path))
    described = {
        f"{schema}.{name}": field.get("description", "")
        for schema, model in document["components"]["schemas"].items()
        for name, field in model.get("properties", {}).items()
    } | {
        f"{name} ?{parameter['name']}": parameter.get("description", "")
        for name, operation in _operations(document)
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "query"
    }
    assert len(described) > 900
    too_short = {place: text for place, text in described.items() if len(text.split()) < _LEAST_WORDS}
    assert not too_short, "say what the field is, in which unit, and who sets it"


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for _, operation in _operations(json.loads(GOLDEN.read_text(encoding="utf-8")))]
    assert len(ids) == len(set(ids))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        GOLDEN.write_text(_document(Path(folder)), encoding="utf-8")
    sys.stdout.write(f"wrote {GOLDEN}\n")
