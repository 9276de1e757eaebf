"""Labels of anything are bounded in one place: every operation whose body carries some refuses too many of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.golden.test_openapi import GOLDEN
from tests.support.worlds.api_world import World

DOCUMENT: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
LARGE = {f"n{number}": "\N{SNOWMAN}" * 200 for number in range(32)}
"""As many and as long as a label may be: 18 KiB, beyond the quota of 16 KiB."""


def places(schema: Any, seen: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of members called `labels` in what a schema describes."""
    if not isinstance(schema, Mapping):
        return
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in seen:
            yield from places(DOCUMENT["components"]["schemas"][name], (*seen, name))
    for name, inner in schema.get("properties", {}).items():
        yield from ((name,),) if name == "labels" else ((name, *path) for path in places(inner, seen))
    for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from places(option, seen)


LABELLED = sorted(
    {
        (method, path, place)
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        for place in places(
            operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        )
    }
)


def body_with(labels: Mapping[str, str], place: tuple[str, ...]) -> dict[str, Any]:
    document: Any = dict(labels)
    for name in reversed(place):
        document = {name: document}
    return dict(document)


def test_every_kind_of_labelled_thing_is_among_them() -> None:
    paths = {path.removeprefix("/api/v1/") for _, path, _ in LABELLED}
    assert paths >= {
        "searches",
        "searches/{search_id}",
        "supernets",
        "supernets:register",
        "networks",
        "networks:register",
        "candidates/{candidate_id}:retrain",
        "ranking-studies",
        "latency-tables",
        "latency-tables/{table_id}/reports",
        "measurements",
        "enrolment-tokens",
        "devices/{device_id}/labels",
    }


@pytest.mark.parametrize(("method", "path", "place"), LABELLED, ids=lambda part: "/".join(part) if part else "")
def test_too_many_bytes_of_labels_are_refused_with_the_limit(
    world: World, method: str, path: str, place: tuple[str, ...]
) -> None:
    client, url = world.client(), path.format_map(dict.fromkeys(_names(path), "none"))
    answer = client.request(method, url, json=body_with(LARGE, place))
    assert (answer.status_code, answer.json()["setting"]) == (403, "HILNAS_QUOTA_LABEL_BYTES"), answer.text
    assert answer.json()["limit"] == 16 << 10
    assert "bytes of labels" in answer.json()["detail"]
    small = client.request(method, url, json=body_with({"team": "vision"}, place))
    assert small.json().get("setting") is None


@pytest.mark.parametrize(("method", "path", "place"), LABELLED, ids=lambda part: "/".join(part) if part else "")
def test_ten_megabytes_are_refused_before_they_are_read(
    world: World, method: str, path: str, place: tuple[str, ...]
) -> None:
    url = path.format_map(dict.fromkeys(_names(path), "none"))
    answer = world.client().request(method, url, json=body_with({"team": "x" * (10 << 20)}, place))
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/content-too-large")
    assert str(1 << 20) in answer.json()["detail"]


def _names(path: str) -> list[str]:
    return [part.partition("}")[0] for part in path.split("{")[1:]]
