"""The search spec: the one documented document a search is made of. Its JSON Schema comes from here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from nas_engine.domain.dominance import Dominance
from nas_engine.domain.measuring.image_set import MAX_IMAGES
from nas_engine.domain.measuring.profile import ProfileName
from nas_engine.domain.objective import Constraint, Metric, Objective
from nas_engine.settings.algorithms import (
    AlgorithmSettings,
    Nsga2Settings,
    WarmStartSettings,
)
from nas_engine.settings.base import (
    ConstraintSpec,
    Identifier,
    Labels,
    Name,
    ObjectiveSpec,
    Seed,
    SpaceSpec,
    SpecPart,
)
from nas_engine.settings.evaluation import EvaluationSettings
from nas_engine.settings.shifting import Comparison, ShiftingSettings
from nas_engine.settings.training import TrainingSpec
from server.core.spec_documents import parse_spec
from server.fleet.device_spec import DeviceSpec


class FinalSpec(SpecPart):
    """What is done with the front once nothing more is asked."""

    on_device_accuracy: bool = False
    """Have the search's device classify test images with the deployable models of the front, so that what its
    arithmetic loses against the float network is seen. Needs a device that executes models, and a supernet."""

    num_images: int | None = Field(default=None, ge=1, le=MAX_IMAGES)
    """Test images it classifies, evenly drawn and the same for every model; absent: all."""

    timeout_s: float = Field(default=3600.0, gt=0, le=86_400)
    """Longest one model may take on the device, fetching the images included, seconds."""


class BudgetSpec(SpecPart):
    """When a search is done."""

    num_candidates: int = Field(ge=1, le=1_000_000)
    """Architectures asked in all; measuring one again costs nothing of it."""


class MeasurementSpec(SpecPart):
    """How latency is measured."""

    profile: ProfileName = "standard"
    """How thoroughly."""

    validity_policy: Literal["require", "accept_flagged"] = "require"
    """`require`: only valid measurements steer the search (boards). `accept_flagged`: noisy ones too, shown as such."""

    reuse: bool = True
    """Take a measurement made before under the same latency key and hardware key instead of measuring again."""

    confirm: Literal["none", "front", "confident"] = "none"
    """What is measured once more before the search ends: nothing, its front, or everything that is not dominated beyond
    its 95 % confidence interval. A front that changes by it is confirmed again; each candidate at most once."""

    max_attempts: int = Field(default=3, ge=1, le=20)
    """Tries per model, after which its candidates are reported as failed."""

    timeout_s: float = Field(default=300.0, gt=0, le=86_400)
    """Longest one measurement may take on the device, seconds."""


SupernetChoice = Annotated[
    Annotated[Annotated[str, Field(min_length=1, max_length=100)], Tag("id")]
    | Annotated[TrainingSpec, Tag("training")],
    Discriminator(lambda value: "id" if isinstance(value, str) else "training"),
]


class SearchSpec(SpecPart):
    """Everything a search is. The same spec with the same told results asks the same candidates."""

    name: Name = "search"
    """For people."""

    space: SpaceSpec
    """Which architectures."""

    supernet: SupernetChoice | None = None
    """Id of a trained supernet (`sup_...`), or a training spec that makes one; needed where top1 is wanted, unless the
    space is a table of results that holds it."""

    dataset: Identifier | None = None
    """Data set accuracy is evaluated on; absent: the supernet's."""

    objectives: tuple[ObjectiveSpec, ...] = Field(min_length=1, max_length=5)
    """What is optimised."""

    constraints: tuple[ConstraintSpec, ...] = Field(default=(), max_length=16)
    """What must hold."""

    algorithm: AlgorithmSettings = Field(default_factory=Nsga2Settings)
    """Who proposes candidates."""

    budget: BudgetSpec
    """When it is done."""

    shifting: ShiftingSettings | None = None
    """Move the supernet's weights during the search; absent: they stay as they are. Goes with nsga2, scarlet_nsga2,
    spos_evolution and binned_evolution."""

    dominance: Dominance = Dominance.POINT
    """When one candidate is better than another, for the front and, with nsga2 and scarlet_nsga2, for who survives:
    `point` compares values; `confident` their 95 % confidence intervals (of the median latency, of the accuracy), so
    that noise decides nothing: what cannot be told apart stays."""

    warm_start: WarmStartSettings | None = None
    """Architectures to evaluate first; absent: the algorithm's own initial sample."""

    device: DeviceSpec | None = None
    """On what latency is measured; needed where latency_us is wanted, unless the space is a table of results that holds
    it."""

    measurement: MeasurementSpec = Field(default_factory=MeasurementSpec)
    """How latency is measured."""

    evaluation: EvaluationSettings = Field(default_factory=EvaluationSettings)
    """How accuracy is evaluated."""

    final: FinalSpec = Field(default_factory=FinalSpec)
    """What is done with the front once nothing more is asked."""

    seed: Seed = 0
    """Of the algorithm."""

    priority: int = Field(default=0, ge=-100, le=100)
    """Jobs of a search with a higher priority are done first."""

    labels: Labels = Field(default_factory=dict)
    """For people and filters."""

    @model_validator(mode="after")
    def _consistent(self) -> SearchSpec:
        names = [objective.metric for objective in self.objectives]
        if len(set(names)) != len(names):
            raise ValueError(f"objectives name a metric twice: {', '.join(names)}")
        wanted = {metric.label for metric in self.metrics()}
        if self.final.on_device_accuracy and (self.device is None or self.supernet is None):
            raise ValueError("final.on_device_accuracy needs a device and a supernet: name both")
        self._check_shifting()
        self.algorithm.check_metrics(names, wanted)
        return self

    def _check_shifting(self) -> None:
        if self.shifting is None:
            return
        if reason := self.algorithm.NO_SHIFTING:
            raise ValueError(f"shifting does not go with {self.algorithm.kind}: {reason}; take nsga2")
        if Metric.TOP1 not in self.metrics():
            raise ValueError("shifting needs top1 as an objective or a constraint")
        if self.shifting.new_head and self.dataset is None:
            raise ValueError("shifting.new_head needs dataset: the one with the new classes")

    def domain_objectives(self) -> tuple[Objective, ...]:
        """The objectives as domain values, in order."""
        return tuple(o.objective() for o in self.objectives)

    def domain_constraints(self) -> tuple[Constraint, ...]:
        """The constraints as domain values, in order."""
        return tuple(c.constraint() for c in self.constraints)

    @property
    def crosses_versions(self) -> bool:
        """Whether accuracies of several supernet versions are compared, as this spec asks for."""
        return self.shifting is not None and self.shifting.compare is Comparison.IMMEDIATE

    def metrics(self) -> tuple[Metric, ...]:
        """Every metric an objective or a constraint needs, each once."""
        labels = [o.metric for o in self.objectives] + [c.metric for c in self.constraints]
        return tuple(dict.fromkeys(Metric.from_label(label) for label in labels))

    def awaited_metrics(self) -> tuple[Metric, ...]:
        """Those of `metrics` that must be evaluated or measured: a candidate is complete when they are there."""
        return tuple(metric for metric in self.metrics() if not metric.cheap)


def parse_search_spec(document: object) -> SearchSpec:
    """A search spec from a JSON document.

    Raises:
        InvalidSpecError: one violation per place that is wrong.
    """
    return parse_spec(SearchSpec, document)


def search_spec_schema() -> dict[str, Any]:
    """JSON Schema of the search spec."""
    return SearchSpec.model_json_schema()
