"""Latency tables and their reports on the wire."""

from __future__ import annotations

from pydantic import AwareDatetime

from nas_engine.settings.base import DtypeName
from server.candidates.states import CandidateState, SearchState
from server.core.http.resources import Id, Resource


class LatencyTableRowResource(Resource):
    """One operator."""

    latency_key: str
    """Structure, shapes, batch and data type; equal operators stand once."""

    label: str
    """Place and operator where it first stands."""

    state: CandidateState
    latency_us: float | None
    """Median; null before it is measured."""

    flags: list[str]
    """Why the latency may not be trusted; empty where valid."""


class LatencyTableResource(Resource):
    """What each operator of a search space costs on one device, measured alone."""

    id: Id
    """Of the table; those of the first release begin with `srch_`."""

    name: str
    state: SearchState
    reason: str
    space_id: str
    hardware_key: str | None
    batch: int
    dtype: DtypeName
    num_operators: int
    num_measured: int
    created_at: AwareDatetime


class LatencyTableDetail(LatencyTableResource):
    """A table with its operators."""

    rows: list[LatencyTableRowResource]


class CostReportRowResource(Resource):
    """One sampled network: what the table said of it, and what was measured."""

    candidate_id: Id
    arch_id: str
    state: CandidateState
    estimates_us: dict[str, float]
    """By estimator; empty where the table lacks an operator of it."""

    missing: str
    """Which one, in words; empty where it has all."""

    latency_us: float | None
    """Measured end to end; null before it is measured."""

    flags: list[str]
    """Why the measured latency may not be trusted; empty where valid."""


class EstimateAgreementResource(Resource):
    """How well one estimator agrees with the measurements of the same networks."""

    estimator: str
    """`chained` and `local`: of the architecture parameters (DenseNAS). `operators`: sum of the network's own."""

    num_networks: int
    kendall_tau: float | None
    """Of the order, -1 to 1; null where all of one side are equal."""

    mean_absolute_error_us: float
    mean_relative_error: float
    mean_error_us: float
    """Estimate less measurement: positive where the estimator is too high."""


class CostReportResource(Resource):
    """A table's estimates of sampled networks against what a board measures of them."""

    id: Id
    """Of the report; those of the first release begin with `srch_`."""

    table_id: Id
    name: str
    state: SearchState
    reason: str
    seed: int
    logit_std: float
    num_networks: int
    num_measured: int
    created_at: AwareDatetime


class CostReportDetail(CostReportResource):
    """A report with its figures, as far as networks are measured."""

    agreements: list[EstimateAgreementResource]
    """Empty below two measured networks."""

    rows: list[CostReportRowResource]
