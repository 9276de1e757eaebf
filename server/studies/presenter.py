"""Ranking studies as resources."""

from __future__ import annotations

from server.studies.schemas import (
    CorrelationResource,
    HeldOutAccuracyResource,
    RankingResultResource,
    RankingStudyResource,
    StudyEntryResource,
)
from server.studies.study import Correlation, HeldOutAccuracy, RankingStudy, StudyEntry
from server.training.presenter import training_progress_resource


def study_resource(study: RankingStudy) -> RankingStudyResource:
    """One study."""
    result = study.result
    return RankingStudyResource(
        id=study.id,
        name=study.spec.name,
        state=study.state,
        desired_state=study.desired_state,
        reason=study.reason,
        spec=study.spec,
        supernet_id=study.supernet_id,
        supernet_version_id=study.supernet_version_id,
        dataset=study.dataset,
        num_entries=study.num_entries,
        num_done=study.num_done,
        num_failed=study.num_failed,
        result=None
        if result is None
        else RankingResultResource(overall=_correlation(result.overall), local=_correlation(result.local)),
        created_by=study.created_by,
        created_at=study.created_at,
        finished_at=study.finished_at,
        version=study.version,
    )


def entry_resource(entry: StudyEntry) -> StudyEntryResource:
    """One architecture of a study."""
    record = entry.record
    return StudyEntryResource(
        number=entry.number,
        arch_id=record.arch_id,
        genotype=None if record.genotype is None else list(record.genotype),
        architecture=record.architecture.choices_value(),
        macs=record.macs,
        params=record.params,
        state=entry.state,
        reason=entry.reason,
        shared=_accuracy(entry.shared),
        alone=_accuracy(entry.alone),
        progress=training_progress_resource(entry.progress),
        finished_at=entry.finished_at,
    )


def _correlation(found: Correlation) -> CorrelationResource:
    return CorrelationResource(
        kendall_tau=found.kendall_tau, p_value=found.p_value, spearman=found.spearman, num=found.num
    )


def _accuracy(accuracy: HeldOutAccuracy | None) -> HeldOutAccuracyResource | None:
    if accuracy is None:
        return None
    return HeldOutAccuracyResource(
        top1=accuracy.top1, standard_error=accuracy.standard_error, num_images=accuracy.num_images
    )
