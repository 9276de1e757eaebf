"""Declares hill climbing. Light: server and workers read it; only workers import `hilnas_hill_climb_search`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from hilnas import AlgorithmDeclaration


class HillClimbSettings(BaseModel):
    """Settings of hill climbing."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    batch_size: int = Field(default=4, ge=1, le=1000)
    """Number of neighbours that are evaluated at a time."""

    num_changes: int = Field(default=1, ge=1, le=8)
    """Number of genes in which a neighbour differs."""


ALGORITHM = AlgorithmDeclaration(
    name="hill_climb",
    title="Hill climbing: neighbours of members of the front",
    settings=HillClimbSettings,
    implementation="hilnas_hill_climb_search:HillClimb",
)
