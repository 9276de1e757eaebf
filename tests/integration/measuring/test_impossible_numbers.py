"""Results whose numbers cannot be: they are refused as such, and their jobs go on."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from hilnas.v1 import control_pb2, measurement_pb2
from nas_engine.domain.job_protocol import FailureType
from server.core.paging import PageRequest
from server.jobs.states import JobState
from tests.support.fakes.liar import EVERYTHING, Liar, Order
from tests.support.worlds.service_world import PlayedDevice

ACCEPTED, REJECTED = control_pb2.RESULT_STATUS_ACCEPTED, control_pb2.RESULT_STATUS_REJECTED


def wrong(**fields: Any) -> Callable[[measurement_pb2.Measurement], None]:
    def spoil(message: measurement_pb2.Measurement) -> None:
        for name, value in fields.items():
            *path, last = name.split("__")
            target: Any = message
            for part in path:
                target = getattr(target, part)
            setattr(target, last, value)

    return spoil


NOT_NUMBERS = [
    wrong(load_us=math.nan),
    wrong(init_us=-math.inf),
    wrong(first_run_us=-1e-9),
    wrong(canary_before__median_us=math.nan),
    wrong(canary_after__median_us=-5.0),
    wrong(canary_after__ratio=math.inf),
    wrong(environment_json='{"agent_version":"1","protocol_version":1,"timer_resolution_ns":NaN}'),
    wrong(environment_json='{"agent_version":"1","protocol_version":1,"npu_load_percent":["none"]}'),
    wrong(environment_json='{"agent_version":"1","protocol_version":1,"clocks":[{"name":"npu","effective_khz":"x"}]}'),
]


@pytest.mark.parametrize("spoil", NOT_NUMBERS)
def test_what_is_no_number_is_refused_and_the_job_goes_on(
    liar: Liar, known_board: PlayedDevice, spoil: Callable[[measurement_pb2.Measurement], None]
) -> None:
    order = liar.order(known_board)
    assert liar.put(known_board, order, liar.honest(order), spoil).status == REJECTED
    assert_refused(liar, order)


@pytest.mark.parametrize("block", [(-1, 5), (0,), (2**62,), (-(2**63), 2**63 - 1)])
def test_times_that_cannot_be_are_refused_and_the_job_goes_on(
    liar: Liar, known_board: PlayedDevice, block: tuple[int, ...]
) -> None:
    order = liar.order(known_board)
    packed = packed_block(block)
    assert liar.put(known_board, order, liar.honest(order), wrong(samples=packed)).status == REJECTED
    assert_refused(liar, order)


@pytest.mark.parametrize("counters", [(-7, -1), (-1, -9)])
def test_counters_below_zero_are_refused(liar: Liar, known_board: PlayedDevice, counters: tuple[int, int]) -> None:
    order = liar.order(known_board)
    packed = packed_block((5_000_000,), *counters)
    assert liar.put(known_board, order, liar.honest(order), wrong(samples=packed)).status == REJECTED
    assert_refused(liar, order)


def packed_block(runs: tuple[int, ...], switches: int = -1, cpu_time_ns: int = -1) -> bytes:
    words = (1, 1, 0, len(runs), 0, switches, cpu_time_ns, *runs)
    return zlib.compress(struct.pack(f"<{len(words)}q", *words))


def assert_refused(liar: Liar, order: Order) -> None:
    job = liar.world.dispatch.get(order.job.id)
    assert (job.state, job.failure_type) == (JobState.QUEUED, FailureType.INVALID_RESULT)
    page = liar.world.latencies.page_of_measurements(EVERYTHING, PageRequest(1000))
    assert order.job.id not in {one.job_id for one in page.items}
