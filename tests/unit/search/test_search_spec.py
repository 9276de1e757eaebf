"""The search spec: what it takes, what it refuses and where it points."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nas_engine.domain.metric import Goal
from nas_engine.domain.metrics import LATENCY_US, MACS, TOP1
from nas_engine.settings.training import TrainingSpec
from server.candidates.spec import parse_search_spec, search_spec_schema
from server.core.errors import InvalidSpecError
from server.training.spec import parse_training_spec, training_spec_schema

MINIMAL: dict[str, Any] = {
    "space": {"id": "spos"},
    "objectives": [{"metric": "macs"}],
    "budget": {"num_candidates": 10},
}
TRAINING: dict[str, Any] = {"space": {"id": "spos"}, "dataset": "fashion", "epochs": 1}


def pointers(document: object) -> list[str]:
    """Where a spec is refused."""
    with pytest.raises(InvalidSpecError) as caught:
        parse_search_spec(document)
    return [violation.pointer for violation in caught.value.violations]


def test_a_minimal_spec_is_completed_with_defaults() -> None:
    spec = parse_search_spec(MINIMAL)
    assert spec.algorithm.kind == "nsga2"
    assert spec.measurement.validity_policy == "require"
    assert (spec.seed, spec.priority) == (0, 0)


def test_a_spec_survives_json() -> None:
    spec = parse_search_spec({**MINIMAL, "supernet": TRAINING, "labels": {"team": "vision"}})
    assert parse_search_spec(json.loads(spec.model_dump_json())) == spec


def test_goals_follow_the_metric_unless_given() -> None:
    spec = parse_search_spec(
        {
            **MINIMAL,
            "supernet": "sup_1",
            "objectives": [{"metric": "top1"}, {"metric": "macs"}, {"metric": "params", "goal": "maximize"}],
        }
    )
    assert [o.goal for o in spec.domain_objectives()] == [Goal.MAXIMIZE, Goal.MINIMIZE, Goal.MAXIMIZE]


def test_awaited_metrics_come_from_objectives_and_constraints() -> None:
    spec = parse_search_spec(
        {
            **MINIMAL,
            "supernet": "sup_1",
            "device": {"device_type": "rk3588"},
            "objectives": [{"metric": "macs"}, {"metric": "top1"}],
            "constraints": [{"metric": "latency_us", "maximum": 5000}, {"metric": "top1", "minimum": 0.5}],
        }
    )
    assert spec.metrics() == (MACS, TOP1, LATENCY_US)
    assert spec.awaited_metrics() == (TOP1, LATENCY_US)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"budget": {}}, "/budget/num_candidates"),
        ({"budget": {"num_candidates": 0}}, "/budget/num_candidates"),
        ({"colour": "red"}, "/colour"),
        ({"space": {"id": "../etc"}}, "/space/id"),
        ({"objectives": [{"metric": "speed"}]}, "/objectives/0/metric"),
        ({"objectives": [{"metric": "macs", "weight": float("nan")}]}, "/objectives/0/weight"),
        ({"objectives": [{"metric": "macs", "weight": 0}]}, "/objectives/0/weight"),
        ({"constraints": [{"metric": "macs"}]}, "/constraints/0"),
        ({"constraints": [{"metric": "macs", "minimum": 2, "maximum": 1}]}, "/constraints/0"),
        ({"constraints": [{"metric": "macs", "maximum": float("inf")}]}, "/constraints/0/maximum"),
        ({"algorithm": {"kind": "../magic"}}, "/algorithm/kind"),
        ({"algorithm": {"kind": "magic", "strength": float("nan")}}, "/algorithm"),
        ({"algorithm": {"strength": 3}}, "/algorithm"),
        ({"algorithm": {"kind": "nsga2", "population_size": 1}}, "/algorithm/population_size"),
        ({"supernet": {"space": {"id": "spos"}, "epochs": 1}}, "/supernet/dataset"),
        ({"labels": {"a/b": "x\u0000"}}, "/labels/a~1b"),
        ({"seed": -1}, "/seed"),
    ],
)
def test_a_wrong_place_is_pointed_at(change: dict[str, Any], pointer: str) -> None:
    assert pointers({**MINIMAL, **change}) == [pointer]


def test_every_wrong_place_is_named_at_once() -> None:
    wrong = {**MINIMAL, "budget": {}, "seed": "x", "device": {"batch": 0}}
    assert sorted(pointers(wrong)) == ["/budget/num_candidates", "/device/batch", "/device/device_type", "/seed"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"objectives": [{"metric": "macs"}, {"metric": "macs"}]}, "name a metric twice"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidSpecError, match=reason):
        parse_search_spec({**MINIMAL, **change})


@pytest.mark.parametrize("document", [None, 3, "text", [], [MINIMAL]])
def test_what_is_no_object_is_refused_at_the_root(document: object) -> None:
    assert pointers(document) == [""]


def test_a_training_is_as_long_as_epochs_or_iterations_say() -> None:
    assert isinstance(parse_training_spec({**TRAINING, "epochs": None, "iterations": 5}), TrainingSpec)
    for wrong in ({"iterations": 5}, {"epochs": None}):
        with pytest.raises(InvalidSpecError, match="exactly one of epochs and iterations"):
            parse_training_spec({**TRAINING, **wrong})


def test_every_field_of_the_schemas_is_described() -> None:
    for schema in (search_spec_schema(), training_spec_schema()):
        for name, part in {**schema["$defs"], "root": schema}.items():
            assert "description" in part, name
            for field, detail in part.get("properties", {}).items():
                # A bare reference is described where it leads to.
                assert "description" in detail or "$ref" in detail or field == "kind", f"{name}.{field}"
