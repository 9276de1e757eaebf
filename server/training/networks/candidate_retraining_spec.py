"""The spec of a candidate's retraining."""

from __future__ import annotations

from pydantic import Field

from nas_engine.settings.base import Identifier, Labels, Name
from nas_engine.settings.strategies import ModelFiles, StandaloneSettings
from nas_engine.settings.training import TrainingSettings
from server.core.spec_documents import parse_spec

STANDALONE_FIELDS = (*StandaloneSettings.model_fields, *ModelFiles.model_fields)


class CandidateRetrainingSpec(TrainingSettings, StandaloneSettings, ModelFiles):
    """How a candidate is trained stand-alone; space and architecture are its own."""

    name: Name | None = None
    """Name of the network for people, shown in lists; absent: named after the candidate."""

    dataset: Identifier | None = None
    """Registered data set; absent: the search's, or else its supernet's."""

    inherit: bool = False
    """Start from the weights of the search's supernet; off: from scratch."""

    labels: Labels = Field(default_factory=dict)
    """Labels of the network by name, for people and filters; `search` and `candidate` are added."""


def parse_candidate_retraining_spec(document: object) -> CandidateRetrainingSpec:
    """Settings of a candidate's retraining from a JSON document.

    Raises:
        InvalidSpecError: one violation per place that is wrong.
    """
    return parse_spec(CandidateRetrainingSpec, document)
