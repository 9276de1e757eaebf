"""Every message an agent can send, with anything in it, to a real server: it answers, lives, and keeps its memory.

`python -m tests.integration.fleet.test_wire_fuzz 100000 300` sends as many cases as fit into so many seconds, and
prints how many there were and what they were answered.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import grpc
import numpy as np
import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from hilnas.v1 import control_pb2
from nas_engine.domain.measuring.samples import Durations, SampleBlock
from server.core.rpc.guard import REQUESTS
from server.core.rpc.wire_bounds import MAX_MESSAGE_BYTES
from tests.support.processes.fuzzed_server import CREDENTIAL, FuzzedServer, fuzzed_server, honest_envelope
from tests.support.samples.wire_messages import Known, request
from tests.support.worlds.api_world import ENROLMENT

PUT_RESULT = "/hilnas.v1.AgentControl/PutResult"
OUR_FAULT = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
CASES = dict.fromkeys(REQUESTS, 300) | {PUT_RESULT: 300}
CHECK_EVERY = 200
pytestmark = [pytest.mark.xdist_group("wire-fuzz"), pytest.mark.long]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FuzzedServer]:
    with fuzzed_server(tmp_path_factory.mktemp("fuzzed") / "home") as opened:
        yield opened


@pytest.mark.parametrize("method", REQUESTS)
def test_no_message_is_answered_by_a_fault_of_the_servers(fuzzed: FuzzedServer, method: str) -> None:
    answered = send_many(fuzzed, method, CASES[method])
    sys.stdout.write(f"{method}: {dict(answered)}\n")
    assert len(answered) > 1, f"every case of {method} is answered alike: {answered}"


def test_the_largest_results_that_are_taken_fit_into_the_memory_bound(fuzzed: FuzzedServer) -> None:
    rng = np.random.default_rng(0)
    runs = [Durations(rng.integers(5_000, 5_600, 20_000)) for _ in range(200)]
    npu = [Durations(np.asarray(block) - 1_000) for block in runs]
    for blocks in (
        [SampleBlock(one) for one in runs for _ in range(2)],  # eight million runs of 400 blocks
        [SampleBlock(one, other) for one, other in zip(runs, npu, strict=True)],
    ):
        fuzzed.lease_again()
        envelope = honest_envelope(fuzzed.lease, blocks).SerializeToString()
        request = control_pb2.PutResultRequest(
            agent=control_pb2.AgentIdentity(agent_id=fuzzed.device.id, instance_epoch=1),
            envelope=envelope,
            envelope_sha256=hashlib.sha256(envelope).hexdigest(),
        )
        fuzzed.restart_peak()
        code, details, answers = fuzzed.ask(PUT_RESULT, request.SerializeToString(), timeout_s=120.0)
        assert code is grpc.StatusCode.OK, details
        answer = control_pb2.PutResultResponse.FromString(answers[0])
        assert answer.status == control_pb2.RESULT_STATUS_ACCEPTED, answer.reason
        sys.stdout.write(f"{len(envelope) >> 20} MiB envelope: {fuzzed.extra_bytes() >> 20} MiB above idle\n")
        fuzzed.check()


@pytest.mark.parametrize("method", REQUESTS)
def test_a_message_of_the_largest_size_costs_little_memory(fuzzed: FuzzedServer, method: str) -> None:
    fuzzed.restart_peak()
    for data in (b"\x32\x00" * (MAX_MESSAGE_BYTES // 2 - 64), b"\x00" * MAX_MESSAGE_BYTES):
        assert fuzzed.send(method, data) is grpc.StatusCode.INVALID_ARGUMENT
    assert fuzzed.send(method, b"\x00" * (MAX_MESSAGE_BYTES + 1)) is grpc.StatusCode.RESOURCE_EXHAUSTED
    fuzzed.check()


def send_many(fuzzed: FuzzedServer, method: str, num_cases: int, seconds: float = 600.0) -> Counter[str]:
    """Send cases of one method; how often each code was the answer. What fails is shrunk and shown by hypothesis."""
    identity = honest_envelope(control_pb2.LeaseRef()).measurement.identity
    known: Known = {
        "AgentIdentity.agent_id": lambda _: fuzzed.device.id,
        "AgentIdentity.instance_epoch": lambda rng: rng.choice((0, 1)),
        "AgentIdentity.protocol_min": lambda _: 1,
        "AgentIdentity.protocol_max": lambda _: 1,
        "ResultEnvelope.lease": lambda _: fuzzed.lease,
        "LeaseReport.lease": lambda _: fuzzed.lease,
        "Nack.lease": lambda _: fuzzed.lease,
        "EnrollRequest.enrolment_token": lambda _: ENROLMENT,
        "EnrollRequest.name": lambda rng: f"board-{rng.randrange(10**6)}",
        "EnrollRequest.device_type": lambda rng: rng.choice(("rk3588", "emu")),
        "Measurement.dtype": lambda _: 1,
        "Measurement.batch": lambda _: 1,
        "Measurement.load_us": lambda _: 1.0,
        "Measurement.identity": lambda _: identity,
        "Capabilities.identity": lambda _: identity,
        "CanaryReading.median_us": lambda rng: rng.uniform(1.0, 1e4),
        "FetchRequest.sha256": lambda _: "0" * 64,
    }
    answered: Counter[str] = Counter()
    end_s = time.monotonic() + seconds

    @seed(num_cases)
    @settings(max_examples=num_cases, deadline=None, database=None, phases=(Phase.generate,))
    @given(st.integers(0, 2**64))
    def send(chosen: int) -> None:
        if time.monotonic() > end_s:
            return
        rng = Random(chosen)
        data = request(rng, REQUESTS[method], known)
        credential = CREDENTIAL if rng.random() < 0.95 else "nas_dev_" + "x" * 50
        code, details, _ = fuzzed.ask(method, data, credential)
        assert code not in OUR_FAULT, f"{code.name}: {details}; sent was {data[:2000].hex()}"
        assert code is not grpc.StatusCode.UNAVAILABLE, f"{details}: did the server die of {data[:2000].hex()}?"
        answered[code.name] += 1
        num = answered.total()
        if num % 20 == 0 or (method == PUT_RESULT and not fuzzed.lease_lasts()):
            fuzzed.lease_again()
        if num % CHECK_EVERY == 0:
            fuzzed.check()

    send()
    fuzzed.check()
    return answered


def main(num_cases: int, seconds: float) -> None:
    """Send as many cases as fit into the time, and say what was answered."""
    with tempfile.TemporaryDirectory() as folder, fuzzed_server(Path(folder) / "home") as fuzzed:
        share = len(CASES) + 1
        for method in REQUESTS:
            weight = 2 if method == PUT_RESULT else 1
            answered = send_many(fuzzed, method, weight * num_cases // share, weight * seconds / share)
            peak = f"peak {fuzzed.extra_bytes() >> 20} MiB above idle"
            sys.stdout.write(f"{method}: {answered.total()} cases, {dict(answered)}, {peak}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
