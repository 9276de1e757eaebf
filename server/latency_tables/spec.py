"""Specs of latency tables and of their reports."""

from __future__ import annotations

from pydantic import Field

from nas_engine.settings.base import Labels, Name, Seed, SpaceSpec, SpecPart
from server.candidates.boards import MeasurementSpec
from server.core.spec_documents import parse_spec
from server.fleet.device_spec import DeviceSpec

MAX_BATCH = 10_000


class LatencyTableSpec(SpecPart):
    """A latency table to be measured. The batch and data type of `device` are part of every entry's key."""

    name: Name = "latency table"
    """Name of the table for people, shown in lists."""

    space: SpaceSpec
    """Search space whose operators are measured."""

    device: DeviceSpec
    """Device to measure on, with the batch (DenseNAS's published tables: 32) and the data type."""

    measurement: MeasurementSpec = Field(default_factory=MeasurementSpec)
    """Settings of how the operators are measured."""

    priority: int = Field(default=0, ge=-100, le=100)
    """Priority of the table's jobs; those with a higher one are leased first."""

    labels: Labels = Field(default_factory=dict)
    """Labels of the table by name, for people and filters."""


def parse_latency_table_spec(document: object) -> LatencyTableSpec:
    """A latency table's spec from a JSON document.

    Raises:
        InvalidSpecError: one violation per place that is wrong.
    """
    return parse_spec(LatencyTableSpec, document)


class CostReportSpec(SpecPart):
    """Which networks a report samples. They are measured as the table was: same hardware, batch and data type."""

    name: Name = "cost report"
    """Name of the report for people, shown in lists."""

    num_networks: int = Field(default=50, ge=2, le=10_000)
    """Number of networks that are measured end to end (the paper compares 1,500)."""

    seed: Seed = 0
    """Seed of the random draw of networks."""

    logit_std: float = Field(default=1.0, gt=0, le=1000)
    """Standard deviation of the architecture parameters that networks of a DenseNAS space are derived from."""

    priority: int = Field(default=0, ge=-100, le=100)
    """Priority of the report's jobs; those with a higher one are leased first."""

    labels: Labels = Field(default_factory=dict)
    """Labels of the report by name, for people and filters."""


def parse_cost_report_spec(document: object) -> CostReportSpec:
    """A report's spec from a JSON document.

    Raises:
        InvalidSpecError: one violation per place that is wrong.
    """
    return parse_spec(CostReportSpec, document)
