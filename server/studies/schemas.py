"""Ranking studies on the wire."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from server.access.schemas import Owner, OwnerName
from server.candidates.states import DesiredState
from server.core.http.resources import CountedQuery, Id, Json, Resource, Text
from server.studies.spec import RankingStudySpec
from server.studies.states import StudyEntryState, StudyState
from server.studies.study import RankingResult
from server.training.schemas import TrainingProgressResource


class StudyListQuery(CountedQuery):
    """Filters of a list of ranking studies."""

    state: list[StudyState] = Field(default_factory=list)
    """Studies in any of these states."""

    supernet_id: Text | None = None
    """Studies of this supernet, by its id."""

    owner: OwnerName = None
    """Name or id of a principal; only what it owns is listed."""


class RankingStudyResource(Resource):
    """A ranking study with its spec, state and correlations."""

    id: Id
    """Identifier of the study, given by the server."""

    name: str
    """Name for people, from the spec."""

    state: StudyState
    """State of the study as the server sees it."""

    desired_state: DesiredState
    """State its owner asked for; `state` follows it."""

    reason: str
    """Why it is in this state; empty where there is nothing to say."""

    spec: RankingStudySpec
    """The spec as it was posted, with defaults filled in."""

    supernet_id: Id
    """Supernet whose ranking is studied."""

    supernet_version_id: Id
    """Version of the supernet's weights under study."""

    dataset: str
    """Name of the data set of training and comparison."""

    num_entries: int
    """Number of architectures compared in all."""

    num_done: int
    """Number of architectures with both accuracies."""

    num_failed: int
    """Number of architectures left out of the result; their entries say why."""

    result: RankingResult | None
    """Rank correlations over what is done so far; null before two architectures are."""

    created_by: Id | None
    """Token that created it; null without authentication."""

    owner: Owner = None
    """Principal that owns it: whose token that was; null without authentication."""

    created_at: datetime
    """Time at which it was created, RFC 3339."""

    finished_at: datetime | None
    """Time at which it ended, RFC 3339; null before."""

    version: int
    """Number that grows with every change of this document."""


class HeldOutAccuracyResource(Resource):
    """Top-1 accuracy on the validation images."""

    top1: float
    """Fraction of validation images classified correctly, 0 to 1."""

    standard_error: float
    """Binomial standard error of top1, computed from num_images."""

    num_images: int
    """Number of validation images classified."""


class StudyEntryResource(Resource):
    """One architecture of a ranking study."""

    number: int
    """Number in the study, 1 for the first."""

    arch_id: str
    """Digest of the canonical architecture."""

    genotype: list[int] | None
    """One choice index per gene; null where the architecture lies outside the space's own choices."""

    architecture: Json
    """The architecture in the search space's own description."""

    macs: int | None
    """Multiply-accumulate operations of one inference, counted from the layer graph."""

    params: int | None
    """Number of parameters, counted from the layer graph."""

    state: StudyEntryState
    """State of the entry, from queued to done or failed."""

    reason: str
    """Why it is in this state; empty where there is nothing to say."""

    shared: HeldOutAccuracyResource | None
    """Accuracy with weights inherited from the supernet; null before it is known."""

    alone: HeldOutAccuracyResource | None
    """Accuracy of the stand-alone network, trained from scratch, on the same images; null before it is known."""

    progress: TrainingProgressResource
    """Progress of the stand-alone training."""

    finished_at: datetime | None
    """Time at which the entry ended, RFC 3339; null before."""
