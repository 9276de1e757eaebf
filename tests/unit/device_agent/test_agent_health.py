"""The agent's view of its own device: what its canaries say, and when it is well again."""

from __future__ import annotations

from device_agent.health import PROBE_MAXIMUM_S, HealthMonitor
from device_agent.jobs import CanaryOrder, JobRunner, LeasedJob, LeaseKey, MeasureOrder, Outcome
from device_agent.measuring.procedure import Phase
from device_agent.server_link.artifacts import ArtifactRef
from nas_engine.domain.measurement import (
    CanaryReading,
    DeviceClass,
    DeviceIdentity,
    Dtype,
    EnvironmentRecord,
    HardwareKey,
    Measurement,
    MeasurementProfile,
    SampleBlock,
    Validity,
    ValidityFlag,
)

IDENTITY = DeviceIdentity(
    board_model="board",
    device_class=DeviceClass.BOARD,
    runtime="rknnlite",
    runtime_versions=(),
    clocks_profile="pinned-max",
    core_mask="0x1",
)
READING = CanaryReading(artifact_sha256="a" * 64, median_us=100.0, ratio=1.0, output_digest="b" * 64)
CHANGED = ValidityFlag(Validity.DEGRADED_DEVICE, "the canary's outputs changed during the measurement")
NOISY = ValidityFlag(Validity.NOISY, "wide")


def measured(*flags: ValidityFlag) -> Outcome:
    block = SampleBlock(e2e_ns=(1000,) * 10)
    measurement = Measurement(
        blocks=(block, block, block),
        flags=flags,
        environment=EnvironmentRecord(agent_version="1", protocol_version=1),
        hardware_key=HardwareKey(identity=IDENTITY, dtype=Dtype.FP16, batch=1),
        load_us=1.0,
        init_us=1.0,
        first_run_us=1.0,
        canary_before=READING,
        canary_after=READING,
    )
    return Outcome(measurement=measurement, phase=Phase.MEASURING)


def job() -> LeasedJob:
    model = ArtifactRef(sha256="a" * 64, size_bytes=1, format="rknn")
    order = MeasureOrder(
        model=model,
        profile=MeasurementProfile.named("quick"),
        dtype=Dtype.FP16,
        batch=1,
        num_threads=1,
        core_mask="",
        input_seed=0,
        input_ranges={},
        canary=CanaryOrder(model=model),
        cpu_operators=(),
    )
    return LeasedJob(lease=LeaseKey("lease", 0, "job", 0), order=order, ttl_s=60.0, timeout_s=60.0)


class Probes(JobRunner):
    """Answers probes with what is put into it."""

    def __init__(self) -> None:
        self.answers: list[Outcome] = []

    def run(self, job: LeasedJob) -> Outcome:
        return self.answers.pop(0)


def test_a_board_whose_canary_changed_in_a_measurement_waits_for_its_probe() -> None:
    now_s, probes = [0.0], Probes()
    health = HealthMonitor(probes, lambda: now_s[0])
    health.note(job(), measured(CHANGED))
    assert (health.state.degraded, health.state.reason) == (True, CHANGED.reason)
    probes.answers = [measured(CHANGED), measured()]
    now_s[0] += PROBE_MAXIMUM_S
    health.probe_if_due()
    assert health.state.degraded
    now_s[0] += PROBE_MAXIMUM_S
    health.probe_if_due()
    assert (health.state.degraded, health.state.canary_ratio) == (False, 1.0)


def test_noise_says_nothing_against_a_board() -> None:
    health = HealthMonitor(Probes())
    health.note(job(), measured(NOISY))
    assert not health.state.degraded
