"""What an agent keeps on disk: results to deliver, and artifacts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.failures import JobFailedError
from device_agent.server_link.artifacts import ArtifactCache, ArtifactRef, FetchInterruptedError
from device_agent.server_link.spool import MAX_REJECTED, MAX_REJECTED_BYTES, Spool, SpooledResult
from nas_engine.domain.job_protocol import FailureType


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


def test_what_the_server_refuses_for_good_is_set_aside_with_its_reason(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    result = spool.put("lease-1", b"one")
    spool.put("lease-2", b"two")
    spool.set_aside(result, "RESULT_STATUS_REJECTED environment record: half of a surrogate pair \udce9")
    assert [one.envelope for one in Spool(tmp_path).pending()] == [b"two"]
    (kept,) = (tmp_path / "rejected").glob("*.result")
    assert kept.read_bytes()[32:] == b"one"
    assert "half of a surrogate pair ?" in kept.with_suffix(".reason").read_text()


def test_of_what_was_refused_the_newest_are_kept(tmp_path: Path) -> None:
    spool, rejected = Spool(tmp_path), tmp_path / "rejected"
    rejected.mkdir()
    for number in range(MAX_REJECTED + 2):
        for suffix in (".result", ".reason"):
            path = rejected / f"{number:03}{suffix}"
            path.write_bytes(b"")
            os.utime(path, ns=(number, number))
    newest = spool.put("newest", b"one")
    spool.set_aside(newest, "no")
    expected = {newest.name, *(f"{number:03}" for number in range(3, MAX_REJECTED + 2))}
    assert {path.stem for path in rejected.iterdir()} == expected
    last = spool.put("last", b"x" * (MAX_REJECTED_BYTES + 1))
    spool.set_aside(last, "too large")
    assert {path.stem for path in rejected.iterdir()} == {last.name}
    assert spool.pending() == []


def test_a_refused_result_that_was_never_spooled_is_kept_too(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    digest = hashlib.sha256(b"one").hexdigest()
    spool.set_aside(SpooledResult("", b"one", digest), "no")
    (kept,) = (tmp_path / "rejected").glob("*.result")
    assert kept.read_bytes() == bytes.fromhex(digest) + b"one"
