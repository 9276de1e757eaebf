"""Ranking studies: accuracies with inherited weights and stand-alone, and how far the two orders agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from nas_engine.domain.json_value import AS_DOCUMENT
from server.access.principal import Principal
from server.candidates.candidate import HeldOutAccuracy
from server.candidates.states import DesiredState
from server.spaces.architecture import ArchitectureRecord
from server.studies.spec import RankingStudySpec
from server.studies.states import StudyEntryState, StudyState
from server.training.training import TrainingProgress


class Ranker(Protocol):
    """Function that correlates two orders of the same architectures."""

    def __call__(self, inherited: Sequence[float], standalone: Sequence[float], num_local: int) -> RankingResult:
        """Global correlation, and the correlation inside the `num_local` best by `standalone`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """Agreement of two orders; null where one side has no two different values."""

    __pydantic_config__ = AS_DOCUMENT

    kendall_tau: float | None
    """Kendall's tau-b between the two orders, -1 to 1."""

    p_value: float | None
    """Probability of such a tau if the orders were unrelated, 0 to 1."""

    spearman: float | None
    """Spearman's rank correlation of the two orders, -1 to 1."""

    num: int
    """Number of architectures compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingResult:
    """How far the supernet's order agrees with the order by stand-alone accuracy."""

    __pydantic_config__ = AS_DOCUMENT

    overall: Correlation
    """Correlation over every architecture that is done: the global tau."""

    local: Correlation
    """Correlation inside the best `num_local` of them by stand-alone accuracy: the local tau."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingStudy:
    """One study.

    Attributes:
        id: ``study_...``.
        dataset: what the spec or else the supernet names.
        num_entries, num_done, num_failed: architectures in all, judged both ways, given up.
        result: None before two are done.
        version: grows with every change.
    """

    id: str
    spec: RankingStudySpec
    supernet_id: str
    supernet_version_id: str
    dataset: str
    state: StudyState
    desired_state: DesiredState = DesiredState.RUNNING
    reason: str = ""
    num_entries: int
    num_done: int = 0
    num_failed: int = 0
    result: RankingResult | None = None
    created_by: str | None = None
    owner: Principal | None = None
    created_at: datetime
    finished_at: datetime | None = None
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyEntry:
    """One architecture of a study.

    Attributes:
        number: 1 for the first.
        inherited, standalone: accuracy with the supernet's weights, and trained from scratch, on the same validation
            images; None before they are known.
        progress: of its stand-alone training.
        resume_artifact_sha256, resume_step: last resumable checkpoint of that.
    """

    study_id: str
    number: int
    record: ArchitectureRecord
    state: StudyEntryState
    reason: str = ""
    inherited: HeldOutAccuracy | None = None
    standalone: HeldOutAccuracy | None = None
    progress: TrainingProgress = field(default_factory=TrainingProgress)
    resume_artifact_sha256: str | None = None
    resume_step: int = 0
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyQuery:
    """Which studies to list; None and () do not filter. Newest first."""

    states: tuple[StudyState, ...] = ()
    supernet_id: str | None = None
    owner: str | None = None
