"""Changes of a spec on the command line: what they make, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from hilnas.cli.specs.assignments import constraints_with, patch_of
from hilnas.client.errors import SpecFileError
from nas_engine.domain.json_value import JsonValue


def test_members_are_set_by_their_path() -> None:
    assignments = ["budget.num_candidates=200", "seed=1", "stop.target=null", "stop.wall_time_s=1.5", 'name="a=b"']
    assert patch_of(assignments) == {
        "budget": {"num_candidates": 200},
        "seed": 1,
        "stop": {"target": None, "wall_time_s": 1.5},
        "name": "a=b",
    }
    assert patch_of(["constraints=[{metric: macs, maximum: 3}]"]) == {"constraints": [{"metric": "macs", "maximum": 3}]}
    assert patch_of([]) == {}


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["seed"], "write a member of the spec and its value"),
        (["=3"], "write a member"),
        (["stop..x=3"], "write a member"),
        (["seed=["], "no JSON or YAML"),
        (["seed=1", "seed=2"], "seed is set twice"),
        (["stop=null", "stop.wall_time_s=3"], "stop was set to a value before"),
    ],
)
def test_what_sets_nothing_is_refused(assignments: Sequence[str], message: str) -> None:
    with pytest.raises(SpecFileError, match=message):
        patch_of(assignments)


def test_bounds_are_changed_added_and_dropped_by_their_metric() -> None:
    constraints: list[dict[str, JsonValue]] = [{"metric": "macs", "maximum": 5.0}, {"metric": "top1", "minimum": 0.5}]
    changed = constraints_with(constraints, ["macs:le:3e8", "macs:ge:1", "latency_us:le:8000"], ["top1"])
    assert changed == [
        {"metric": "macs", "maximum": 3e8, "minimum": 1.0},
        {"metric": "latency_us", "maximum": 8000.0},
    ]
    assert constraints == [{"metric": "macs", "maximum": 5.0}, {"metric": "top1", "minimum": 0.5}]


@pytest.mark.parametrize("bound", ["macs", "macs:lt:3", "macs:le:many", "macs:le:inf", ":le:3"])
def test_what_is_no_bound_is_refused(bound: str) -> None:
    with pytest.raises(SpecFileError, match="write METRIC:le"):
        constraints_with([], [bound], [])


def test_dropping_what_is_not_bounded_says_what_is() -> None:
    with pytest.raises(SpecFileError, match="this search bounds macs"):
        constraints_with([{"metric": "macs", "maximum": 5.0}], [], ["top1"])
