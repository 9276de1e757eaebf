"""The spec of a ranking study: does a supernet rank architectures as stand-alone training does?"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from nas_engine.settings.base import Identifier, Labels, Name, Seed, SpaceSpec, SpecPart
from nas_engine.settings.evaluation import SharedEvaluationSettings
from nas_engine.settings.strategies import StandaloneSettings
from nas_engine.settings.training import NetworkSpec, TrainingSettings
from server.core.spec_documents import parse_spec

MAX_ARCHITECTURES = 1000
Architectures = Annotated[tuple[Any, ...], Field(max_length=MAX_ARCHITECTURES)]


class StandaloneTraining(TrainingSettings, StandaloneSettings):
    """How each architecture is trained stand-alone, from scratch, by one process."""

    @model_validator(mode="after")
    def _one_process(self) -> StandaloneTraining:
        if self.num_processes != 1:
            raise ValueError("num_processes must be 1: the workers share out the architectures of a study instead")
        if self.train_on_held_out:
            raise ValueError("train_on_held_out is not for studies: they compare accuracies on the held-out images")
        return self


class RankingStudySpec(SpecPart):
    """Architectures evaluated with a supernet's weights and trained stand-alone, and how far the two orders agree."""

    name: Name = "ranking study"
    """Name for people in lists and pages."""

    supernet: str = Field(min_length=1, max_length=100)
    """Supernet (`sup_...`, in requests also its name: its newest version) or version (`supv_...`) under study."""

    dataset: Identifier | None = None
    """Data set of both trainings and of the comparison; absent: the supernet's."""

    architectures: Architectures = ()
    """Published names, genotypes, or the space's own form; give these or `num_architectures`."""

    num_architectures: int | None = Field(default=None, ge=2, le=MAX_ARCHITECTURES)
    """Number of different architectures drawn uniformly from the space with `seed`; give this or `architectures`."""

    num_local: int = Field(default=10, ge=2, le=MAX_ARCHITECTURES)
    """Number of the best architectures by stand-alone accuracy inside which the local correlation is taken; all where
    there are fewer."""

    training: StandaloneTraining
    """How each architecture is trained stand-alone; its seed gives the weights and the order of images."""

    evaluation: SharedEvaluationSettings = Field(default_factory=SharedEvaluationSettings)
    """How architectures are evaluated with weights inherited from the supernet."""

    seed: Seed = 0
    """Seed that the architectures are drawn with."""

    priority: int = Field(default=0, ge=-100, le=100)
    """Jobs with a higher priority are done first."""

    labels: Labels = Field(default_factory=dict)
    """Labels for people and for filters of lists."""

    @model_validator(mode="after")
    def _one_source(self) -> RankingStudySpec:
        if bool(self.architectures) is (self.num_architectures is not None):
            raise ValueError("give exactly one of architectures and num_architectures")
        if len(self.architectures) == 1:
            raise ValueError("one architecture has no order: give two or more")
        return self

    def network_spec(self, space: SpaceSpec, dataset: str) -> NetworkSpec:
        """Build the spec of one of the architectures as a network, as training jobs take it."""
        shared = (*TrainingSettings.model_fields, *StandaloneSettings.model_fields)
        settings = {name: getattr(self.training, name) for name in shared}
        return NetworkSpec.model_validate({**settings, "space": space, "dataset": dataset})


def parse_ranking_study_spec(document: object) -> RankingStudySpec:
    """A ranking study's spec from a JSON document.

    Raises:
        InvalidSpecError: one violation per place that is wrong.
    """
    return parse_spec(RankingStudySpec, document)
