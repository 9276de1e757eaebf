"""Parts of the agent by themselves: spool, cache, host lock, state, back-off, stop token, renewal, command line."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from device_agent.artifacts import ArtifactCache, ArtifactRef, FetchInterruptedError
from device_agent.backoff import HEALTHY_AFTER_S, Backoff
from device_agent.cli import build_parser, main, parse_cpus, parse_labels
from device_agent.failures import AgentError, FailureType, JobFailedError, JobStoppedError
from device_agent.host_lock import HostBusyError, HostLock
from device_agent.jobs import LeasedJob, LeaseKey
from device_agent.renewal import Renewer
from device_agent.spool import Spool
from device_agent.state import Enrolled, StateDirectory
from device_agent.stop import StopToken
from proto.hilnas.v1 import control_pb2

# ---- spool


def test_a_spooled_result_survives_and_is_removed_once(tmp_path: Path) -> None:
    Spool(tmp_path).put("lease-1", b"one")
    spool = Spool(tmp_path)
    (result,) = spool.pending()
    assert result.envelope == b"one"
    assert result.sha256 == hashlib.sha256(b"one").hexdigest()
    spool.remove(result.name)
    spool.remove(result.name)
    assert len(spool) == 0


def test_results_come_back_oldest_first_and_one_per_lease(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for number, lease in enumerate(("b", "a", "b")):
        spool.put(lease, f"{lease}{number}".encode())
        path = max(tmp_path.glob("*.result"), key=lambda p: p.stat().st_mtime_ns)
        os.utime(path, ns=(number, number))
    assert [r.envelope for r in spool.pending()] == [b"a1", b"b2"]


def test_a_damaged_or_unfinished_result_is_set_aside(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put("lease", b"result")
    (path,) = tmp_path.glob("*.result")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    (tmp_path / ".half.result.1.tmp").write_bytes(b"half")
    assert Spool(tmp_path).pending() == []
    assert [p.suffix for p in tmp_path.iterdir()] == [".corrupt"]


# ---- artifact cache


class Source:
    """Streams one artifact in chunks of 10 bytes; may break or lie."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offsets: list[int] = []
        self.break_at: list[int] = []
        self.lie_once = False

    def __call__(self, sha256: str, offset: int) -> Iterator[tuple[int, bytes]]:
        self.offsets.append(offset)
        data = self.data
        if self.lie_once:
            self.lie_once = False
            data = b"?" * len(data)
        limit = self.break_at.pop(0) if self.break_at else len(data)
        for start in range(offset, len(data), 10):
            if start >= limit:
                raise FetchInterruptedError("wire cut")
            yield start, data[start : start + 10]


def ref_of(data: bytes) -> ArtifactRef:
    return ArtifactRef(hashlib.sha256(data).hexdigest(), len(data), "onnx")


def no_pause(_: int) -> None:
    return


def fetch_once(cache: ArtifactCache, source: Source) -> bytes:
    with cache.use(ref_of(source.data), source, pause=no_pause) as path:
        return path.read_bytes()


def test_a_fetch_goes_on_where_it_broke_even_after_a_restart(tmp_path: Path) -> None:
    source = Source(bytes(range(95)))
    source.break_at = [40, 40, 40, 40, 40]
    with pytest.raises(JobFailedError, match="wire cut"):
        fetch_once(ArtifactCache(tmp_path, max_bytes=1000), source)
    assert fetch_once(ArtifactCache(tmp_path, max_bytes=1000), source) == source.data
    assert source.offsets == [0, 40, 40, 40, 40, 40]


def test_wrong_bytes_are_thrown_away_and_fetched_again(tmp_path: Path) -> None:
    source = Source(b"a" * 35)
    source.lie_once = True
    assert fetch_once(ArtifactCache(tmp_path, max_bytes=1000), source) == source.data
    assert source.offsets == [0, 0]


def test_a_server_that_never_sends_the_right_bytes_is_given_up_on(tmp_path: Path) -> None:
    class Liar(Source):
        def __call__(self, sha256: str, offset: int) -> Iterator[tuple[int, bytes]]:
            self.lie_once = True
            return super().__call__(sha256, offset)

    with pytest.raises(JobFailedError, match="digest") as caught:
        fetch_once(ArtifactCache(tmp_path, max_bytes=1000), Liar(b"b" * 20))
    assert caught.value.type is FailureType.FETCH_FAILED


def test_a_cached_artifact_that_rotted_is_fetched_again(tmp_path: Path) -> None:
    cache, source = ArtifactCache(tmp_path, max_bytes=1000), Source(b"c" * 30)
    fetch_once(cache, source)
    with cache.use(ref_of(source.data), source, pause=no_pause) as path:
        pass
    path.write_bytes(b"d" * 30)
    assert fetch_once(cache, source) == source.data
    assert len(source.offsets) == 2


def test_the_artifact_used_longest_ago_makes_room_but_never_one_in_use(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path, max_bytes=100)
    old, recent, pinned = (Source(bytes([n]) * 30) for n in (1, 2, 3))
    for age, source in enumerate((pinned, old, recent)):
        with cache.use(ref_of(source.data), source, pause=no_pause) as path:
            pass
        os.utime(path, ns=(age + 1, age + 1))
    with cache.use(ref_of(pinned.data), pinned, pause=no_pause) as kept:
        os.utime(kept, ns=(0, 0))
        fetch_once(cache, Source(bytes([4]) * 30))
        assert kept.exists()
    held = cache.held(10)
    assert ref_of(old.data).sha256 not in held
    assert ref_of(recent.data).sha256 in held


def test_an_artifact_larger_than_the_cache_is_refused_before_it_is_fetched(tmp_path: Path) -> None:
    source = Source(b"e" * 50)
    with pytest.raises(JobFailedError) as caught:
        fetch_once(ArtifactCache(tmp_path, max_bytes=49), source)
    assert caught.value.type is FailureType.MODEL_REJECTED
    assert source.offsets == []


@pytest.mark.parametrize("sha256", ["../../etc/passwd", "ab", "A" * 64])
def test_a_digest_that_is_none_never_becomes_a_path(sha256: str) -> None:
    with pytest.raises(JobFailedError):
        ArtifactRef(sha256, 1, "onnx")


# ---- host lock


def _hold(
    path: str, mode: str, ready: multiprocessing.synchronize.Event, release: multiprocessing.synchronize.Event
) -> None:
    lock = HostLock(Path(path))
    with lock.timing() if mode == "timing" else lock.working():
        ready.set()
        release.wait(20.0)


@pytest.mark.parametrize(
    ("held", "wanted", "allowed"),
    [
        ("timing", "timing", False),
        ("timing", "working", False),
        ("working", "timing", False),
        ("working", "working", True),
    ],
)
def test_timing_excludes_everybody_and_work_excludes_only_timing(
    tmp_path: Path, held: str, wanted: str, allowed: bool
) -> None:
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(tmp_path / "lock"), held, ready, release))
    holder.start()
    try:
        assert ready.wait(20.0)
        lock = HostLock(tmp_path / "lock")
        take = lock.timing if wanted == "timing" else lock.working
        if allowed:
            with take(0.05):
                pass
        else:
            with pytest.raises(HostBusyError, match="lock"), take(0.05):
                pass
    finally:
        release.set()
        holder.join(20.0)
    with lock.timing(5.0):
        pass


def test_a_stream_of_short_steps_does_not_starve_a_timer(tmp_path: Path) -> None:
    path, stop = tmp_path / "lock", threading.Event()

    def work() -> None:
        lock = HostLock(path)
        while not stop.is_set():
            with lock.working(20.0):
                stop.wait(0.005)

    workers = [threading.Thread(target=work) for _ in range(3)]  # flock belongs to the open file, so threads count
    for worker in workers:
        worker.start()
    try:
        for _ in range(5):
            with HostLock(path).timing(10.0):
                pass
    finally:
        stop.set()
        for worker in workers:
            worker.join()


# ---- state, back-off, token


def test_every_start_has_a_higher_epoch_and_only_one_agent_has_the_directory(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "s")
    assert state.next_instance_epoch() == 1
    with pytest.raises(AgentError, match="another agent"):
        StateDirectory(tmp_path / "s")
    state.close()
    again = StateDirectory(tmp_path / "s")
    assert again.next_instance_epoch() == 2
    again.close()


def test_an_enrolment_is_kept_per_server_and_private(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    assert state.enrolled("a:1") is None
    state.remember(Enrolled("a:1", "dev_1", "secret"))
    assert state.enrolled("a:1") == Enrolled("a:1", "dev_1", "secret")
    assert state.enrolled("b:1") is None
    assert (tmp_path / "enrolment.json").stat().st_mode & 0o077 == 0
    state.close()


def test_back_off_grows_within_bounds_and_forgets_only_after_a_healthy_minute() -> None:
    backoff = Backoff(rng=random.Random(1))
    waits = [backoff.next_s() for _ in range(40)]
    assert all(0.25 <= w <= 60.0 for w in waits)
    assert max(waits[:3]) <= 2.0
    assert max(waits[10:]) > 20.0
    backoff.succeeded(0.0)
    backoff.succeeded(HEALTHY_AFTER_S - 1)
    assert max(Backoff(rng=random.Random(2)).next_s() for _ in range(10)) <= 0.5
    backoff.succeeded(HEALTHY_AFTER_S)
    assert backoff.next_s() <= 0.5
    assert 240.0 < backoff.refused_s() < 360.0


def test_a_token_is_set_once_and_interrupts_whoever_waits() -> None:
    token, called = StopToken(), []
    token.check()
    with token.interrupting(lambda: called.append(1)):
        token.stop(FailureType.CANCELLED, "first")
        token.stop(FailureType.LEASE_LOST, "second")
    assert called == [1]
    with token.interrupting(lambda: called.append(2)):
        assert called == [1, 2]
    with pytest.raises(JobStoppedError, match="first"):
        token.wait(10.0)


# ---- renewal


def job_of(ttl_s: float = 60.0) -> LeasedJob:
    return LeasedJob(lease=LeaseKey("job_1", 1, "lease_1", 7), order=None, ttl_s=ttl_s, timeout_s=1.0)


def test_renewal_accepts_at_once_and_obeys_the_server() -> None:
    requests: list[control_pb2.RenewRequest] = []
    answered = threading.Event()

    def renew(request: control_pb2.RenewRequest, timeout_s: float) -> control_pb2.RenewResponse:
        requests.append(request)
        answered.set()
        verdict = control_pb2.LeaseVerdict(lease_id="lease_1", order=control_pb2.LEASE_ORDER_LOST, reason="re-leased")
        return control_pb2.RenewResponse(verdicts=[verdict])

    job = job_of()
    renewer = Renewer(renew, control_pb2.AgentIdentity(agent_id="dev_1"), job, 15.0, lambda: None)
    renewer.start()
    assert answered.wait(5.0)
    renewer.end()
    assert requests[0].running[0].lease.fence == 7
    with pytest.raises(JobStoppedError, match="re-leased"):
        job.token.check()


def test_a_server_that_is_away_does_not_stop_a_job() -> None:
    calls: list[float] = []
    tried = threading.Event()

    def renew(request: control_pb2.RenewRequest, timeout_s: float) -> control_pb2.RenewResponse:
        calls.append(timeout_s)
        if len(calls) >= 2:
            tried.set()
        raise grpc.RpcError("unreachable")

    job = job_of(ttl_s=0.3)
    renewer = Renewer(renew, control_pb2.AgentIdentity(), job, 0.1, lambda: None)
    renewer.start()
    assert tried.wait(10.0)
    renewer.end()
    assert not job.token.stopped


def test_an_order_from_a_newer_server_means_going_on() -> None:
    answered = threading.Event()

    def renew(request: control_pb2.RenewRequest, timeout_s: float) -> control_pb2.RenewResponse:
        answered.set()
        verdict = control_pb2.LeaseVerdict(lease_id="lease_1")
        verdict.order = 99  # type: ignore[assignment]
        return control_pb2.RenewResponse(verdicts=[verdict])

    job = job_of()
    renewer = Renewer(renew, control_pb2.AgentIdentity(), job, 15.0, lambda: None)
    renewer.start()
    assert answered.wait(5.0)
    renewer.end()
    assert not job.token.stopped


# ---- command line


def test_the_command_line_is_importable_without_any_extra() -> None:
    code = (
        "import sys; import device_agent.cli; "
        "third = {'grpc', 'numpy', 'google', 'onnxruntime'} & set(sys.modules); sys.exit(repr(third) if third else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_processors_and_labels_are_parsed() -> None:
    assert parse_cpus("4-7,0") == (0, 4, 5, 6, 7)
    assert parse_cpus("") == ()
    assert parse_labels(["rack=3", "note=a=b"]) == {"rack": "3", "note": "a=b"}
    with pytest.raises(ValueError, match="KEY=VALUE"):
        parse_labels(["rack"])


def test_mistakes_on_the_command_line_are_explained(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    state = ["--state-dir", str(tmp_path), "--insecure"]
    assert main(["--cpus", "x", *state]) == 1
    assert main(["--labels", "rack", *state]) == 1
    assert main(["--runtime", "rknnlite", *state]) == 1
    assert main(["--runtime", "onnxruntime", "--isolation", "none", *state]) == 1
    said = capsys.readouterr().err
    assert "--cpus" in said
    assert "KEY=VALUE" in said
    assert "rknn-toolkit-lite2" in said
    assert "process of their own" in said
    assert build_parser().parse_args(["doctor"]).command == "doctor"


_ONLY_THE_AGENT_EXTRA = """
import importlib.abc, sys

class Only(importlib.abc.MetaPathFinder):
    allowed = {"device_agent", "nas_engine", "proto", "grpc", "google", "numpy", "onnxruntime", "flatbuffers",
               "packaging", "typing_extensions", "cython_runtime", "_cython_3_2_4"}

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in self.allowed or top in sys.stdlib_module_names or top.startswith("_"):
            return None
        raise ModuleNotFoundError(f"{name} is not in the agent extra", name=name)

sys.meta_path.insert(0, Only())
import device_agent.agent, device_agent.child_main, device_agent.doctor
from device_agent.cli import main
sys.exit(main(["selftest", "--runtime", "fake"]) or main(["doctor", "--runtime", "onnxruntime"]))
"""


def test_the_agent_needs_nothing_beyond_its_own_extra() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ONLY_THE_AGENT_EXTRA], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "onnxruntime" in done.stdout
