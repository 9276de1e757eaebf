"""What a search step starts from and what it commits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metric import Metric
from server.candidates.candidate import Candidate, Evaluation, MetricValue
from server.candidates.search import Search, SearchCheckpoint
from server.candidates.states import EndReason
from server.core.errors import InvalidValueError
from server.jobs.states import JobKind
from server.spaces.architecture import ArchitectureRecord, KnownValue


@dataclass(frozen=True, slots=True)
class FinishedCandidate:
    """A candidate to be told, with every evaluation it has."""

    candidate: Candidate
    evaluations: tuple[Evaluation, ...]


@dataclass(frozen=True, slots=True)
class CurrentVersionAccuracies:
    """Which told candidates may be compared, as their accuracies are of the search's current supernet version.

    Attributes:
        genotypes: those, and the infeasible ones, which have no accuracy to compare.
        not_scored: ids of candidates that were to be scored with this version and could not be.
    """

    genotypes: frozenset[Genotype]
    not_scored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepInput:
    """What a step starts from.

    Attributes:
        checkpoint: of the last committed step; None for the first.
        finished: candidates in a final state that were not told yet, in the order they were asked. COMPLETE ones are
            told; INFEASIBLE ones with their reason as violation; FAILED ones are reported, and told nothing of.
        revised: told candidates that have newer evaluations than the last step knew.
        num_left: candidates the budget still allows.
        measured: for the first step of a search that starts from the measurement database: architectures measured
            on its hardware, newest first.
        work: what the work that the last step ordered ended with; None where it ordered none.
        expected_gains: what the candidates told last were expected to add when they were asked.
        current_accuracies: where a search shifts its supernet and compares within one version; else None.
        elapsed_s: seconds since the search began to run, by the database's clock.
        board_time_s: seconds in which devices held its jobs; 0 where no stop rule asks.
        amended: whether its constraints were amended since the checkpoint; `revised` holds all told candidates then.
    """

    search: Search
    checkpoint: SearchCheckpoint | None
    finished: tuple[FinishedCandidate, ...]
    revised: tuple[FinishedCandidate, ...]
    num_left: int
    measured: tuple[Architecture, ...] = ()
    work: FinishedLongJob | None = None
    expected_gains: Mapping[Genotype, float] = field(default_factory=dict)
    current_accuracies: CurrentVersionAccuracies | None = None
    elapsed_s: float = 0.0
    board_time_s: float = 0.0
    amended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCandidate:
    """A candidate the algorithm asked.

    Attributes:
        latency_key: needed where latency is wanted.
        latency_keys: the same of further boards, by their names in the spec.
        known: values that need no evaluation (a table of results); those that the search wants are recorded at once.
        model_sha256: a model file made already, stored as artifact; None has it made by a conversion job.
        counted: values of metrics from the layer graph that the search wants beside those of the record.
        expected_gain, expected_gain_reason: see Candidate.
        provenance: operator and parents, as the algorithm tells them.
    """

    genotype: Genotype
    record: ArchitectureRecord
    latency_key: str | None = None
    latency_keys: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[Metric, KnownValue] = field(default_factory=dict)
    counted: Mapping[Metric, MetricValue] = field(default_factory=dict)
    model_sha256: str | None = None
    provenance: JsonValue = None
    expected_gain: float | None = None
    expected_gain_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftOrder:
    """Long-running job that a step orders: shift the supernet towards the candidates asked with it, then score them.

    Attributes:
        survivors: ids of told candidates that they will be compared with: scored again with the same version.
        state_sha256: what the last shift ended with; None before the first.
    """

    survivors: tuple[str, ...] = ()
    state_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class DeriveOrder:
    """Long-running job that a step orders: run the differentiable search of one cost factor, counted from 0."""

    number: int


LongJobOrder = ShiftOrder | DeriveOrder
"""Long-running job that a step may order; see `server.searches.steps.long_jobs`."""


@dataclass(frozen=True, slots=True)
class FinishedLongJob:
    """Long-running job that the last step ordered, with its result."""

    kind: JobKind
    result: JsonValue


class StepStatus(Enum):
    """What comes after a step."""

    CONTINUE = "continue"
    COMPLETED = "completed"  # budget used up, space exhausted, or a stop rule held
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchStepOutcome:
    """What a step commits.

    Attributes:
        observed: ids of the candidates of `finished` it took in (FAILED ones too: they are dealt with).
        asked: new candidates, in the order asked.
        checkpoint: the algorithm's state after telling and asking.
        status, reason: what comes next, and why.
        end_reason: why it ends, where that has a name.
        generation: generations completed.
        num_unmet, front_size, hypervolume, reference_point: of everything told; see SearchProgress.
        re_measure: ids of told candidates whose latency is to be taken again.
        final_evaluations: ids of told candidates to be classified on test images and exported with inherited weights.
        work: long-running job that must end before the next step; with a ShiftOrder, accuracies follow from it.
        report: what the algorithm says of itself, by topic; topics replace those of earlier steps.
    """

    observed: tuple[str, ...]
    asked: tuple[NewCandidate, ...]
    checkpoint: JsonValue
    code_version: str
    status: StepStatus = StepStatus.CONTINUE
    reason: str = ""
    end_reason: EndReason | None = None
    generation: int = 0
    front_size: int = 0
    hypervolume: float | None = None
    reference_point: tuple[float, ...] | None = None
    num_unmet: int | None = None
    re_measure: tuple[str, ...] = field(default=())
    final_evaluations: tuple[str, ...] = field(default=())
    work: LongJobOrder | None = None
    report: Mapping[str, JsonValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = [*(self.reference_point or ()), *([] if self.hypervolume is None else [self.hypervolume])]
        if not all(math.isfinite(number) for number in numbers):
            raise InvalidValueError(f"hypervolume or reference point of a step is not finite: {numbers}")
        orders = bool(self.asked or self.work or self.re_measure or self.final_evaluations)
        if self.status is not StepStatus.CONTINUE and orders:
            raise InvalidValueError(f"a step that ends its search as {self.status.value} cannot ask for more")
        if self.status is StepStatus.CONTINUE and not (orders or self.observed):
            raise InvalidValueError("a step that tells and asks nothing cannot continue: it would repeat for ever")


class StepVerdict(Enum):
    """Whether a step was committed."""

    COMMITTED = "committed"
    DISCARDED = "discarded"  # the search was paused or cancelled meanwhile: nothing was written, nothing is lost
