"""What to ship at two latencies: by the search's answer, and by rules that measure less; all of them measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hilnas.client.client import Hilnas
from nas_engine.domain.uncertainty import Interval
from nas_engine.spaces.registry import create_space
from server.bootstrap.demo.rules import Known, PredictedPicks, picked_by_macs
from server.bootstrap.demo.specs import SPACE, picks_spec
from server.searches.answers.schemas import AnswerResource
from server.searches.candidate_schemas import CandidateResource

Follow = Callable[[str], None]
"""Shows a search until it has completed; raises RuntimeError where it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What one rule would ship at a bound.

    Attributes:
        rule: `measured`, `MACs`, `predictor` or `random`.
        latency_us: as measured, whatever the rule went by.
    """

    rule: str
    candidate: CandidateResource
    top1: Interval
    latency_us: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class AtBound:
    """What is shipped at one latency, by every rule that finds a network there."""

    bound_us: float
    answer: AnswerResource
    choices: tuple[Choice, ...]


def measured_candidates(nas: Hilnas, search_id: str) -> list[CandidateResource]:
    """Candidates of a search with both values."""
    found = nas.searches.candidates(search_id)
    return [one for one in found if one.top1 is not None and one.latency is not None and one.macs is not None]


def intervals(candidate: CandidateResource) -> tuple[Interval, Interval]:
    """Validation accuracy and latency of a measured candidate."""
    assert candidate.top1 is not None
    assert candidate.latency is not None
    error = next(value.uncertainty for value in candidate.values if value.name == "top1")
    latency = Interval.of_error(candidate.latency.p50_us, candidate.latency.standard_error_us)
    return Interval.of_error(candidate.top1, error), latency


def two_bounds(latencies_us: Sequence[float]) -> list[float]:
    """Latencies that the members at one and two thirds of a front just keep, rounded up to two digits."""
    members = sorted(latencies_us)
    return sorted({_rounded_up(members[round((len(members) - 1) * share)]) for share in (1 / 3, 2 / 3)})


def choose(nas: Hilnas, supernet_id: str, search_id: str, bounds_us: Sequence[float], follow: Follow) -> list[AtBound]:
    """Ask the search for its answers, pick by the other rules, and measure what they pick where nobody has."""
    candidates = {one.id: one for one in measured_candidates(nas, search_id)}
    known = [_known(one) for one in candidates.values()]
    predicted = PredictedPicks(create_space(SPACE.id, SPACE.parameters), known)
    wanted = {bound: genotype for bound in bounds_us if (genotype := predicted.within(bound)) is not None}
    found = {tuple(one.genotype): one for one in candidates.values()}
    if missing := [genotype for genotype in dict.fromkeys(wanted.values()) if genotype not in found]:
        picks = nas.searches.create(picks_spec(supernet_id, missing))
        follow(picks.id)
        found |= {tuple(one.genotype): one for one in measured_candidates(nas, picks.id)}
    shipped = []
    for bound in bounds_us:
        answer = nas.searches.answer(search_id, latency_us=bound)
        by_macs = picked_by_macs(known, bound)
        rules = {
            "measured": None if answer.ship is None else candidates.get(answer.ship.candidate_id),
            "MACs": None if by_macs is None else candidates[by_macs.id],
            "predictor": found.get(wanted[bound]) if bound in wanted else None,
        }
        choices = tuple(_choice(rule, one) for rule, one in rules.items() if one is not None)
        shipped.append(AtBound(bound_us=bound, answer=answer, choices=choices))
    return shipped


def with_random(nas: Hilnas, shipped: Sequence[AtBound], random_search_id: str) -> list[AtBound]:
    """Add, at each bound, the most accurate that keeps it of a search that drew its candidates at random."""
    candidates = measured_candidates(nas, random_search_id)
    more = []
    for at in shipped:
        fitting = [one for one in candidates if one.latency is not None and one.latency.p50_us <= at.bound_us]
        best = max(fitting, key=lambda one: one.top1 or 0.0, default=None)
        more.append(at if best is None else replace(at, choices=(*at.choices, _choice("random", best))))
    return more


def _known(candidate: CandidateResource) -> Known:
    top1, latency = intervals(candidate)
    assert candidate.macs is not None
    return Known(
        candidate.id, tuple(candidate.genotype), candidate.generation, candidate.macs, top1.value, latency.value
    )


def _choice(rule: str, candidate: CandidateResource) -> Choice:
    top1, latency = intervals(candidate)
    return Choice(rule=rule, candidate=candidate, top1=top1, latency_us=latency)


def _rounded_up(value: float) -> float:
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return round(math.ceil(value / step) * step, 6)
