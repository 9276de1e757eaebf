"""Constraints that nothing meets: how near a search came, and what the database says before it starts."""

from __future__ import annotations

from collections.abc import Sequence

from nas_engine.domain.json_value import canonical_json
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import LATENCY_US, words_for
from nas_engine.domain.objective import Constraint
from nas_engine.domain.uncertainty import value_text
from server.candidates.candidate import Candidate
from server.candidates.candidate_store import CandidateStore
from server.candidates.search import Search
from server.core.database.transaction import Transaction
from server.fleet.device import HardwareProfile
from server.measuring.measurement import measurement_kind
from server.measuring.store import MeasurementStore
from server.spaces.descriptions import SpaceDescription


def nothing_feasible(tx: Transaction, search: Search) -> str | None:
    """Say how near the candidates of a search that would end came to its constraints.

    Returns:
        None where a candidate meets all of them, or none is complete.
    """
    constraints = search.spec.domain_constraints()
    if not constraints:
        return None
    if search.spec.shifting is not None and search.progress.front_size:
        return None  # judged by accuracies of one version of the weights, which are not the candidates' own
    complete = CandidateStore(tx).all_complete_candidates(search.id)
    # How far values are outside all bounds together, each relative to its bound; 0 inside.
    distances = [
        sum(one.violation(candidate.values[one.metric]) for one in constraints if one.metric in candidate.values)
        for candidate in complete
    ]
    if not complete or not all(distances):
        return None
    nearest = complete[distances.index(min(distances))]
    return f"no candidate met {asked_text(constraints)}: {_nearest(constraints, nearest)}; {len(complete)} infeasible"


def unmet_by_measurements(
    tx: Transaction,
    constraints: Sequence[Constraint],
    space: SpaceDescription,
    hardware: HardwareProfile,
    latency: Metric = LATENCY_US,
) -> tuple[str, ...]:
    """Warn of bounds on a latency that nothing of a space that was measured under its hardware key meets."""
    warnings = []
    kind = measurement_kind(hardware.key.identity.device_class)
    for constraint in constraints:
        if constraint.metric != latency:
            continue
        found = MeasurementStore(tx).measured_range(
            hardware.hardware_key, space.id, canonical_json(dict(space.parameters)), kind
        )
        if found is None:
            continue
        if constraint.maximum is not None and found.fastest.p50_us > constraint.maximum:
            nearest = found.fastest
        elif constraint.minimum is not None and found.slowest.p50_us < constraint.minimum:
            nearest = found.slowest
        else:
            continue
        warnings.append(
            f"none of the {found.num_architectures} architectures of {space.id} that were {kind.value} on this "
            f"hardware meets {asked_text([constraint])}: nearest {value_text(nearest.p50_us, LATENCY_US.unit)}, "
            f"arch {nearest.arch_id[:12]}"
        )
    return tuple(warnings)


def asked_text(constraints: Sequence[Constraint]) -> str:
    """Write bounds for people: ``latency <= 10 us and validation accuracy >= 90 %``."""
    bounds = []
    for one in constraints:
        if one.minimum is not None:
            bounds.append(f"{words_for(one.metric)} >= {value_text(one.minimum, one.metric.unit)}")
        if one.maximum is not None:
            bounds.append(f"{words_for(one.metric)} <= {value_text(one.maximum, one.metric.unit)}")
    return " and ".join(bounds)


def _nearest(constraints: Sequence[Constraint], candidate: Candidate) -> str:
    values = candidate.values
    metrics = list(dict.fromkeys(one.metric for one in constraints if one.metric in values))
    if len(metrics) == 1:
        return f"nearest {value_text(values[metrics[0]], metrics[0].unit)}, arch {candidate.arch_id[:12]}"
    return f"nearest {values_text(metrics, candidate)}, arch {candidate.arch_id[:12]}"


def values_text(metrics: Sequence[Metric], candidate: Candidate) -> str:
    """Write what a candidate has of some metrics, all of them known: ``latency 10 us, validation accuracy 90 %``."""
    return ", ".join(f"{words_for(one)} {value_text(candidate.values[one], one.unit)}" for one in metrics)
