"""Ranking studies on the wire."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from server.candidates.states import DesiredState
from server.core.http.resources import CountedQuery, Id, Json, Resource, Text
from server.studies.spec import RankingStudySpec
from server.studies.states import StudyEntryState, StudyState
from server.studies.study import RankingResult
from server.training.schemas import TrainingProgressResource


class StudyListQuery(CountedQuery):
    """Which ranking studies."""

    state: list[StudyState] = Field(default_factory=list)
    """Any of these."""

    supernet_id: Text | None = None
    """Of this supernet."""


class RankingStudyResource(Resource):
    """One ranking study."""

    id: Id
    name: str
    state: StudyState
    desired_state: DesiredState
    reason: str
    spec: RankingStudySpec
    supernet_id: Id
    supernet_version_id: Id
    """The weights under study."""

    dataset: str
    num_entries: int
    """Architectures in all."""

    num_done: int
    num_failed: int
    """Left out of the result; their entries say why."""

    result: RankingResult | None
    """As far as the study is; null before two architectures are done."""

    created_by: Id | None
    created_at: datetime
    finished_at: datetime | None
    version: int
    """Grows with every change of this document."""


class HeldOutAccuracyResource(Resource):
    """Right answers on the validation images."""

    top1: float
    """Fraction, 0 to 1."""

    standard_error: float
    """Binomial."""

    num_images: int


class StudyEntryResource(Resource):
    """One architecture of a ranking study."""

    number: int
    """1 for the first."""

    arch_id: str
    genotype: list[int] | None
    """Null where the architecture lies outside the space's own choices."""

    architecture: Json
    """The space's own description."""

    macs: int | None
    params: int | None
    state: StudyEntryState
    reason: str
    shared: HeldOutAccuracyResource | None
    """With the supernet's weights."""

    alone: HeldOutAccuracyResource | None
    """Trained from scratch; on the same images."""

    progress: TrainingProgressResource
    """Of the training alone."""

    finished_at: datetime | None
