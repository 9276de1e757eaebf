"""Searches, supernets and jobs as resources."""

from __future__ import annotations

from server.candidates.search import Checkpoint, Search
from server.candidates.spec import SearchSpec
from server.searches.admission import SpecReport
from server.searches.schemas import (
    CheckpointResource,
    MetricRangeResource,
    ProgressResource,
    SearchResource,
    SpecViolationResource,
    ValidationReport,
)


def search_resource(search: Search) -> SearchResource:
    """One search."""
    return SearchResource(
        id=search.id,
        name=search.spec.name,
        state=search.state,
        desired_state=search.desired_state,
        reason=search.reason,
        spec=search.spec,
        progress=_progress(search),
        hardware_key=search.hardware_key,
        supernet_id=search.supernet_id,
        supernet_version_id=search.supernet_version_id,
        created_by=search.created_by,
        created_at=search.created_at,
        started_at=search.started_at,
        finished_at=search.finished_at,
        version=search.version,
    )


def _progress(search: Search) -> ProgressResource:
    progress = search.progress
    reference_point = progress.reference_point
    return ProgressResource(
        generation=progress.generation,
        num_candidates=search.spec.budget.num_candidates,
        num_asked=progress.num_asked,
        num_complete=progress.num_complete,
        num_infeasible=progress.num_infeasible,
        num_failed=progress.num_failed,
        num_in_flight=progress.num_in_flight,
        num_reused=progress.num_reused,
        front_size=progress.front_size,
        hypervolume=progress.hypervolume,
        reference_point=None if reference_point is None else list(reference_point),
        report=dict(progress.report),
    )


def report_resource(spec: SearchSpec, report: SpecReport) -> ValidationReport:
    """What is known of a spec before it runs."""
    return ValidationReport(
        valid=not report.violations,
        violations=[
            SpecViolationResource(
                pointer=violation.pointer,
                detail=violation.message,
                feasible_minimum=violation.feasible_minimum,
                feasible_maximum=violation.feasible_maximum,
            )
            for violation in report.violations
        ],
        spec=spec,
        space_size=report.space_size,
        metric_ranges=[
            MetricRangeResource.model_validate(
                {"metric": metric.label, "minimum": bounds.minimum, "maximum": bounds.maximum}
            )
            for metric, bounds in report.bounds.items()
        ],
        hardware_key=None if report.hardware is None else report.hardware.hardware_key,
        num_devices=report.num_devices,
    )


def checkpoint_resource(checkpoint: Checkpoint) -> CheckpointResource:
    """One checkpoint, without its payload."""
    return CheckpointResource(
        seq=checkpoint.seq,
        code_version=checkpoint.code_version,
        created_at=checkpoint.created_at,
    )
