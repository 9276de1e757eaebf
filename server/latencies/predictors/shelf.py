"""Fitted predictors as the API process holds them: plain arrays, read once each. No scikit-learn, no scipy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import cast

from nas_engine.cost.calibrated_tables.served_table import ServedTable
from nas_engine.cost.prediction.served_predictor import ServedEstimates, ServedPredictor
from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import EngineError
from nas_engine.domain.json_value import JsonValue
from server.artifacts.artifacts import Artifacts
from server.latencies.predictors.predictor import EstimateMethod, LatencyPredictor
from server.spaces.catalog import SpaceCatalog

MAX_HELD = 256
"""Predictors held at a time: some 10 to 500 kB each."""


class PredictorShelf:
    """Estimates with fitted predictors. Thread-safe."""

    def __init__(self, artifacts: Artifacts, spaces: SpaceCatalog) -> None:
        self._artifacts = artifacts
        self._spaces = spaces
        self._held = lru_cache(maxsize=MAX_HELD)(self._read)

    def estimate(self, predictor: LatencyPredictor, genotypes: Sequence[Genotype]) -> ServedEstimates:
        """Estimate architectures of the predictor's space, in microseconds; NaN where its table lacks an operator.

        Raises:
            EngineError: the predictor is not fitted, damaged, or the space has other genes by now.
            ServiceError: its file cannot be read.
        """
        if predictor.artifact_sha256 is None:
            raise EngineError(f"predictor {predictor.id} is not fitted yet")
        served = self._held(predictor.artifact_sha256, predictor.method)
        parameters = cast("Mapping[str, JsonValue]", json.loads(predictor.parameters))
        if not served.is_of(self._spaces.space(predictor.space_id, parameters).genes):
            raise EngineError(f"space {predictor.space_id} has other genes than predictor {predictor.id} was fitted to")
        return served.estimate(genotypes)

    def _read(self, sha256: str, method: EstimateMethod) -> ServedPredictor | ServedTable:
        kind = ServedTable if method is EstimateMethod.TABLE else ServedPredictor
        return kind.from_bytes(self._artifacts.read(sha256))
