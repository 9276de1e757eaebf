"""Specs of latency tables and of their reports."""

from __future__ import annotations

from pydantic import Field

from nas_engine.settings.base import Labels, Name, Seed, SpaceSpec, SpecPart
from server.candidates.spec import MeasurementSpec
from server.core.spec_documents import parse_spec
from server.fleet.device_spec import DeviceSpec

MAX_BATCH = 10_000


class LatencyTableSpec(SpecPart):
    """A latency table to be measured. The batch and data type of `device` are part of every entry's key."""

    name: Name = "latency table"
    """For people."""

    space: SpaceSpec
    """Whose operators."""

    device: DeviceSpec
    """On what, with which batch (DenseNAS's published tables: 32) and data type."""

    measurement: MeasurementSpec = Field(default_factory=MeasurementSpec)
    """How to measure."""

    priority: int = Field(default=0, ge=-100, le=100)
    """Jobs with a higher priority are done first."""

    labels: Labels = Field(default_factory=dict)
    """For people and filters."""


def parse_latency_table_spec(document: object) -> LatencyTableSpec:
    """A latency table's spec from a JSON document.

    Raises:
        InvalidSpecError: one violation per place that is wrong.
    """
    return parse_spec(LatencyTableSpec, document)


class CostReportSpec(SpecPart):
    """Which networks a report samples. They are measured as the table was: same hardware, batch and data type."""

    name: Name = "cost report"
    """For people."""

    num_networks: int = Field(default=50, ge=2, le=10_000)
    """Networks that are measured end to end (the paper compares 1,500)."""

    seed: Seed = 0
    """Of the networks drawn."""

    logit_std: float = Field(default=1.0, gt=0, le=1000)
    """Standard deviation of the architecture parameters that networks of a DenseNAS space are derived from."""

    priority: int = Field(default=0, ge=-100, le=100)
    """Jobs with a higher priority are done first."""

    labels: Labels = Field(default_factory=dict)
    """For people and filters."""


def parse_cost_report_spec(document: object) -> CostReportSpec:
    """A report's spec from a JSON document.

    Raises:
        InvalidSpecError: one violation per place that is wrong.
    """
    return parse_spec(CostReportSpec, document)
