"""Candidates as resources: every latency with its kind, its validity and its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas_engine.domain.measurement import ValidityFlag, worst_validity
from nas_engine.domain.objective import Metric
from server.candidates.candidate import Candidate, Evaluation
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.search_store import SearchStore
from server.classifying.classification import ClassificationRecord
from server.classifying.presenter import device_accuracy
from server.classifying.store import ClassificationStore
from server.core.database.transaction import Transaction
from server.core.http.resources import LatencySourceName
from server.fleet.device import HardwareProfile
from server.fleet.store import HardwareStore
from server.measuring.measurement import kind_of
from server.searches.candidate_schemas import (
    CandidateResource,
    EvaluationResource,
    FrontObjectiveResource,
    FrontPointResource,
    FrontResource,
    LatencyValue,
)
from server.searches.fronts import Front


@dataclass(frozen=True, slots=True)
class CandidateContext:
    """What a candidate alone does not know.

    Attributes:
        hardware: by search; None where a search wants no latency.
        evaluations: the current one by (candidate, metric).
        classifications: what a device answered to test images, by candidate; the newest.
    """

    hardware: Mapping[str, HardwareProfile | None]
    evaluations: Mapping[tuple[str, Metric], Evaluation]
    classifications: Mapping[str, ClassificationRecord]

    @classmethod
    def of(cls, transaction: Transaction, candidates: Sequence[Candidate]) -> CandidateContext:
        """Read it for some candidates, in one query per kind of thing."""
        hardware: dict[str, HardwareProfile | None] = {}
        for search_id in {candidate.search_id for candidate in candidates}:
            key = SearchStore(transaction).get_search(search_id).hardware_key
            hardware[search_id] = None if key is None else HardwareStore(transaction).get_hardware(key)
        evaluations = EvaluationStore(transaction).evaluations_of_candidates([candidate.id for candidate in candidates])
        finalists = [candidate.id for candidate in candidates if candidate.device_top1 is not None]
        answers = ClassificationStore(transaction).classifications_of_candidates(finalists)
        # Ordered by attempt, and by age: the last one stays.
        return cls(
            hardware,
            {(e.candidate_id, e.metric): e for e in evaluations},
            {record.candidate_id: record for record in answers if record.candidate_id is not None},
        )

    def uncertainty(self, candidate: Candidate, metric: Metric) -> float | None:
        """Standard error of the current value."""
        evaluation = self.evaluations.get((candidate.id, metric))
        return None if evaluation is None else evaluation.uncertainty


def candidate_resource(candidate: Candidate, context: CandidateContext) -> CandidateResource:
    """One candidate."""
    record = candidate.record
    return CandidateResource(
        id=candidate.id,
        search_id=candidate.search_id,
        seq=candidate.seq,
        generation=candidate.generation,
        arch_id=candidate.arch_id,
        genotype=list(candidate.genotype),
        architecture=record.architecture.choices_value(),
        state=candidate.state,
        reason=candidate.reason,
        top1=candidate.top1,
        test_top1=candidate.test_top1,
        device_top1=candidate.device_top1,
        device_accuracy=device_accuracy(context.classifications.get(candidate.id)),
        latency=_latency(candidate, context),
        macs=record.macs,
        params=record.params,
        peak_activation_bytes=record.peak_activation_bytes,
        latency_key=candidate.latency_key,
        model_sha256=candidate.model_sha256,
        final_model_sha256=candidate.final_model_sha256,
        told_seq=candidate.told_seq,
        provenance=candidate.provenance,
        created_at=candidate.created_at,
        finished_at=candidate.finished_at,
    )


def _latency(candidate: Candidate, context: CandidateContext) -> LatencyValue | None:
    hardware = context.hardware.get(candidate.search_id)
    if candidate.latency_us is None:
        return None
    device_class = None if hardware is None else hardware.key.identity.device_class
    worst = worst_validity([ValidityFlag(flag, "flag") for flag in candidate.latency_flags])
    return LatencyValue(
        p50_us=candidate.latency_us,
        standard_error_us=context.uncertainty(candidate, Metric.LATENCY_US),
        kind=_latency_kind(hardware),
        device_class=None if device_class is None else device_class.value,
        validity=worst.value,
        flags=[flag.value for flag in candidate.latency_flags],
    )


def _latency_kind(hardware: HardwareProfile | None) -> LatencySourceName:
    """What the latencies of a search are: it has hardware, or reads them from a table."""
    return "table" if hardware is None else kind_of(hardware.key.identity.device_class).value


def evaluation_resource(evaluation: Evaluation, context: CandidateContext) -> EvaluationResource:
    """One evaluation."""
    hardware = context.hardware.get(evaluation.search_id)
    return EvaluationResource.model_validate(
        {
            "id": evaluation.id,
            "metric": evaluation.metric.label,
            "value": evaluation.value,
            "uncertainty": evaluation.uncertainty,
            "validity": evaluation.validity.value,
            "source": evaluation.source,
            "kind": _latency_kind(hardware) if evaluation.metric is Metric.LATENCY_US else None,
            "attempt": evaluation.attempt,
            "supernet_version_id": evaluation.supernet_version_id,
            "measurement_id": evaluation.measurement_id,
            "created_at": evaluation.created_at,
        }
    )


def front_resource(front: Front, context: CandidateContext) -> FrontResource:
    """A front: what its latencies are is said once for all of them, and again at each."""
    device_class = None if front.hardware is None else front.hardware.key.identity.device_class
    return FrontResource(
        search_id=front.search.id,
        objectives=[
            FrontObjectiveResource.model_validate(
                {"metric": objective.name, "unit": objective.metric.unit, "goal": objective.goal.value}
            )
            for objective in front.objectives
        ],
        dominance=front.dominance.value,
        latency_kind=_latency_kind(front.hardware) if Metric.LATENCY_US in front.search.spec.metrics() else None,
        device_class=None if device_class is None else device_class.value,
        hardware_key=front.search.hardware_key,
        num_complete=front.num_complete,
        num_feasible=front.num_feasible,
        points=[_front_point(front, candidate, context) for candidate in front.points],
        dominated=[_front_point(front, candidate, context) for candidate in front.dominated],
        hypervolume=front.hypervolume,
        reference_point=None if front.reference_point is None else list(front.reference_point),
    )


def _front_point(front: Front, candidate: Candidate, context: CandidateContext) -> FrontPointResource:
    return FrontPointResource(
        candidate=candidate_resource(candidate, context),
        values=list(front.values(candidate)),
        uncertainties=[context.uncertainty(candidate, objective.metric) for objective in front.objectives],
    )
