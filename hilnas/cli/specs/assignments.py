"""Changes of a spec on the command line: members that are set by their path, bounds by their metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import yaml

from hilnas.client.errors import SpecFileError
from nas_engine.domain.json_value import JsonValue


def patch_of(assignments: Sequence[str]) -> dict[str, JsonValue]:
    """Give the JSON merge patch of assignments such as ``budget.num_candidates=200``; null takes a member away.

    Raises:
        SpecFileError: one is no assignment, or two are of the same member.
    """
    patch: dict[str, JsonValue] = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        names = path.strip().split(".")
        if not equals or not all(names):
            raise SpecFileError(
                f"--set {assignment}: write a member of the spec and its value, such as budget.num_candidates=200"
            )
        try:
            value = cast(JsonValue, yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise SpecFileError(f"--set {assignment}: the value is no JSON or YAML: {error}") from error
        _put(patch, names, value, assignment)
    return patch


def _put(patch: dict[str, JsonValue], names: Sequence[str], value: JsonValue, assignment: str) -> None:
    at: dict[str, Any] = patch
    for name in names[:-1]:
        at = at.setdefault(name, {})
        if not isinstance(at, dict):
            raise SpecFileError(f"--set {assignment}: {name} was set to a value before, it has no members")
    if names[-1] in at:
        raise SpecFileError(f"--set {assignment}: {'.'.join(names)} is set twice")
    at[names[-1]] = value


def constraints_with(
    constraints: Sequence[Mapping[str, JsonValue]], bounds: Sequence[str], dropped: Sequence[str]
) -> list[JsonValue]:
    """Give constraints with some bounds changed or added, and those on some metrics taken away.

    Args:
        constraints: as a spec has them.
        bounds: such as ``latency_us:le:8000``.
        dropped: metrics.

    Raises:
        SpecFileError: a bound is none, or nothing bounds a metric that is dropped.
    """
    names = [str(one["metric"]) for one in constraints]
    for metric in dropped:
        if metric not in names:
            known = ", ".join(names) or "nothing"
            raise SpecFileError(f"--drop-bound {metric}: this search bounds {known}")
    found = [dict(one) for one in constraints if one["metric"] not in dropped]
    for bound in bounds:
        metric, side, number = _bound(bound)
        own = next((one for one in found if one["metric"] == metric), None)
        if own is None:
            own = {"metric": metric}
            found.append(own)
        own[side] = number
    return [*found]


def latency_limit(texts: Sequence[str]) -> dict[str, float] | None:
    """Read limits of latency by board, such as ``8@rk3588``; one without a board is of the search's own device.

    Raises:
        SpecFileError: one is no number above 0, or two are of one board.
    """
    from server.candidates.boards import OWN_DEVICE

    found: dict[str, float] = {}
    for text in texts:
        number, _, board = text.partition("@")
        try:
            most = float(number)
        except ValueError:
            most = math.nan
        if not (math.isfinite(most) and most > 0):
            raise SpecFileError(f"{text}: write a number above 0, and @BOARD after it for one of several boards")
        if (board or OWN_DEVICE) in found:
            raise SpecFileError(f"{text}: there is a limit on this board already")
        found[board or OWN_DEVICE] = most
    return found or None


def _bound(text: str) -> tuple[str, str, float]:
    match text.split(":"):
        case [metric, "le" | "ge" as side, number] if metric:
            try:
                value = float(number)
            except ValueError:
                value = math.nan
            if math.isfinite(value):
                return metric, "maximum" if side == "le" else "minimum", value
    raise SpecFileError(f"--bound {text}: write METRIC:le|ge:NUMBER, such as latency_us:le:8000")
