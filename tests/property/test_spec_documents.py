"""Whatever a document holds, a spec is read from it or every wrong place is pointed at; nothing else is raised."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.candidates.spec import parse_search_spec
from server.core.errors import InvalidSpecError
from server.core.spec_documents import parse_spec
from server.latency_tables.spec import parse_latency_table_spec
from server.measuring.queries import ModelMeasurementSpec
from server.training.spec import parse_training_spec

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "auto", "nsga2", "a/b", "~", "\x00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "id", "a/b", ""]), inner),
    max_leaves=6,
)
SPECS: dict[str, tuple[Callable[[object], object], dict[str, Any]]] = {
    "search": (
        parse_search_spec,
        {
            "space": {"id": "spos", "parameters": {"num_classes": 10}},
            "objectives": [{"metric": "macs"}, {"metric": "latency_us"}],
            "constraints": [{"metric": "params", "maximum": 1e6}],
            "algorithm": {"kind": "auto"},
            "budget": {"num_candidates": 10},
            "device": {"device_type": "emu", "labels": {"room": "1"}},
            "supernet": "sup",
            "shifting": {"num_steps": 2},
            "labels": {"team": "vision"},
        },
    ),
    "training": (
        parse_training_spec,
        {"space": {"id": "spos"}, "dataset": "fashion", "epochs": 1, "strategy": {"kind": "sandwich"}},
    ),
    "measurement": (
        lambda document: parse_spec(ModelMeasurementSpec, document),
        {
            "model_sha256": "0" * 64,
            "device": {"device_type": "emu"},
            "input_ranges": {"indices": [0, 3]},
            "input_shapes": {"indices": [1, 3]},
        },
    ),
    "table": (
        parse_latency_table_spec,
        {"space": {"id": "spos"}, "device": {"device_type": "emu"}, "measurement": {"profile": "quick"}},
    ),
}


def places(document: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place of a document by its path."""
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


def changed(document: Any, path: tuple[str | int, ...], value: object) -> Any:
    """A copy of the document with another value in that place."""
    if not path:
        return value
    document = copy.copy(document)
    document[path[0]] = changed(document[path[0]], path[1:], value)
    return document


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=150)
@given(data=st.data())
def test_every_document_is_read_or_its_wrong_places_are_pointed_at(name: str, data: st.DataObject) -> None:
    parse, document = SPECS[name]
    for _ in range(data.draw(st.integers(1, 2), label="changes")):
        where = data.draw(st.sampled_from(places(document)), label="place")
        document = changed(document, where, data.draw(JSON, label="value"))
    pointers = [""]
    try:
        parse(document)
    except InvalidSpecError as refused:
        pointers = [one.pointer for one in refused.violations]
    assert pointers
    assert all(pointer == "" or pointer.startswith("/") for pointer in pointers)


@pytest.mark.parametrize("value", [[], [0], [0, 1, 2], [0, "x"]])
def test_a_pair_of_another_length_is_pointed_at(value: list[object]) -> None:
    parse, document = SPECS["measurement"]
    with pytest.raises(InvalidSpecError) as caught:
        parse({**document, "input_ranges": {"a/b": value}})
    assert all(one.pointer.startswith("/input_ranges/a~1b") for one in caught.value.violations)


@pytest.mark.parametrize(
    ("algorithm", "pointer"),
    [
        ({"cost_factors": [0.1, False]}, "/algorithm/cost_factors/1"),
        ({"cost_factors": ["0.1"]}, "/algorithm/cost_factors/0"),
        ({"micro_batch": True}, "/algorithm/micro_batch"),
        ({"micro_batch": "5"}, "/algorithm/micro_batch"),
        ({"synchronised_norm": 1}, "/algorithm/synchronised_norm"),
    ],
)
def test_a_number_is_no_text_and_no_truth_value(algorithm: dict[str, Any], pointer: str) -> None:
    document = {"space": {"id": "spos"}, "objectives": [{"metric": "macs"}], "budget": {"num_candidates": 10}}
    with pytest.raises(InvalidSpecError) as caught:
        parse_search_spec({**document, "algorithm": {"kind": "densenas", "dataset": "d", **algorithm}})
    assert {one.pointer for one in caught.value.violations} == {pointer}


def test_auto_takes_no_settings() -> None:
    parse, document = SPECS["search"]
    with pytest.raises(InvalidSpecError) as caught:
        parse({**document, "algorithm": {"kind": "auto", "population_size": 10}})
    assert [one.pointer for one in caught.value.violations] == ["/algorithm/population_size"]
