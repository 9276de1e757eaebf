"""Measurements and their samples as resources."""

from __future__ import annotations

from nas_engine.domain.measurement import HardwareKey, LatencyStats, SampleBlock
from server.measuring.canary import CanaryRecord
from server.measuring.measurement import MeasurementRecord
from server.measuring.schemas import (
    CanaryResource,
    HardwareResource,
    LatencyStatsResource,
    MeasurementDetail,
    MeasurementResource,
    SampleBlockResource,
    ValidityFlagResource,
)


def measurement_resource(record: MeasurementRecord) -> MeasurementResource:
    """One measurement, without the state of the board."""
    return MeasurementResource(
        id=record.id,
        kind=record.kind.value,
        latency_key=record.latency_key,
        hardware_key=record.hardware_key,
        hardware=hardware_resource(record.hardware),
        device_type=record.device_type,
        device_id=record.device_id,
        job_id=record.job_id,
        search_id=record.search_id,
        candidate_id=record.candidate_id,
        arch_id=record.arch_id,
        model_sha256=record.model_sha256,
        label=record.label,
        profile=record.profile,
        stats=stats_resource(record.stats),
        npu_p50_us=record.npu_p50_us,
        npu_time_source=record.npu_time_source,
        load_us=record.load_us,
        init_us=record.init_us,
        first_run_us=record.first_run_us,
        validity=record.validity.value,
        flags=[ValidityFlagResource(validity=flag.validity.value, reason=flag.reason) for flag in record.flags],
        superseded=record.superseded,
        suspect=record.suspect,
        created_at=record.created_at,
    )


def measurement_detail(record: MeasurementRecord) -> MeasurementDetail:
    """One measurement with the state of the board around it."""
    return MeasurementDetail(
        **dict(measurement_resource(record)),
        environment=record.environment,
        canary_before=record.canary_before,
        canary_after=record.canary_after,
        output_digest=record.output_digest,
    )


def stats_resource(stats: LatencyStats) -> LatencyStatsResource:
    """Statistics, microseconds."""
    return LatencyStatsResource.model_validate(stats.to_json())


def hardware_resource(key: HardwareKey) -> HardwareResource:
    """What a hardware key stands for."""
    return HardwareResource.model_validate(key.to_json())


def block_resource(block: SampleBlock) -> SampleBlockResource:
    """One block of raw samples."""
    return SampleBlockResource.model_validate(
        {
            "e2e_ns": list(block.e2e_ns),
            "npu_ns": list(block.npu_ns),
            "status": block.status.name.lower(),
            "num_involuntary_switches": block.num_involuntary_switches,
            "cpu_time_ns": block.cpu_time_ns,
        }
    )


def canary_resource(canary: CanaryRecord) -> CanaryResource:
    """One canary run."""
    return CanaryResource(
        id=canary.id,
        artifact_sha256=canary.artifact_sha256,
        median_us=canary.median_us,
        ratio=canary.ratio,
        passed=canary.passed,
        reason=canary.reason,
        taken_at=canary.taken_at,
    )
