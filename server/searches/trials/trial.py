"""Trials: candidates whose external metrics evaluators outside bring. Each is a job, leased by an evaluator's name."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.domain.metric import Metric
from nas_engine.domain.text import did_you_mean
from server.artifacts.artifact import WeightsOrigin
from server.candidates.candidate import Candidate
from server.candidates.search import Search
from server.candidates.spec import SearchSpec
from server.core.errors import InvalidSpecError, SpecViolation
from server.jobs.job import Job

MAX_LEASE_S = 86_400.0
"""Longest lease that an evaluator may ask for; a longer evaluation renews it."""

Z_95 = 1.959963984540054
"""Half the width of a 95 % interval of a normal distribution, in standard errors."""


class Fault(Enum):
    """Whose fault it is that a trial failed."""

    EVALUATOR = "evaluator"  # tried again while attempts are left
    ARCHITECTURE = "architecture"  # the candidate is infeasible: no attempt could end otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldValue:
    """A value that an evaluator tells.

    Attributes:
        value: in the metric's unit.
        standard_error: in the same unit; None where it is not known, or exact.
    """

    value: float
    standard_error: float | None = None


def standard_error_of(value: float, low: float, high: float) -> float:
    """Standard error behind a 95 % interval, of its longer side where it is lopsided: never surer than it was told.

    Raises:
        ValueError: the interval does not hold the value.
    """
    if not low <= value <= high:
        raise ValueError(f"the 95 % interval {low:g} to {high:g} does not hold the value {value:g}")
    return max(value - low, high - value) / Z_95


@dataclass(frozen=True, slots=True)
class TrialModel:
    """Where the ONNX file of a trial's network is.

    Attributes:
        weights: whose they are: `random` is good for latency and energy alone.
        sha256: of the file, an artifact; None for one that is made when it is asked for.
    """

    url: str
    weights: WeightsOrigin
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A trial with what an evaluator needs for it.

    Attributes:
        job: it; its id is the trial's, its lease the evaluator's.
        wanted: metrics that are wanted of the evaluator.
        layer_graph: the DEPLOYED graph as a document; None for a space without graphs.
        model: the network as an ONNX file; None for a space without graphs.
    """

    job: Job
    search: Search
    candidate: Candidate
    wanted: tuple[Metric, ...]
    layer_graph: JsonValue = None
    model: TrialModel | None = None


def check_told(spec: SearchSpec, wanted: Sequence[str], told: Mapping[str, ToldValue]) -> None:
    """Refuse what cannot be the values of these metrics.

    Raises:
        InvalidSpecError: a violation per member of `metrics` that is unknown, missing, not finite or out of bounds.
    """
    found = [
        SpecViolation(
            f"/metrics/{name}",
            f"{name!r} is not wanted of this trial: it wants {', '.join(wanted)}{did_you_mean(name, wanted)}",
        )
        for name in told
        if name not in wanted
    ]
    found += [
        SpecViolation("/metrics", f"{name} is missing: a trial is told with every metric that it wants, or failed")
        for name in wanted
        if name not in told
    ]
    of_name = {one.metric: one for one in spec.external}
    for name in (name for name in wanted if name in told and name in of_name):
        one, declared = told[name], of_name[name]
        low, high = declared.bounds()
        unit = declared.declared().unit
        error = one.standard_error
        if not math.isfinite(one.value):
            found.append(SpecViolation(f"/metrics/{name}/value", f"{name} is {one.value}: tell a finite number"))
        elif not low <= one.value <= high:
            message = f"{name} is {one.value:g} {unit}".rstrip() + f": it is declared within {low:g} to {high:g}"
            found.append(SpecViolation(f"/metrics/{name}/value", message))
        if error is not None and not (math.isfinite(error) and error >= 0):
            message = f"the standard error of {name} is {error}: tell a finite number of at least 0, or none"
            found.append(SpecViolation(f"/metrics/{name}/standard_error", message))
    if found:
        raise InvalidSpecError(found)


def digest_of(answer: JsonValue) -> str:
    """sha256 of what an evaluator answered: tells a repeated answer from another one."""
    return hashlib.sha256(canonical_json(answer).encode()).hexdigest()
