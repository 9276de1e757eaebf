"""Candidates, their evaluations, and the architectures they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measurement import Validity
from nas_engine.domain.measuring.paired import CorrectAnswers
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import stored_metric
from nas_engine.domain.plugins.doors import Provider
from server.candidates.boards import Board
from server.candidates.states import CandidateState, EvaluationSource
from server.core.errors import InvalidValueError
from server.core.ids import short_id
from server.spaces.architecture import ArchitectureRecord

CANCELLED_WITH_SEARCH = "the search was cancelled"
"""Reason of a candidate that was not finished when its search was cancelled; its state is FAILED, as clients of the
first release know it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricValue:
    """Current value of one metric of one candidate.

    Attributes:
        value: in the metric's unit; finite.
        uncertainty: standard error, same unit; None where not known, or exact.
        validity: VALID, or the worst flag of the measurement.
        flags: every flag of the measurement.
        source: how it was obtained.
    """

    metric: Metric
    value: float
    uncertainty: float | None = None
    validity: Validity = Validity.VALID
    flags: tuple[Validity, ...] = ()
    source: EvaluationSource


def counted_values(record: ArchitectureRecord, source: EvaluationSource) -> Mapping[Metric, MetricValue]:
    """Give what is known of an architecture without a board as the values of a candidate."""
    known = {stored_metric(name): value for name, value in record.values.items()}
    return {metric: MetricValue(metric=metric, value=value, source=source) for metric, value in known.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One architecture proposed by one search; unique within it.

    Attributes:
        id: ``cand_...``.
        seq: 1 for the first asked in the search; observations are passed on in this order.
        generation: of the algorithm, 0 for the initial sample.
        record: which architecture it is.
        genotype: as the algorithm asked it; its observation carries it.
        latency_key: what its latency is filed under; None where latency is not wanted.
        latency_keys: the same of the further boards that its search names, by their names there.
        state, reason: where it stands, and why, for people.
        current: its current value of each metric that is known.
        model_sha256: the exported model that was measured; None where nothing was exported.
        final_model_sha256: the deployable model with inherited weights, made with its accuracy on test images.
        told_seq: step in which the algorithm observed it; None before.
        expected_gain: hypervolume that it was expected to add when it was asked, as a share of what the search had
            reached; None where nothing could be said.
        expected_gain_reason: why nothing could be said; empty where something was.
        provenance: how it came about (operator, parents), as the algorithm tells it.
    """

    id: str
    search_id: str
    seq: int
    generation: int
    record: ArchitectureRecord
    genotype: Genotype
    latency_key: str | None = None
    latency_keys: Mapping[str, str] = field(default_factory=dict)
    state: CandidateState = CandidateState.ASKED
    reason: str = ""
    current: Mapping[Metric, MetricValue] = field(default_factory=dict)
    model_sha256: str | None = None
    final_model_sha256: str | None = None
    told_seq: int | None = None
    expected_gain: float | None = None
    expected_gain_reason: str = ""
    provenance: JsonValue = None
    created_at: datetime
    finished_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.expected_gain is not None and not (math.isfinite(self.expected_gain) and self.expected_gain >= 0.0):
            raise InvalidValueError(f"expected gain of candidate {self.id} is {self.expected_gain}: store none")

    def latency_key_on(self, board: Board) -> str:
        """What its latency on one of its search's boards is filed under.

        Raises:
            InvalidValueError: there is none.
        """
        key = self.latency_key if board.is_own_device else self.latency_keys.get(board.name)
        if key is None:
            raise InvalidValueError(f"candidate {self.id} has no latency key: its space has no layer graphs")
        return key

    @property
    def arch_id(self) -> str:
        """Identity of its architecture."""
        return self.record.arch_id

    @property
    def short_id(self) -> str:
        """Short name of it: the search's, and its number there."""
        return f"{short_id(self.search_id)}.{self.seq}"

    @property
    def is_cancelled(self) -> bool:
        """Whether it ended only because its search was cancelled: nothing of it failed."""
        return self.state is CandidateState.FAILED and self.reason == CANCELLED_WITH_SEARCH

    @property
    def values(self) -> Mapping[Metric, float]:
        """Every metric that is known, in its own unit."""
        return {metric: known.value for metric, known in self.current.items()}

    def value(self, metric: Metric) -> float | None:
        """Return its current value of a metric; None where it is not known."""
        known = self.current.get(metric)
        return None if known is None else known.value

    def with_value(self, known: MetricValue) -> Candidate:
        """Return the candidate with one value known, or replaced."""
        return replace(self, current={**self.current, known.metric: known})


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One value of one metric of one candidate. There may be many; one of them is current.

    Attributes:
        id: ``eval_...``.
        value: in the metric's unit; finite.
        uncertainty: standard error, same unit; None where not known.
        validity: VALID, or the worst flag of the measurement.
        flags: every flag of the measurement.
        provider: package and version that declare the metric, where it was obtained; None before that was recorded.
        attempt: 1 for the first of this metric.
        supernet_version_id: weights it was taken with; None for latencies.
        measurement_id: measurement it comes from; None for accuracies.
    """

    id: str
    search_id: str
    candidate_id: str
    metric: Metric
    value: float
    uncertainty: float | None = None
    validity: Validity = Validity.VALID
    flags: tuple[Validity, ...] = ()
    source: EvaluationSource
    provider: Provider | None = None
    attempt: int = 1
    supernet_version_id: str | None = None
    measurement_id: str | None = None
    created_at: datetime

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise InvalidValueError(
                f"{self.metric.name} of candidate {self.candidate_id} is {self.value}: only finite values are stored; "
                "report a failure instead"
            )
        if self.uncertainty is not None and not (math.isfinite(self.uncertainty) and self.uncertainty >= 0):
            raise InvalidValueError(
                f"uncertainty of {self.metric.name} of candidate {self.candidate_id} is {self.uncertainty}: "
                "it must be finite and >= 0, or absent"
            )

    @property
    def known(self) -> MetricValue:
        """The value as the candidate's current one."""
        return MetricValue(
            metric=self.metric,
            value=self.value,
            uncertainty=self.uncertainty,
            validity=self.validity,
            flags=self.flags,
            source=self.source,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitedEvaluation:
    """An evaluation that some job will bring. The generation barrier stands while a search awaits any.

    Attributes:
        attempt: the evaluation will carry it.
        supernet_version_id: for accuracies, the weights to use.
        latency_key, hardware_key: for latencies; one measurement serves every candidate that awaits this pair.
        is_needed: whether the candidate is not complete without it.
    """

    search_id: str
    candidate_id: str
    metric: Metric
    attempt: int = 1
    supernet_version_id: str | None = None
    latency_key: str | None = None
    hardware_key: str | None = None
    is_needed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricBound:
    """Keep candidates whose metric is known and within inclusive bounds."""

    metric: Metric
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateQuery:
    """Which candidates to list; None and () do not filter.

    Attributes:
        words: those in which each of these stands somewhere; see `server.core.finding`.
        order: metric to sort by, those without a value last; None sorts by seq.
    """

    search_id: str | None = None
    states: tuple[CandidateState, ...] = ()
    arch_id: str | None = None
    generation: int | None = None
    words: tuple[str, ...] = ()
    bounds: tuple[MetricBound, ...] = field(default=())
    order: Metric | None = None
    descending: bool = False


@dataclass(frozen=True, slots=True)
class HeldOutAccuracy:
    """Top-1 accuracy on held-out images.

    Attributes:
        top1: fraction of images classified correctly, 0 to 1.
        num_images: number of images classified; gives the standard error.
    """

    top1: float
    num_images: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.top1) and 0.0 <= self.top1 <= 1.0) or self.num_images < 1:
            raise InvalidValueError(f"top1 {self.top1} of {self.num_images} images: report a failure instead")

    @property
    def standard_error(self) -> float:
        """Binomial standard error of top1, by the normal approximation."""
        return math.sqrt(self.top1 * (1.0 - self.top1) / self.num_images)


def check_answers(accuracy: HeldOutAccuracy, answers: CorrectAnswers | None) -> None:
    """Refuse answers that are not those an accuracy was counted from.

    Raises:
        InvalidValueError: they are of other images, or count to another accuracy.
    """
    if answers is None:
        return
    counted = HeldOutAccuracy(answers.num_correct / answers.num_images, answers.num_images)
    if counted != accuracy:
        raise InvalidValueError(
            f"answers to {answers.num_images} images of which {answers.num_correct} are right do not make top1 "
            f"{accuracy.top1} of {accuracy.num_images}"
        )
