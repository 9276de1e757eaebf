"""Latency tables and their reports on the wire."""

from __future__ import annotations

from pydantic import AwareDatetime

from nas_engine.domain.measuring.environment import Dtype
from server.access.schemas import Owner
from server.candidates.states import CandidateState, SearchState
from server.core.http.resources import Id, Resource
from server.latency_tables.batch import EstimateAgreement


class LatencyTableRowResource(Resource):
    """One operator of a latency table."""

    latency_key: str
    """Key of the operator, made of its structure, shapes, batch and data type; equal operators stand once."""

    label: str
    """Place and operator where it first stands in the space."""

    state: CandidateState
    """State of its measurement, as the server keeps it."""

    latency_us: float | None
    """Median latency in microseconds, measured by the device; null before it is measured."""

    flags: list[str]
    """Reasons why the latency may not be trusted, set by the server; empty where valid."""


class LatencyTableResource(Resource):
    """The latency of each operator of a search space on one device, each operator measured stand-alone."""

    id: Id
    """Id of the table; those of the first release begin with `srch_`."""

    name: str
    """Name of the table for people, from its spec."""

    state: SearchState
    """State that the server keeps the table in."""

    reason: str
    """Reason of its state for people; empty where there is none."""

    space_id: str
    """Id of the search space whose operators are measured."""

    hardware_key: str | None
    """Digest of the hardware key that latencies are filed under; null before it is resolved."""

    batch: int
    """Number of images per inference, from the spec's device."""

    dtype: Dtype
    """Arithmetic that operators run in, from the spec's device."""

    num_operators: int
    """Number of distinct operators of the table."""

    num_measured: int
    """Number of operators that have a latency so far, counted by the server."""

    created_at: AwareDatetime
    """Time at which the table was created, RFC 3339 in UTC."""

    owner: Owner = None
    """Principal that ordered the table; null without authentication."""


class LatencyTableDetail(LatencyTableResource):
    """A table with its operators."""

    rows: list[LatencyTableRowResource]
    """Operators of the table with their latencies, in the space's order."""

    waiting_for: str = ""
    """What its measurements wait for, in words for people from the server: a board that is away, or one with another
    configuration; empty where there is nothing to say."""


class CostReportRowResource(Resource):
    """One sampled network: its estimates from the table, and its measured latency."""

    candidate_id: Id
    """Id of the sampled network within the report."""

    arch_id: str
    """Identity of its architecture: SHA-256 of its canonical JSON."""

    state: CandidateState
    """State of its measurement, as the server keeps it."""

    estimates_us: dict[str, float]
    """Estimated latency in microseconds by estimator; empty where the table lacks one of its operators."""

    missing: str
    """Operator that the table lacks, in words; empty where it has all."""

    latency_us: float | None
    """Median latency in microseconds, measured end to end by the device; null before it is measured."""

    flags: list[str]
    """Reasons why the measured latency may not be trusted, set by the server; empty where valid."""


class CostReportResource(Resource):
    """A comparison of a table's estimates for sampled networks with what a board measures of them."""

    id: Id
    """Id of the report; those of the first release begin with `srch_`."""

    table_id: Id
    """Id of the latency table that estimates are taken from."""

    name: str
    """Name of the report for people, from its spec."""

    state: SearchState
    """State that the server keeps the report in."""

    reason: str
    """Reason of its state for people; empty where there is none."""

    seed: int
    """Seed of the random draw of networks, from its spec."""

    logit_std: float
    """Standard deviation of the architecture parameters that networks of a DenseNAS space are derived from."""

    num_networks: int
    """Number of networks that the report samples."""

    num_measured: int
    """Number of networks that are measured so far, counted by the server."""

    created_at: AwareDatetime
    """Time at which the report was created, RFC 3339 in UTC."""

    owner: Owner = None
    """Principal that ordered the report; null without authentication."""


class CostReportDetail(CostReportResource):
    """A report with its figures, as far as networks are measured."""

    agreements: list[EstimateAgreement]
    """Agreement of each estimator with the measurements; empty below two measured networks."""

    rows: list[CostReportRowResource]
    """Sampled networks with their estimates and latencies."""

    waiting_for: str = ""
    """What its measurements wait for, in words for people from the server: a board that is away, or one with another
    configuration; empty where there is nothing to say."""
