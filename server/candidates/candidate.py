"""Candidates, their evaluations, and the architectures they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measurement import Validity
from nas_engine.domain.objective import Metric
from server.candidates.states import CandidateState, EvaluationSource
from server.core.errors import InvalidValueError
from server.spaces.architecture import ArchitectureRecord


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
        state, reason: where it stands, and why, for people.
        top1: fraction 0 to 1, the current evaluation; None before there is one.
        test_top1: fraction on test images, taken once the search is over for what is on its front; None elsewhere.
        device_top1: fraction on test images as a device answers them, with the model it runs; None where not asked for.
        latency_us: p50 in microseconds, the current evaluation; None before there is one.
        latency_flags: why the latency may not be trusted; empty where valid or absent.
        model_sha256: the exported model that was measured; None where nothing was exported.
        final_model_sha256: the deployable model with inherited weights, made with `test_top1`.
        told_seq: step in which the algorithm observed it; None before.
        provenance: how it came about (operator, parents), as the algorithm tells it.
    """

    id: str
    search_id: str
    seq: int
    generation: int
    record: ArchitectureRecord
    genotype: Genotype
    latency_key: str | None = None
    state: CandidateState = CandidateState.ASKED
    reason: str = ""
    top1: float | None = None
    test_top1: float | None = None
    device_top1: float | None = None
    latency_us: float | None = None
    latency_flags: tuple[Validity, ...] = ()
    model_sha256: str | None = None
    final_model_sha256: str | None = None
    told_seq: int | None = None
    provenance: JsonValue = None
    created_at: datetime
    finished_at: datetime | None = None

    @property
    def arch_id(self) -> str:
        """Identity of its architecture."""
        return self.record.arch_id

    @property
    def values(self) -> Mapping[Metric, float]:
        """Every metric that is known, in its own unit."""
        known = dict(self.record.cheap_values)
        if self.top1 is not None:
            known[Metric.TOP1] = self.top1
        if self.latency_us is not None:
            known[Metric.LATENCY_US] = self.latency_us
        return known


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One value of one metric of one candidate. There may be many; the highest attempt is the current one.

    Attributes:
        id: ``eval_...``.
        value: in the metric's unit; finite.
        uncertainty: standard error, same unit; None where not known.
        validity: VALID, or the worst flag of the measurement.
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
    source: EvaluationSource
    attempt: int = 1
    supernet_version_id: str | None = None
    measurement_id: str | None = None
    created_at: datetime

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise InvalidValueError(
                f"{self.metric.label} of candidate {self.candidate_id} is {self.value}: only finite values are stored; "
                "report a failure instead"
            )
        if self.uncertainty is not None and not (math.isfinite(self.uncertainty) and self.uncertainty >= 0):
            raise InvalidValueError(
                f"uncertainty of {self.metric.label} of candidate {self.candidate_id} is {self.uncertainty}: "
                "it must be finite and >= 0, or absent"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitedEvaluation:
    """An evaluation that some job will bring. The generation barrier stands while a search awaits any.

    Attributes:
        attempt: the evaluation will carry it.
        supernet_version_id: for accuracies, the weights to use.
        latency_key, hardware_key: for latencies; one measurement serves every candidate that awaits this pair.
    """

    search_id: str
    candidate_id: str
    metric: Metric
    attempt: int = 1
    supernet_version_id: str | None = None
    latency_key: str | None = None
    hardware_key: str | None = None


class CandidateOrder(Enum):
    """What candidates are sorted by; those without the value come last."""

    SEQ = "seq"
    TOP1 = "top1"
    LATENCY_US = "latency_us"
    MACS = "macs"
    PARAMS = "params"
    PEAK_ACTIVATION_BYTES = "peak_activation_bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricBound:
    """Keep candidates whose metric is known and within inclusive bounds."""

    metric: Metric
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateQuery:
    """Which candidates to list; None and () do not filter."""

    search_id: str | None = None
    states: tuple[CandidateState, ...] = ()
    arch_id: str | None = None
    generation: int | None = None
    bounds: tuple[MetricBound, ...] = field(default=())
    order: CandidateOrder = CandidateOrder.SEQ
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
