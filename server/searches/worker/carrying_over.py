"""WHAT_IF jobs: which candidates to measure on a new board, and what all of them take there by what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_engine.cost.transfer.covariance import NetworkCovariance
from nas_engine.cost.transfer.planning import first_measurements, next_measurements
from nas_engine.cost.transfer.transfer import LatencyTransfer, TransferEstimates, TransferQuality, estimate_all
from nas_engine.domain.errors import EngineError
from nas_engine.domain.metrics import LATENCY_US
from nas_engine.domain.objective import Objective
from nas_engine.domain.views.operator_totals import operator_totals
from server.artifacts.artifacts import Artifacts
from server.candidates.candidate import Candidate
from server.jobs.job import Job, LeaseRef
from server.latencies.predictors.predictor import FitQuality
from server.latency_tables.batch import EntryState
from server.searches.fronts.fronts import Front, FrontMaths, Fronts
from server.searches.what_if.documents import MEDIA_TYPE, write_carried
from server.searches.what_if.what_if import (
    NUM_NEXT,
    CarriedNetwork,
    CarriedOver,
    ChosenNetwork,
    LatencyKind,
    WhatIfState,
)
from server.searches.what_if.work import WhatIfOrder, WhatIfWork
from server.spaces.catalog import SpaceCatalog

Floats = NDArray[np.float64]
Stopped = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class _Networks:
    """The candidates of a search whose objectives are known, by number.

    Attributes:
        minimized: their objectives on the search's own board, (num_candidates, num_objectives), smaller is better.
        place: of the latency among the objectives.
        feasible: whether they meet the constraints that do not ask for a latency.
    """

    objectives: tuple[Objective, ...]
    candidates: tuple[Candidate, ...]
    covariance: NetworkCovariance
    minimized: Floats
    place: int
    feasible: tuple[bool, ...]


class WhatIfHandler:
    """Does WHAT_IF jobs: a layer graph of every candidate takes some 10 to 30 ms, the rest about a second."""

    def __init__(self, work: WhatIfWork, fronts: Fronts, spaces: SpaceCatalog, artifacts: Artifacts) -> None:
        self._work = work
        self._fronts = fronts
        self._spaces = spaces
        self._artifacts = artifacts

    def __call__(self, job: Job, lease: LeaseRef, stopped: Stopped) -> None:
        """Plan or fit one, as its state says; returns early once stopped."""
        order = self._work.start(lease)
        try:
            networks = self._networks(self._fronts.of_search(order.what_if.search_id, with_dominated=True), stopped)
            if networks is None:
                return
            if order.what_if.state is WhatIfState.FITTING:
                carried, quality = _carried_over(networks, order)
                stored = self._artifacts.put(write_carried(carried), MEDIA_TYPE)
                self._work.fitted(lease, order, stored.sha256, quality)
            else:
                num = order.what_if.spec.num_measurements
                rows = first_measurements(networks.covariance, networks.minimized, num)
                self._work.planned(lease, order, [networks.candidates[row].id for row in rows])
        except EngineError as error:
            self._work.give_up(lease, order, str(error))

    def _networks(self, front: Front, stopped: Stopped) -> _Networks | None:
        """Read the candidates' layer graphs; None once stopped."""
        candidates = tuple(sorted((*front.points, *front.dominated), key=lambda one: one.seq))
        if not candidates:
            raise EngineError(f"search {front.search.id} has no candidate whose objectives are all known")
        totals = []
        for one in candidates:
            if stopped():
                return None
            graph = self._spaces.graph(one.record.architecture)
            if graph is None:
                raise EngineError(f"architecture {one.arch_id} has no layer graph that could be measured")
            totals.append(operator_totals(graph).ravel())
        constraints = [one for one in front.search.spec.domain_constraints() if one.metric != LATENCY_US]
        rows = [
            [o.minimized(value) for o, value in zip(front.objectives, front.values(one), strict=True)]
            for one in candidates
        ]
        return _Networks(
            objectives=front.objectives,
            candidates=candidates,
            covariance=NetworkCovariance(
                [one.values[LATENCY_US] for one in candidates],
                np.asarray(totals),
                [one.record.genotype or one.genotype for one in candidates],
            ),
            minimized=np.asarray(rows),
            place=[one.metric for one in front.objectives].index(LATENCY_US),
            feasible=tuple(
                all(
                    constraint.metric not in one.values or constraint.satisfied(one.values[constraint.metric])
                    for constraint in constraints
                )
                for one in candidates
            ),
        )


def _carried_over(networks: _Networks, order: WhatIfOrder) -> tuple[CarriedOver, FitQuality]:
    """Estimate what was not measured, keep what was, and compare all. Raises EngineError."""
    chosen = {one.candidate_id: one for one in order.what_if.chosen}
    of_row = [chosen.get(candidate.id) for candidate in networks.candidates]
    measured = {row: one for row, one in enumerate(of_row) if one is not None and one.state is EntryState.MEASURED}
    rejected = {row for row, one in enumerate(of_row) if one is not None and one.state is EntryState.REJECTED}
    transfer = LatencyTransfer(
        networks.covariance, list(measured), [one.latency_us or 0.0 for one in measured.values()]
    )
    estimates = estimate_all(transfer)
    barred = rejected | {row for row, feasible in enumerate(networks.feasible) if not feasible}
    others = np.delete(networks.minimized, networks.place, axis=1)
    settling, shares = next_measurements(transfer, others, NUM_NEXT, barred)
    latency_us = estimates.values.copy()
    for row, one in measured.items():
        latency_us[row] = one.latency_us
    values = networks.minimized.copy()
    values[:, networks.place] = latency_us
    objectives = networks.objectives
    # Turning is its own inverse.
    rows = [tuple(o.minimized(v) for o, v in zip(objectives, row, strict=True)) for row in values.tolist()]
    compared = [row for row in range(len(rows)) if row not in barred]
    best = FrontMaths().non_dominated(objectives, [rows[row] for row in compared])
    on_front = {compared[place] for place in best}
    carried = [
        _network(
            networks,
            row,
            rejected=row in rejected,
            measured=measured.get(row),
            measured_as=order.measured_as,
            estimates=estimates,
            values=rows[row],
            on_front=row in on_front,
            front_share=float(shares[row]),
        )
        for row in range(len(rows))
    ]
    found = CarriedOver(
        metrics=tuple(one.metric.name for one in objectives),
        networks=tuple(carried),
        next_candidate_ids=tuple(networks.candidates[row].id for row in settling),
    )
    return found, _quality(estimates.quality)


def _network(
    networks: _Networks,
    row: int,
    *,
    rejected: bool,
    measured: ChosenNetwork | None,
    measured_as: LatencyKind,
    estimates: TransferEstimates,
    values: tuple[float, ...],
    on_front: bool,
    front_share: float,
) -> CarriedNetwork:
    candidate = networks.candidates[row]
    latency: tuple[float | None, float | None, float | None] = (None, None, None)
    if rejected:
        kind = LatencyKind.REJECTED
    elif measured is not None:
        kind, latency = measured_as, (measured.latency_us, measured.low_us, measured.high_us)
    else:
        kind = LatencyKind.ESTIMATED
        latency = float(estimates.values[row]), float(estimates.low[row]), float(estimates.high[row])
    return CarriedNetwork(
        candidate_id=candidate.id,
        seq=candidate.seq,
        arch_id=candidate.arch_id,
        kind=kind,
        latency_us=latency[0],
        low_us=latency[1],
        high_us=latency[2],
        old_latency_us=candidate.values[LATENCY_US],
        values=() if rejected else values,
        is_feasible=networks.feasible[row],
        on_front=on_front,
        front_share=front_share,
        measurement_id=None if measured is None else measured.measurement_id,
    )


def _quality(found: TransferQuality) -> FitQuality:
    return FitQuality(
        nominal=found.nominal,
        coverage=found.coverage,
        num_left_out=found.num_left_out,
        num_folds=found.num_left_out,
        mean_relative_error=found.mean_relative_error,
        median_relative_width=found.median_relative_width,
        kendall_tau=found.kendall_tau,
    )
