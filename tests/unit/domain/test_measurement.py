"""Statistics, validity and profiles of measurements."""

from __future__ import annotations

import numpy as np
import pytest

from nas_engine.domain.measurement import (
    BlockStatus,
    CanaryReading,
    ClockReading,
    DeviceClass,
    DeviceIdentity,
    Dtype,
    EnvironmentRecord,
    HardwareKey,
    InvalidMeasurementError,
    MeasurementProfile,
    SampleBlock,
    ThermalReading,
    Validity,
    ValidityFlag,
    ValidityPolicy,
    latency_stats,
    median_interval_us,
    worst_validity,
)


def _rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_statistics_of_a_known_series_are_exact() -> None:
    # 1..100 us in one block: every figure can be worked out by hand.
    stats = latency_stats([SampleBlock(tuple(1000 * n for n in range(1, 101)))], _rng())
    assert stats.count == 100
    assert stats.min_us == 1.0
    assert stats.max_us == 100.0
    assert stats.p50_us == pytest.approx(50.5)
    assert stats.p10_us == pytest.approx(10.9)
    assert stats.p90_us == pytest.approx(90.1)
    assert stats.mean_us == pytest.approx(50.5)
    assert stats.trimmed_mean_us == pytest.approx(50.5)
    assert stats.stdev_us == pytest.approx(29.011491975882016)
    assert stats.mad_scaled_us == pytest.approx(25.0 * 1.4826)
    assert (stats.num_outliers_mild, stats.num_outliers_severe) == (0, 0)


@pytest.mark.parametrize(
    ("count", "has_p90", "has_p99"), [(63, False, False), (64, True, False), (661, True, False), (662, True, True)]
)
def test_tail_percentiles_need_their_sample_floor(count: int, has_p90: bool, has_p99: bool) -> None:
    stats = latency_stats([SampleBlock(tuple(range(1000, 1000 + count)))], _rng())
    assert (stats.p90_us is not None, stats.p99_us is not None) == (has_p90, has_p99)


def test_outliers_are_counted_and_kept() -> None:
    samples = [1000, 1010, 1020, 1030, 1040, 1050, 1060, 1070] * 4 + [1090, 9000]
    stats = latency_stats([SampleBlock(tuple(samples))], _rng())
    assert (stats.num_outliers_mild, stats.num_outliers_severe) == (0, 1)
    assert stats.max_us == 9.0
    assert stats.count == len(samples)
    milder = latency_stats([SampleBlock((*samples[:-1], 1150))], _rng())
    assert (milder.num_outliers_mild, milder.num_outliers_severe) == (1, 0)


def test_dirty_blocks_count_only_where_too_few_clean_ones_are() -> None:
    clean, dirty = SampleBlock((1000, 1000)), SampleBlock((5000, 5000), status=BlockStatus.DIRTY)
    assert latency_stats([clean, clean, dirty, clean], _rng()).max_us == 1.0
    assert latency_stats([clean, dirty], _rng()).max_us == 5.0
    assert latency_stats([dirty], _rng()).min_us == 5.0


def test_a_measurement_whose_blocks_were_all_discarded_has_no_statistics() -> None:
    with pytest.raises(InvalidMeasurementError, match="usable"):
        latency_stats([SampleBlock((1000,), status=BlockStatus.DISCARDED)], _rng())


def test_the_interval_of_the_median_sees_the_spread_between_blocks() -> None:
    # Within a block nothing moves; between blocks the host does. Drawing runs would call this certain.
    blocks = [SampleBlock((1000 + 100 * k,) * 50) for k in range(5)]
    low, high = median_interval_us(blocks, _rng())
    assert low < 1.15
    assert high > 1.25
    still = [SampleBlock((1000,) * 50) for _ in range(5)]
    assert median_interval_us(still, _rng()) == (1.0, 1.0)


def test_statistics_repeat_for_a_given_generator() -> None:
    blocks = [SampleBlock((1000, 1300, 1100)), SampleBlock((1200, 1000, 1500))]
    assert latency_stats(blocks, _rng()) == latency_stats(blocks, _rng())


@pytest.mark.parametrize("samples", [(), (0,), (-5, 10), (3_600 * 10**9 + 1,)])
def test_impossible_samples_are_refused(samples: tuple[int, ...]) -> None:
    with pytest.raises(InvalidMeasurementError):
        SampleBlock(samples)


def test_npu_times_come_one_a_run() -> None:
    with pytest.raises(InvalidMeasurementError, match="npu"):
        SampleBlock((10, 20), npu_ns=(5,))


def test_the_worst_flag_decides_the_validity() -> None:
    noisy, degraded = ValidityFlag(Validity.NOISY, "wide"), ValidityFlag(Validity.DEGRADED_DEVICE, "canary 1.3")
    assert worst_validity([]) is Validity.VALID
    assert worst_validity([noisy]) is Validity.NOISY
    assert worst_validity([noisy, degraded]) is Validity.DEGRADED_DEVICE


@pytest.mark.parametrize("validity", list(Validity))
def test_policies_accept_what_they_say(validity: Validity) -> None:
    flags = [] if validity is Validity.VALID else [ValidityFlag(validity, "because")]
    assert ValidityPolicy.REQUIRE.accepts(flags) == (validity is Validity.VALID)
    refused = {Validity.DEGRADED_DEVICE, Validity.PARTIAL}
    assert ValidityPolicy.ACCEPT_FLAGGED.accepts(flags) == (validity not in refused)


def test_a_flag_names_a_trouble() -> None:
    with pytest.raises(InvalidMeasurementError):
        ValidityFlag(Validity.VALID, "fine")
    with pytest.raises(InvalidMeasurementError):
        ValidityFlag(Validity.NOISY, "")


def test_profiles_grow_in_thoroughness_and_refuse_unknown_names() -> None:
    quick, standard, audit = (MeasurementProfile.named(n) for n in ("quick", "standard", "audit"))
    assert quick.cap_s < standard.cap_s
    assert quick.ci_relative_half_width > standard.ci_relative_half_width
    assert audit.num_processes == 3
    with pytest.raises(InvalidMeasurementError, match="quick, standard or audit"):
        MeasurementProfile.named("fast")
    with pytest.raises(InvalidMeasurementError, match="cap_s"):
        MeasurementProfile(name="x", cap_s=float("inf"))


def _identity(versions: tuple[tuple[str, str], ...] = (("rknnlite", "2.5.0"), ("rknnrt", "2.3.2"))) -> DeviceIdentity:
    return DeviceIdentity(
        board_model="Radxa ROCK 5B",
        device_class=DeviceClass.BOARD,
        runtime="rknnlite",
        runtime_versions=versions,
        clocks_profile="pinned-max",
        core_mask="0x1",
    )


def test_the_hardware_key_is_stable_and_covers_every_part() -> None:
    key = HardwareKey(identity=_identity(), dtype=Dtype.FP16)
    assert key.digest == HardwareKey(identity=_identity(), dtype=Dtype.FP16, batch=1).digest
    assert len(key.digest) == 64
    others = {
        HardwareKey(identity=_identity(), dtype=Dtype.W8A8).digest,
        HardwareKey(identity=_identity(), dtype=Dtype.FP16, batch=2).digest,
        HardwareKey(identity=_identity((("rknnrt", "2.3.2"),)), dtype=Dtype.FP16).digest,
    }
    assert len(others) == 3
    assert key.digest not in others
    assert HardwareKey.from_json(key.to_json()) == key  # type: ignore[arg-type]


def test_malformed_hardware_keys_are_refused() -> None:
    with pytest.raises(InvalidMeasurementError):
        HardwareKey(identity=_identity(), dtype=Dtype.FP16, batch=0)
    with pytest.raises(InvalidMeasurementError):
        _identity((("z", "1"), ("a", "1")))
    with pytest.raises(InvalidMeasurementError, match="hardware key"):
        HardwareKey.from_json({"board_model": "x"})


def test_the_environment_record_survives_its_json() -> None:
    record = EnvironmentRecord(
        agent_version="0.1.0",
        protocol_version=1,
        runtime_versions=(("onnxruntime", "1.31.1"),),
        clocks=(ClockReading(name="npu", requested_khz=1_000_000, effective_khz=200_000, available_khz=(200_000,)),),
        thermal=(ThermalReading(zone="npu-thermal", start_c=41.0, max_c=55.5),),
        npu_load_percent=(0, 3, 0),
        load_average_1m=0.25,
        cpu_affinity=(4, 5),
    )
    document = record.to_json()
    assert EnvironmentRecord.from_json(document) == record  # type: ignore[arg-type]
    assert EnvironmentRecord.from_json({**document, "added_later": 1}) == record  # type: ignore[dict-item]
    with pytest.raises(InvalidMeasurementError):
        EnvironmentRecord.from_json({"kernel": "6.1"})
    with pytest.raises(InvalidMeasurementError):
        EnvironmentRecord(agent_version="0", protocol_version=1, uptime_s=float("nan")).to_json()


def test_a_clock_is_pinned_only_where_it_reads_what_was_requested() -> None:
    assert ClockReading(name="npu", requested_khz=1000, effective_khz=990).pinned(0.02) is True
    assert ClockReading(name="npu", requested_khz=1000, effective_khz=200).pinned(0.02) is False
    assert ClockReading(name="npu", effective_khz=200).pinned(0.02) is None


def test_a_canary_reading_is_finite() -> None:
    with pytest.raises(InvalidMeasurementError):
        CanaryReading(artifact_sha256="ab", median_us=float("inf"))
