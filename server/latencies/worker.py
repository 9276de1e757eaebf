"""FIT jobs: a predictor of latency learned from what was measured, or made of a table; stored as plain arrays."""

from __future__ import annotations

import json
from collections.abc import Callable

from nas_engine.cost.calibrated_tables import served_table
from nas_engine.cost.calibrated_tables.table_fit import fit_table
from nas_engine.cost.prediction.served_fit import NOMINAL, LeftOutQuality, fit_served
from nas_engine.cost.prediction.served_predictor import MEDIA_TYPE
from nas_engine.domain.errors import EngineError
from nas_engine.domain.metrics import LATENCY_US
from server.artifacts.artifacts import Artifacts
from server.jobs.job import Job, LeaseRef
from server.latencies.predictors.fits import FitOrder, Fits
from server.latencies.predictors.predictor import FitQuality
from server.spaces.catalog import SpaceCatalog


class FitHandler:
    """Does FIT jobs: some seconds each."""

    def __init__(self, work: Fits, spaces: SpaceCatalog, artifacts: Artifacts) -> None:
        self._work = work
        self._spaces = spaces
        self._artifacts = artifacts

    def __call__(self, job: Job, lease: LeaseRef, stopped: Callable[[], bool]) -> None:
        """Fit one predictor; returns early once stopped."""
        order = self._work.start(lease)
        try:
            found = self._made(order, stopped)
        except EngineError as error:
            self._work.give_up(lease, order, str(error))
            return
        if found is None:
            return
        content, media_type, model, judged = found
        stored = self._artifacts.put(content, media_type)
        quality = FitQuality(
            nominal=NOMINAL,
            coverage=judged.coverage,
            num_left_out=judged.num_left_out,
            num_folds=judged.num_folds,
            mean_relative_error=judged.mean_relative_error,
            median_relative_width=judged.median_relative_width,
            kendall_tau=judged.kendall_tau,
        )
        self._work.finish(lease, order, stored.sha256, model, quality)

    def _made(self, order: FitOrder, stopped: Callable[[], bool]) -> tuple[bytes, str, str, LeftOutQuality] | None:
        """The file to serve, its type, what it is made by, and how it did; None where it was stopped."""
        predictor, samples = order.predictor, order.samples
        space = self._spaces.space(predictor.space_id, json.loads(predictor.parameters))
        genotypes, latencies_us = [one.genotype for one in samples], [one.latency_us for one in samples]
        if order.table is not None:
            calibrated = fit_table(space, order.table, genotypes, latencies_us, stopped)
            if calibrated is None:
                return None
            table, quality = calibrated
            return table.to_bytes(), served_table.MEDIA_TYPE, f"table_{table.sums.kind}", quality
        errors = [one.standard_error_us for one in samples]
        found = fit_served(space.genes, LATENCY_US, genotypes, latencies_us, errors, stopped)
        return None if found is None else (found[0].to_bytes(), MEDIA_TYPE, found[1], found[2])
