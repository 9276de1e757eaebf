"""Predictors of latency as records, of architectures or of a latency table: for what, and how far to believe them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from nas_engine.cost.calibrated_tables.served_table import MIN_NETWORKS
from nas_engine.domain.json_value import AS_DOCUMENT

MIN_FITTED = 30
"""Measured architectures below which nothing is fitted: intervals of 90 % need that many to be more than the range."""

MAX_FITTED = 400
"""Newest measured architectures that a predictor learns from: fitting grows with their cube."""

REFIT_SHARE, REFIT_LEAST = 0.5, 20
"""A predictor is fitted anew after half as many new measurements as it stands on, and no fewer than 20: a fit takes
ten times as long as a measurement, and fits of a growing number of measurements stay a bounded share of the work."""


class EstimateMethod(StrEnum):
    """What an estimate comes from."""

    PREDICTOR = "predictor"
    """Fitted to measured architectures."""

    TABLE = "table"
    """A latency table, calibrated by measured networks."""


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
class TableStanding:
    """What a latency table and its reports hold, for a predictor that is made of them."""

    __pydantic_config__ = AS_DOCUMENT

    basis: str
    """Digest of the table, its reports, and how many of their measurements may still steer."""

    fitted_basis: str = ""
    """The same when it was fitted; empty before."""

    num_operators: int = 0
    """Number of measured operators that it was fitted to; 0 before."""

    report_ids: tuple[str, ...] = ()
    """Reports whose networks it was calibrated by; none before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyPredictor:
    """A predictor of one group, or the count of measurements until there is one.

    There is one for each group that is fitted to measured architectures, and one for each complete latency table.

    Attributes:
        id: ``lpre_...``.
        table_id: the table; None where it is fitted to measured architectures.
        standing: of the table; None without one.
        num_seen: measurements of the group that were counted; of a table, networks that its reports compare.
        num_seen_at_fit: of them when it was fitted.
        num_fitted: architectures it was fitted to or calibrated by; 0 before the first fit.
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
    table_id: str | None = None
    standing: TableStanding | None = None
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
    def method(self) -> EstimateMethod:
        """What its estimates come from."""
        return EstimateMethod.PREDICTOR if self.table_id is None else EstimateMethod.TABLE

    @property
    def num_operators(self) -> int:
        """Measured operators that it was fitted to; 0 without a table, and before the first fit."""
        return 0 if self.standing is None else self.standing.num_operators

    @property
    def report_ids(self) -> tuple[str, ...]:
        """Reports of the table that it was calibrated by."""
        return () if self.standing is None else self.standing.report_ids

    @property
    def num_new(self) -> int:
        """Measurements since the last fit."""
        return max(self.num_seen - self.num_seen_at_fit, 0)

    @property
    def refit_after(self) -> int:
        """New measurements after which it is fitted anew, or for the first time; a table's at every change."""
        if self.standing is not None:
            return MIN_NETWORKS if self.num_fitted == 0 else 1
        if self.num_fitted == 0 and self.num_seen_at_fit == 0:
            return MIN_FITTED
        return max(REFIT_LEAST, int(REFIT_SHARE * self.num_fitted))

    @property
    def is_due(self) -> bool:
        """Whether so much is new that it is to be fitted."""
        if self.standing is not None:
            return self.num_seen >= MIN_NETWORKS and self.standing.basis != self.standing.fitted_basis
        return self.num_new >= self.refit_after

    @property
    def is_stale(self) -> bool:
        """Whether what is served stands on less than there is by now, or on what is no longer so."""
        if self.standing is not None:
            return self.standing.basis != self.standing.fitted_basis or bool(self.trouble)
        return self.is_due

    def tried(self, seen: LatencyPredictor) -> LatencyPredictor:
        """The same after a fit, or the attempt at one, to what was `seen` when it began: only more than that is new."""
        standing = self.standing
        if standing is not None and seen.standing is not None:
            standing = replace(standing, fitted_basis=seen.standing.basis)
        return replace(self, num_seen_at_fit=seen.num_seen, standing=standing)

    def withdrawn(self, trouble: str) -> LatencyPredictor:
        """The same with nothing to serve, and why."""
        standing = None if self.standing is None else TableStanding(basis=self.standing.basis)
        return replace(
            self, standing=standing, num_fitted=0, model="", artifact_sha256=None, quality=None, trouble=trouble
        )
