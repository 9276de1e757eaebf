"""The spec that an amendment of a search gives, or everything that is wrong with the amendment."""

from __future__ import annotations

from collections.abc import Sequence

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metrics import MACS, PARAMS, PEAK_ACTIVATION_BYTES
from nas_engine.domain.plugins.doors import Door
from server.candidates.search import Search
from server.candidates.spec import SearchSpec, parse_search_spec
from server.core.errors import InvalidSpecError, SpecViolation, json_pointer
from server.core.merge_patch import differences, merged
from server.searches.amending.amendment import AMENDABLE, SearchAmendment, SpecChange

ALWAYS_COUNTED = tuple(metric.name for metric in (MACS, PARAMS, PEAK_ACTIVATION_BYTES))
"""Metrics that every candidate with a layer graph has, whether its search wants them or not."""


def amended_spec(search: Search, amendment: SearchAmendment) -> SearchSpec:
    """Give the spec of a search with an amendment written into it.

    Raises:
        InvalidSpecError: a member cannot be amended, the budget is below what was asked already, a constraint is on a
            metric that the candidates so far have no value of, or a value is wrong; everything at once.
    """
    if found := [_not_amendable(name) for name in amendment.patch if name not in AMENDABLE]:
        raise InvalidSpecError(found)
    before: JsonValue = search.spec.model_dump(mode="json")
    document = merged(before, dict(amendment.patch))
    assert isinstance(document, dict)
    if amendment.num_candidates is not None:
        document["budget"] = {"num_candidates": amendment.num_candidates}
    if amendment.priority is not None:
        document["priority"] = amendment.priority
    if amendment.labels is not None:
        document["labels"] = dict(amendment.labels)
    if document == before:
        return search.spec
    spec = parse_search_spec(document)
    if found := [*_budget(search, spec), *_constraints(search, spec)]:
        raise InvalidSpecError(found)
    return spec


def changes_of(old: SearchSpec, new: SearchSpec) -> tuple[SpecChange, ...]:
    """Say in which members two specs differ; lists, of constraints and of a target, are one member each."""
    found = differences(old.model_dump(mode="json"), new.model_dump(mode="json"))
    return tuple(SpecChange(pointer=json_pointer(path), old=before, new=after) for path, before, after in found)


def _not_amendable(name: str) -> SpecViolation:
    known = ", ".join(AMENDABLE)
    message = f"cannot be amended while a search runs, only {known}: clone the search with this change instead"
    return SpecViolation(json_pointer((name,)), message)


def _budget(search: Search, spec: SearchSpec) -> Sequence[SpecViolation]:
    num_asked = search.progress.num_asked
    if spec.budget == search.spec.budget or spec.budget.num_candidates >= num_asked:
        return ()
    message = (
        f"{num_asked} candidates were asked already: the budget cannot be below that; {num_asked} asks no more and "
        "finishes these"
    )
    return [SpecViolation("/budget/num_candidates", message, feasible_minimum=float(num_asked))]


def _constraints(search: Search, spec: SearchSpec) -> Sequence[SpecViolation]:
    if spec.constraints == search.spec.constraints:
        return ()
    if any(used.door is Door.ALGORITHMS for used in search.plugins):
        message = (
            f"algorithm {spec.algorithm.kind} comes from a package and cannot be given other constraints on its way: "
            "clone the search with them"
        )
        return [SpecViolation("/constraints", message)]
    had = {metric.name for metric in search.spec.metrics()}
    return [
        SpecViolation(
            f"/constraints/{place}/metric",
            f"the candidates of this search have no value of {one.metric}: constrain one of "
            f"{', '.join(dict.fromkeys((*sorted(had), *ALWAYS_COUNTED)))}, or clone the search with this constraint",
        )
        for place, one in enumerate(spec.constraints)
        if one.metric not in had and one.metric not in ALWAYS_COUNTED
    ]
