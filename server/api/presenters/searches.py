"""Searches, supernets and jobs as resources."""

from __future__ import annotations

from collections.abc import Mapping

from server.api.schemas.jobs import JobDetail, JobResource
from server.api.schemas.searches import (
    CheckpointResource,
    MetricRangeResource,
    ProgressResource,
    SearchResource,
    SpecViolationResource,
    ValidationReport,
)
from server.api.schemas.supernets import SupernetResource, SupernetVersionResource, TrainingProgressResource
from server.service.admission import SpecReport
from server.service.spec import SearchSpec
from server.service.states import JobKind
from server.service.values.job import Job, QueuePlace
from server.service.values.search import Checkpoint, Search
from server.service.values.supernet import Supernet, SupernetVersion, TrainingProgress


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


def training_progress_resource(progress: TrainingProgress) -> TrainingProgressResource:
    """How far a training is."""
    return TrainingProgressResource(
        step=progress.step, num_steps=progress.num_steps, loss=progress.loss, metrics=dict(progress.metrics)
    )


def supernet_resource(supernet: Supernet) -> SupernetResource:
    """One supernet."""
    return SupernetResource(
        id=supernet.id,
        name=supernet.spec.name,
        state=supernet.state,
        desired_state=supernet.desired_state,
        reason=supernet.reason,
        spec=supernet.spec,
        progress=training_progress_resource(supernet.progress),
        latest_version_id=supernet.latest_version_id,
        created_by=supernet.created_by,
        created_at=supernet.created_at,
        finished_at=supernet.finished_at,
        version=supernet.version,
    )


def supernet_version_resource(version: SupernetVersion) -> SupernetVersionResource:
    """Weights of a supernet at one moment."""
    return SupernetVersionResource(
        id=version.id,
        supernet_id=version.supernet_id,
        number=version.number,
        weights_sha256=version.weights_sha256,
        statistics=version.statistics,
        search_id=version.search_id,
        parent_id=version.parent_id,
        created_at=version.created_at,
    )


def job_resource(job: Job) -> JobResource:
    """One job."""
    return JobResource(
        id=job.id,
        kind=job.kind,
        state=job.state,
        phase=job.phase,
        priority=job.priority,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        search_id=job.search_id,
        candidate_id=job.candidate_id,
        supernet_id=job.supernet_id,
        device_type=job.target.device_type,
        lease_owner=job.lease_owner,
        lease_expires_at=job.lease_expires_at,
        cancel_requested=job.cancel_requested,
        failure_type=None if job.failure_type is None else job.failure_type.value,
        failure_message=job.failure_message,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def job_detail(job: Job, place: QueuePlace | None) -> JobDetail:
    """One job with where it stands."""
    return JobDetail(
        **job_resource(job).model_dump(),
        queue_position=None if place is None else place.position,
        num_takers=None if place is None else place.num_takers,
        eta_s=None if place is None else place.eta_s,
        classify_job_id=_classify_job_id(job),
        result=job.result,
    )


def _classify_job_id(job: Job) -> str | None:
    """Named by the payload of a measuring job, and by the result of a conversion."""
    named = job.result if job.kind is JobKind.CONVERT else job.payload
    found = named.get("classify_job_id") if isinstance(named, Mapping) else None
    return None if found is None else str(found)
