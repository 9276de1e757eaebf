"""What is wrong with a spec is said in words for people, with the name that was meant."""

from __future__ import annotations

from typing import Any

import pytest

from nas_engine.settings.training import TrainingSpec
from server.candidates.spec import SearchSpec
from server.core.errors import InvalidSpecError
from server.core.spec_documents import parse_spec

SEARCH: dict[str, Any] = {
    "name": "x",
    "space": {"id": "spos"},
    "objectives": [{"metric": "macs"}],
    "budget": {"num_candidates": 4},
}
TRAINING: dict[str, Any] = {"name": "x", "space": {"id": "spos"}, "dataset": "d", "epochs": 1}


@pytest.mark.parametrize(
    ("kind", "document", "pointer", "said"),
    [
        (
            SearchSpec,
            {**SEARCH, "algorithm": {"kind": "nsga2", "populaton_size": 3}},
            "/algorithm/populaton_size",
            "there is no field 'populaton_size'; did you mean population_size?",
        ),
        (SearchSpec, {**SEARCH, "objectvies": []}, "/objectvies", "did you mean objectives?"),
        (SearchSpec, {**SEARCH, "budget": {"num_candidates": 4, "max": 3}}, "/budget/max", "no field 'max': known are"),
        (SearchSpec, {**SEARCH, "objectives": [{"metric": "mac"}]}, "/objectives/0/metric", "did you mean macs?"),
        (
            SearchSpec,
            {**SEARCH, "objectives": [{"metric": "macs", "goal": "minimise"}]},
            "/objectives/0/goal",
            "did you mean minimize?",
        ),
        (SearchSpec, {**SEARCH, "objectives": [{"metric": "macs", "wieght": 1}]}, "/objectives/0/wieght", "weight?"),
        (
            SearchSpec,
            {**SEARCH, "device": {"device_type": "../../evil"}},
            "/device/device_type",
            "'../../evil': use letters, digits",
        ),
        (
            TrainingSpec,
            {**TRAINING, "strategy": {"kind": "sandwich", "num_randm": 1}},
            "/strategy/num_randm",
            "num_random",
        ),
    ],
)
def test_a_mistyped_name_is_answered_with_the_one_that_was_meant(
    kind: Any, document: dict[str, Any], pointer: str, said: str
) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        parse_spec(kind, document)
    found = {violation.pointer: violation.message for violation in caught.value.violations}
    assert said in found[pointer]
    assert not any("Extra inputs" in detail for detail in found.values())


@pytest.mark.parametrize(
    ("changed", "pointer", "said"),
    [
        ({"budget": {"num_candidates": -5}}, "/budget/num_candidates", "must be at least 1, not -5"),
        ({"budget": {"num_candidates": "many"}}, "/budget/num_candidates", "must be a whole number, not 'many'"),
        ({"budget": {"num_candidates": 4.5}}, "/budget/num_candidates", "must be a whole number, not 4.5"),
        ({"budget": []}, "/budget", "must be a mapping of names to values, not empty"),
        ({"algorithm": "nsga2"}, "/algorithm", "must be a mapping of names to values, not 'nsga2'"),
        ({"objectives": []}, "/objectives", "must be at least 1 long, not empty"),
        ({"objectives": {"metric": "macs"}}, "/objectives", "must be a list, not a mapping"),
        ({"name": 3}, "/name", "must be text, not 3"),
        ({"seed": None}, "/seed", "must be a whole number, not null"),
        (
            {"device": {"device_type": "x"}, "measurement": {"profile": "fast"}},
            "/measurement/profile",
            "must be 'quick', 'standard' or 'audit', not 'fast'",
        ),
        (
            {"device": {"device_type": "x"}, "measurement": {"reuse": "perhaps"}},
            "/measurement/reuse",
            "must be true or false, not 'perhaps'",
        ),
    ],
)
def test_a_value_that_is_not_allowed_is_answered_with_what_is(changed: dict[str, Any], pointer: str, said: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        parse_spec(SearchSpec, {**SEARCH, **changed})
    found = {violation.pointer: violation.message for violation in caught.value.violations}
    assert found[pointer] == said
