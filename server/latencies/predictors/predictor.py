"""Fitted predictors of latency as records: for which networks on which hardware, and how far to believe them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from nas_engine.domain.json_value import AS_DOCUMENT

MIN_FITTED = 30
"""Measured architectures below which nothing is fitted: intervals of 90 % need that many to be more than the range."""

MAX_FITTED = 400
"""Newest measured architectures that a predictor learns from: fitting grows with their cube."""

REFIT_SHARE, REFIT_LEAST = 0.5, 20
"""A predictor is fitted anew after half as many new measurements as it stands on, and no fewer than 20: a fit takes
ten times as long as a measurement, and fits of a growing number of measurements stay a bounded share of the work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedGroup:
    """What one predictor is of: latencies of different groups are not comparable."""

    device_type: str
    hardware_key: str
    space_id: str
    parameters: str

    @property
    def space_key(self) -> str:
        """sha256 of the space and its canonical parameters, which are too long for an index."""
        return space_key(self.space_id, self.parameters)


def space_key(space_id: str, parameters: str) -> str:
    """sha256 of a space's id and its canonical parameters."""
    return hashlib.sha256(f"{space_id}\n{parameters}".encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class FitQuality:
    """How a predictor did on networks that were left out of everything: choice of model, fit and interval."""

    __pydantic_config__ = AS_DOCUMENT

    nominal: float
    """Share of new measurements that intervals are made to hold."""

    coverage: float
    """Share of left-out networks whose measured latency lay within their interval."""

    num_left_out: int
    """Number of networks that were left out, each once."""

    num_folds: int
    """Number of parts in which they were left out."""

    mean_relative_error: float
    """Mean absolute error on left-out networks over their measured latency, as a fraction."""

    median_relative_width: float
    """Median width of the intervals of left-out networks over their measured latency, as a fraction."""

    kendall_tau: float | None
    """Kendall's tau of predicted and measured order of left-out networks; null where all are equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyPredictor:
    """A predictor of one group, or the count of measurements until there is one.

    Attributes:
        id: ``lpre_...``.
        num_seen: measurements of the group that were counted.
        num_seen_at_fit: of them when it was fitted.
        num_fitted: architectures it was fitted to; 0 before the first fit.
        artifact_sha256: of its arrays; None before the first fit.
        quality: None before the first fit.
        newest_measurement_id: of those it was fitted to.
        trouble: why the last fit failed; empty where it did not.
        fitted_at: None before the first fit.
    """

    id: str
    device_type: str
    hardware_key: str
    space_id: str
    parameters: str
    space_key: str
    num_seen: int = 0
    num_seen_at_fit: int = 0
    num_fitted: int = 0
    model: str = ""
    artifact_sha256: str | None = None
    quality: FitQuality | None = None
    newest_measurement_id: str | None = None
    trouble: str = ""
    created_at: datetime
    fitted_at: datetime | None = None
    version: int = 1

    @property
    def num_new(self) -> int:
        """Measurements since the last fit."""
        return self.num_seen - self.num_seen_at_fit

    @property
    def refit_after(self) -> int:
        """New measurements after which it is fitted anew, or for the first time."""
        if self.num_fitted == 0 and self.num_seen_at_fit == 0:
            return MIN_FITTED
        return max(REFIT_LEAST, int(REFIT_SHARE * self.num_fitted))

    @property
    def is_due(self) -> bool:
        """Whether so much is new that it is to be fitted."""
        return self.num_new >= self.refit_after
