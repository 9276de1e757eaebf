"""An enrolled board that lies about who it is, how it measured and how well it is, and what searches see of that."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hilnas.v1 import control_pb2, measurement_pb2
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import (
    ClockReading,
    DeviceClass,
    Dtype,
    SampleBlock,
    ThermalReading,
    Validity,
    ValidityFlag,
    ValidityPolicy,
)
from nas_engine.domain.measuring.layer_times import LayerProfile, ProfiledLayer, compress_times
from server.core.paging import PageRequest
from server.fleet.device import DeviceState
from server.jobs.states import JobState
from server.measuring.store import MeasurementStore
from server.spaces.store import ArchitectureStore
from tests.support.fakes.liar import BOARD, ENVIRONMENT, GOLDEN_US, KEY, Liar, Order, honest_samples, reading
from tests.support.fakes.service import toy_record
from tests.support.worlds.service_world import PlayedDevice

ACCEPTED, REJECTED = control_pb2.RESULT_STATUS_ACCEPTED, control_pb2.RESULT_STATUS_REJECTED
LENIENT = ValidityPolicy.ACCEPT_FLAGGED
many = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_an_honest_board_is_believed(liar: Liar, known_board: PlayedDevice) -> None:
    order = liar.order(known_board)
    answer = liar.put(known_board, order, liar.honest(order))
    assert (answer.status, answer.reason) == (ACCEPTED, "")
    record = liar.record(order)
    assert (record.validity, record.rejection, record.suspect) == (Validity.VALID, "", False)
    reusable = liar.reusable(order)
    assert reusable is not None
    assert reusable.id == record.id
    assert order.job.id in liar.listed()
    assert [one.passed for one in canaries(liar, known_board)] == [True, True]


OTHER = {
    "board_model": "Somebody else's board",
    "device_class": DeviceClass.EMULATED,
    "runtime": "rknnlite",
    "runtime_versions": (("onnxruntime", "9.9"),),
    "clocks_profile": "unpinned",
    "core_mask": "0x7",
}
CONTRADICTIONS: dict[str, dict[str, Any]] = {
    **{part: {"hardware_key": replace(KEY, identity=replace(BOARD, **{part: value}))} for part, value in OTHER.items()},
    "dtype": {"hardware_key": replace(KEY, dtype=Dtype.FP16)},
    "batch": {"hardware_key": replace(KEY, batch=8)},
    "core mask of the environment": {"environment": replace(ENVIRONMENT, core_mask="0x2")},
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_a_result_that_contradicts_its_lease_is_kept_as_evidence_and_steers_nothing(
    liar: Liar, known_board: PlayedDevice, what: str
) -> None:
    order = liar.order(known_board, policy=LENIENT)
    answer = liar.put(known_board, order, liar.honest(order, blocks=honest_samples(1.05), **CONTRADICTIONS[what]))
    assert (answer.status, "not used" in answer.reason) == (ACCEPTED, True)
    record = liar.record(order)
    assert what.rpartition(" of ")[0] in record.rejection or what in record.rejection
    assert (record.suspect, record.hardware_key, record.device_class) == (True, KEY.digest, DeviceClass.BOARD)
    assert_steers_nothing(liar, order, LENIENT)
    job = liar.world.dispatch.get(order.job.id)
    assert (job.state, job.failure_type) == (JobState.QUEUED, FailureType.INVALID_RESULT)
    assert len(canaries(liar, known_board)) == 1  # that of the honest job


identities = st.fixed_dictionaries(
    {},
    optional={
        "board_model": st.text(st.characters(categories=("L", "N")), min_size=1, max_size=20),
        "device_class": st.sampled_from(DeviceClass),
        "runtime": st.sampled_from(["fake", "rknnlite", "rk3588-sim", "tensorrt"]),
        "runtime_versions": st.just(()) | st.just((("driver", "0.9.8"), ("onnxruntime", "1.20"))),
        "clocks_profile": st.sampled_from(["pinned-max", "unpinned", "overclocked"]),
        "core_mask": st.sampled_from(["0x1", "0x3", "any", "cpu4-7x2"]),
    },
)


def test_no_generated_identity_but_the_enrolled_one_steers(liar: Liar, known_board: PlayedDevice) -> None:
    @many
    @given(changes=identities, dtype=st.sampled_from(Dtype), batch=st.integers(1, 1024), us=st.floats(50.0, 1e4))
    def lies(changes: dict[str, Any], dtype: Dtype, batch: int, us: float) -> None:
        key = replace(KEY, identity=replace(BOARD, **changes), dtype=dtype, batch=batch)
        assume(key != KEY)
        liar.forgive()
        order = liar.order(known_board, policy=LENIENT)
        assert liar.put(known_board, order, liar.honest(order, hardware_key=key, blocks=honest_samples(us))).status == (
            ACCEPTED
        )
        assert liar.record(order).rejection
        assert_steers_nothing(liar, order, LENIENT)

    lies()


def test_one_sample_of_a_nanosecond_is_no_audit(liar: Liar, known_board: PlayedDevice) -> None:
    order = liar.order(known_board, profile="audit", policy=LENIENT)
    liar.put(known_board, order, liar.honest(order, blocks=(SampleBlock(e2e_ns=(1,)),)))
    record = liar.record(order)
    assert record.validity is Validity.DEGRADED_DEVICE  # no engine answers in a nanosecond
    assert {flag.validity for flag in record.flags} >= {Validity.PARTIAL, Validity.NOISY}
    assert "less than a call into an inference engine" in record.rejection
    assert_steers_nothing(liar, order, LENIENT)


@pytest.mark.parametrize(
    ("blocks", "profile", "validity"),
    [
        (honest_samples()[:2], "quick", Validity.PARTIAL),
        (honest_samples(num_blocks=14), "audit", Validity.PARTIAL),
        ((SampleBlock(e2e_ns=(5_000_000,) * 9),) * 3, "quick", Validity.PARTIAL),
        ((SampleBlock(e2e_ns=tuple(10**d for d in (3, 4, 5, 6, 8)) * 6),) * 3, "quick", Validity.NOISY),
        ((SampleBlock(e2e_ns=(5_000_000,) * 29 + (400,)),) * 4, "quick", Validity.NOISY),
        (tuple(honest_samples(us)[0] for us in (4000.0, 5000.0, 6000.0)), "quick", Validity.NOISY),
    ],
    ids=["few blocks", "few for an audit", "cut blocks", "five decades", "one run too short", "apart"],
)
def test_too_few_or_scattered_samples_are_not_valid_whatever_their_agent_says(
    liar: Liar, known_board: PlayedDevice, blocks: tuple[SampleBlock, ...], profile: str, validity: Validity
) -> None:
    order = liar.order(known_board, profile=profile)
    answer = liar.put(known_board, order, liar.honest(order, blocks=blocks))
    assert (answer.status, validity.value in answer.reason) == (ACCEPTED, True), answer.reason
    assert validity in {flag.validity for flag in liar.record(order).flags}
    assert_steers_nothing(liar, order)


def test_few_runs_of_a_slow_model_are_not_valid_and_not_tried_again(liar: Liar, known_board: PlayedDevice) -> None:
    order = liar.order(known_board, profile="quick")
    blocks = (SampleBlock(e2e_ns=(400_000_000,) * 3),) * 3
    answer = liar.put(known_board, order, liar.honest(order, blocks=blocks))
    assert (answer.status, "noisy: " in answer.reason) == (ACCEPTED, True), answer.reason
    assert Validity.NOISY in {flag.validity for flag in liar.record(order).flags}
    assert_steers_nothing(liar, order, state=JobState.FAILED)


def test_an_agent_can_add_flags(liar: Liar, known_board: PlayedDevice) -> None:
    order = liar.order(known_board)
    flag = ValidityFlag(Validity.INTERFERED, "a neighbour came by")
    liar.put(known_board, order, liar.honest(order, flags=(flag,)))
    assert liar.record(order).flags == (flag,)
    assert_steers_nothing(liar, order)


def test_telemetry_that_shows_heat_clocks_or_work_of_others_is_flagged_by_the_server(
    liar: Liar, known_board: PlayedDevice
) -> None:
    slow = (ClockReading(name="npu", requested_khz=1_000_000, effective_khz=300_000),)
    hot = (ThermalReading(zone="npu", start_c=50.0, max_c=104.0, end_c=70.0),)
    shown = {
        Validity.UNPINNED: {"clocks": slow},
        Validity.THROTTLED: {"thermal": hot},
        Validity.INTERFERED: {"npu_load_percent": (90,)},
    }
    for validity, readings in shown.items():
        liar.forgive()
        order = liar.order(known_board)
        liar.put(known_board, order, liar.honest(order, environment=replace(ENVIRONMENT, **readings)))  # type: ignore[arg-type]
        assert liar.record(order).validity is validity
        assert_steers_nothing(liar, order)


BROKEN_ORIGINS = {
    "no lease": "UPDATE measurements SET lease_id = 'lease_none' WHERE id = (SELECT max(id) FROM measurements)",
    "a lease of another job": "UPDATE leases SET job_id = (SELECT min(id) FROM jobs), lease_epoch = 9"
    " WHERE lease_id = (SELECT max(lease_id) FROM leases)",
    "a lease of another board": "UPDATE leases SET device_id = 'dev_other'",
    "another type than its device": "UPDATE devices SET device_type = 'rk3588'",
    "a job for another type": "UPDATE jobs SET target_device_type = 'rk3588'",
    "a job for other hardware": f"UPDATE jobs SET hardware_key = '{'0' * 64}'",
    "rejected": "UPDATE measurements SET rejection = 'it cannot be', suspect = true",
}


@pytest.mark.parametrize("what", BROKEN_ORIGINS)
def test_a_record_is_reused_only_while_its_origin_holds(liar: Liar, known_board: PlayedDevice, what: str) -> None:
    order = liar.order(known_board)
    liar.put(known_board, order, liar.honest(order))
    assert liar.reusable(order) is not None
    liar.world.database.execute(BROKEN_ORIGINS[what])
    assert liar.reusable(order) is None


def test_a_board_that_is_enrolled_as_less_today_gives_nothing_to_reuse(liar: Liar, known_board: PlayedDevice) -> None:
    order = liar.order(known_board)
    liar.put(known_board, order, liar.honest(order))
    emulator = replace(known_board.device.capabilities, identity=replace(BOARD, device_class=DeviceClass.EMULATED))
    known_board.sync(free_slots=0, capabilities=emulator)
    assert liar.reusable(order) is None


def test_more_arithmetic_than_the_silicon_has_is_rejected(liar: Liar, known_board: PlayedDevice) -> None:
    record = replace(toy_record((0, 0, 0, 0)), values={"macs": 5_600_000_000_000})
    liar.world.uow.write(lambda tx: ArchitectureStore(tx).put_architectures([record]))
    for latency_us, absurd in ((3_900.0, True), (4_100.0, False)):
        order = liar.order(known_board, arch_id=record.arch_id)
        liar.put(known_board, order, liar.honest(order, blocks=honest_samples(latency_us)))
        assert ("MACs in" in liar.record(order).rejection) == absurd
        assert (liar.reusable(order) is None) == absurd
        liar.forgive()


def test_times_below_the_timers_resolution_are_rejected(liar: Liar, known_board: PlayedDevice) -> None:
    order = liar.order(known_board, policy=LENIENT)
    coarse = replace(ENVIRONMENT, timer_resolution_ns=15_600_000)
    liar.put(known_board, order, liar.honest(order, environment=coarse))
    assert "below the timer's resolution of 15600000 ns" in liar.record(order).rejection
    assert_steers_nothing(liar, order, LENIENT)


def absent(**changes: Any) -> Callable[[Order], dict[str, Any]]:
    return lambda _: changes


def canary(when: str, **changes: Any) -> Callable[[Order], dict[str, Any]]:
    return lambda order: {f"canary_{when}": replace(reading(order.golden), **changes)}


CANARY_LIES: dict[str, Callable[[Order], dict[str, Any]]] = {
    "neither": absent(canary_before=None, canary_after=None),
    "none before": absent(canary_before=None),
    "none after": absent(canary_after=None),
    "another model before": canary("before", artifact_sha256="f" * 64),
    "another model after": canary("after", artifact_sha256="0" * 64),
    "other outputs": canary("after", output_digest="b" * 64),
    "no outputs": canary("before", output_digest=None),
    "5 times slower": canary("after", median_us=5 * GOLDEN_US, ratio=1.0),
    "twice as fast": canary("before", median_us=GOLDEN_US / 2, ratio=1.0),
    "a tenth slower": canary("before", median_us=1.1 * GOLDEN_US),
}


@pytest.mark.parametrize("what", CANARY_LIES)
def test_a_canary_that_is_not_as_asked_for_makes_the_result_invalid(
    liar: Liar, known_board: PlayedDevice, what: str
) -> None:
    order = liar.order(known_board, policy=LENIENT)
    liar.put(known_board, order, liar.honest(order, **CANARY_LIES[what](order)))
    assert liar.record(order).validity is Validity.DEGRADED_DEVICE
    assert_steers_nothing(liar, order, LENIENT)
    job = liar.world.dispatch.get(order.job.id)
    assert (job.state, job.failure_type) == (JobState.QUEUED, FailureType.DEVICE_DEGRADED)
    device = liar.world.devices.get(known_board.id)
    assert device.num_failures_in_a_row == 1
    assert device.state is DeviceState.DEGRADED
    assert "canary" in device.reason
    liar.forgive()
    again = liar.order(known_board)
    plan = again.assignment.measure.canary
    assert (plan.baseline_us, plan.output_digest) == (GOLDEN_US, "a" * 64)
    assert liar.put(known_board, again, liar.honest(again)).reason == ""


def test_no_generated_canary_moves_the_baseline(liar: Liar, known_board: PlayedDevice) -> None:
    medians = st.floats(1e-3, 1e7)
    near = (1.03 * 1.02 - 1.0) * GOLDEN_US

    @many
    @given(before=medians, after=medians, ratio=st.none() | st.floats(1e-3, 1e3))
    def lies(before: float, after: float, ratio: float | None) -> None:
        liar.forgive()
        order = liar.order(known_board, policy=LENIENT)
        told = (replace(reading(order.golden, us), ratio=ratio) for us in (before, after))
        measured = liar.honest(order, **dict(zip(("canary_before", "canary_after"), told, strict=True)))
        liar.put(known_board, order, measured)
        if max(abs(before - GOLDEN_US), abs(after - GOLDEN_US)) > near:
            assert liar.record(order).validity is Validity.DEGRADED_DEVICE
            assert_steers_nothing(liar, order, LENIENT)
        assert liar.order_baseline(known_board) == pytest.approx(GOLDEN_US, rel=1e-6)

    lies()


def test_a_liar_that_comes_first_does_not_make_an_honest_board_the_outlier(liar: Liar) -> None:
    first, honest = liar.enrol("liar"), liar.enrol("honest")
    order = liar.order(first)
    fast = reading(order.golden, GOLDEN_US / 5)
    liar.put(first, order, liar.honest(order, canary_before=fast, canary_after=fast))
    assert liar.record(order).validity is Validity.VALID  # nobody to compare it with yet
    second = liar.order(honest)
    answer = liar.put(honest, second, liar.honest(second))
    assert "held back" in answer.reason
    assert_steers_nothing(liar, second)
    for one, other in ((first, honest), (honest, first)):
        device = liar.world.devices.get(one.id)
        assert device.state is DeviceState.QUARANTINED
        assert other.id in device.reason
    liar.world.devices.set_state(honest.id, DeviceState.ACTIVE, "measured by hand")
    liar.forget_jobs()
    third = liar.order(honest)
    assert liar.put(honest, third, liar.honest(third)).reason == ""
    assert liar.reusable(third) is not None


def canaries(liar: Liar, device: PlayedDevice) -> tuple[Any, ...]:
    return liar.world.latencies.page_of_canaries(device.id, PageRequest(100)).items


def assert_steers_nothing(
    liar: Liar,
    order: Order,
    policy: ValidityPolicy = ValidityPolicy.REQUIRE,
    state: JobState = JobState.QUEUED,
) -> None:
    assert liar.reusable(order, policy) is None
    job = liar.world.dispatch.get(order.job.id)
    assert (job.state, job.result) == (state, None)
    record = liar.record(order)
    assert (order.job.id in liar.listed()) == (not record.suspect)
    assert record.suspect or record.validity is not Validity.VALID


PROFILE = LayerProfile(
    source="onnxruntime 1.0 profiler",
    layers=(ProfiledLayer(name="stem.conv", operator="Conv"), ProfiledLayer(name="head.fc", operator="Gemm")),
    times_ns=((3_000_000, 1_000_000), (3_100_000, 900_000)),
)


def test_layers_are_kept_where_they_were_asked_for_and_ignored_elsewhere(liar: Liar, known_board: PlayedDevice) -> None:
    liar.forgive()
    for asked in (True, False):
        order = liar.order(known_board, layer_times=asked)
        assert order.assignment.measure.layer_times == asked
        answer = liar.put(known_board, order, liar.honest(order, layers=PROFILE))
        assert (answer.status, answer.reason) == (ACCEPTED, "")
        record = liar.record(order)
        stored = liar.world.uow.read(lambda tx, id=record.id: MeasurementStore(tx).layers_of_measurement(id))  # type: ignore[misc]
        assert stored == (PROFILE if asked else None)
        timed = liar.world.uow.read(
            lambda tx, key=record.latency_key: MeasurementStore(tx).newest_measurement(
                key,
                KEY.digest,
                with_layers=True,  # type: ignore[misc]
            )  # type: ignore[misc]
        )
        assert (None if timed is None else timed.id) == (record.id if asked else None)


SPOILED_LAYERS: dict[str, Callable[[measurement_pb2.LayerProfile], object]] = {
    "more runs than are taken": lambda layers: setattr(layers, "num_runs", 10**9),
    "fewer times than announced": lambda layers: setattr(layers, "num_runs", 3),
    "more layers than are taken": lambda layers: layers.layers.extend([layers.layers[0]] * 1000),
    "a bomb": lambda layers: setattr(layers, "times", zlib.compress(bytes(1 << 26))),
    "no compressed bytes": lambda layers: setattr(layers, "times", b"junk"),
    "a negative time": lambda layers: setattr(layers, "times", compress_times(((-1, 1), (1, 1)))),
    "an endless time": lambda layers: setattr(layers, "times", compress_times(((2**62, 1), (1, 1)))),
    "a name of many lines": lambda layers: setattr(layers.layers[0], "name", "a\nb"),
    "a name without end": lambda layers: setattr(layers.layers[0], "name", "x" * 100_000),
    "no source": lambda layers: setattr(layers, "source", ""),
}


@pytest.mark.parametrize("what", SPOILED_LAYERS)
def test_layers_that_no_profiler_can_give_are_refused_with_the_result(
    liar: Liar, known_board: PlayedDevice, what: str
) -> None:
    liar.forgive()
    order = liar.order(known_board, layer_times=True)
    measured = liar.honest(order, layers=PROFILE)
    assert is_refused(
        lambda: liar.put(known_board, order, measured, lambda message: SPOILED_LAYERS[what](message.layers))
    )
    assert order.job.id not in liar.listed()


def is_refused(put: Callable[[], control_pb2.PutResultResponse]) -> bool:
    """Whether a result is refused: by its size and bounds at once, or by what it says."""
    try:
        return bool(put().status == REJECTED)
    except grpc.RpcError as error:
        return bool(error.code() is grpc.StatusCode.INVALID_ARGUMENT)
