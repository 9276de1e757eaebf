"""Supernets, and the versions of their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from nas_engine.domain.json_value import JsonValue
from nas_engine.settings.base import SpaceSpec
from nas_engine.settings.training import TrainingSpec
from server.training.training import Training, words_of_training


@dataclass(frozen=True, slots=True, kw_only=True)
class Supernet(Training):
    """One weight-sharing network.

    Attributes:
        id: ``sup_...``.
        spec: how it is trained.
        latest_version_id: newest published weights; None before there are any.
    """

    spec: TrainingSpec
    latest_version_id: str | None = None

    @property
    def words(self) -> str:
        """What it is found by besides its state, its strategy among that."""
        return words_of_training(self, self.spec, self.spec.strategy.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernetVersion:
    """Weights of a supernet at one moment; evaluations name the version they were taken with.

    Attributes:
        id: ``supv_...``.
        number: 1 for the first of its supernet.
        weights_sha256: safetensors artifact.
        statistics: training loss and the like, for people.
        search_id: the search that shifted it; None for a training's result.
        parent_id: the version it was made from.
    """

    id: str
    supernet_id: str
    number: int
    weights_sha256: str
    statistics: JsonValue = None
    search_id: str | None = None
    parent_id: str | None = None
    created_at: datetime


def training_spec_of(version: SupernetVersion, spec: TrainingSpec) -> TrainingSpec:
    """The supernet's spec with the space of a version's weights: a search may have given them another classifier."""
    match version.statistics:
        case {"space": {"id": str(space_id), "parameters": Mapping() as parameters}} if version.search_id is not None:
            return spec.model_copy(update={"space": SpaceSpec(id=space_id, parameters=dict(parameters))})
        case _:
            return spec
