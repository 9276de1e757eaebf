"""FIT jobs: a predictor of latency learned from what was measured, stored as plain arrays."""

from __future__ import annotations

import json
from collections.abc import Callable

from nas_engine.cost.prediction.served_fit import NOMINAL, fit_served
from nas_engine.cost.prediction.served_predictor import MEDIA_TYPE
from nas_engine.domain.errors import EngineError
from nas_engine.domain.metrics import LATENCY_US
from server.artifacts.artifacts import Artifacts
from server.jobs.job import Job, LeaseRef
from server.latencies.predictors.fits import Fits
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
        predictor, samples = order.predictor, order.samples
        try:
            space = self._spaces.space(predictor.space_id, json.loads(predictor.parameters))
            found = fit_served(
                space.genes,
                LATENCY_US,
                [one.genotype for one in samples],
                [one.latency_us for one in samples],
                [one.standard_error_us for one in samples],
                stopped,
            )
        except EngineError as error:
            self._work.give_up(lease, order, str(error))
            return
        if found is None:
            return
        served, model, judged = found
        stored = self._artifacts.put(served.to_bytes(), MEDIA_TYPE)
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
