"""Declares accuracy under noise. Light: server and workers read it; workers alone import what evaluates it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from hilnas import Goal, MetricDeclaration, MetricSource


class NoiseSettings(BaseModel):
    """Settings of accuracy under noise."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    standard_deviation: float = Field(default=0.5, ge=0, le=10)
    """Standard deviation of the noise, in units of the normalised pixels."""

    seed: int = Field(default=0, ge=0, le=2**31)
    """Seed of the noise, which is the same for all candidates of a search."""


METRIC = MetricDeclaration(
    name="noisy_top1",
    title="Accuracy on validation images with Gaussian noise.",
    label="accuracy under noise",
    unit="fraction",
    goal=Goal.MAXIMIZE,
    source=MetricSource.EVALUATED,
    settings=NoiseSettings,
    implementation="hilnas_noisy_accuracy_evaluation:noisy_top1",
    minimum=0.0,
    maximum=1.0,
)
