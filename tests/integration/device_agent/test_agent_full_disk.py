"""An agent on a full disk: jobs are given back with a reason, results are kept, the process lives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.failures import JobFailedError
from device_agent.server_link.artifacts import ArtifactCache, ArtifactRef
from nas_engine.domain.job_protocol import FailureType
from tests.support.fakes.small_disk import SmallDisk, small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", size_mb=8) as mounted:
        yield mounted


def ref(content: bytes) -> ArtifactRef:
    return ArtifactRef(hashlib.sha256(content).hexdigest(), len(content), "onnx")


def use(cache: ArtifactCache, content: bytes) -> bytes:
    def fetch(_: str, offset: int) -> Iterator[tuple[int, bytes]]:
        for at in range(offset, len(content), 65_536):
            yield at, content[at : at + 65_536]

    with cache.use(ref(content), fetch, pause=lambda _: None) as path:
        return path.read_bytes()


def test_older_artifacts_make_room_on_a_full_disk(disk: SmallDisk) -> None:
    cache = ArtifactCache(disk.path / "cache", max_bytes=1 << 30)
    first, second = b"1" * (5 << 20), b"2" * (6 << 20)
    assert use(cache, first) == first
    assert use(cache, second) == second
    assert cache.held(10) == [ref(second).sha256]


def test_an_artifact_that_does_not_fit_gives_the_job_back_and_leaves_no_part(disk: SmallDisk) -> None:
    cache = ArtifactCache(disk.path / "cache", max_bytes=1 << 30)
    with pytest.raises(JobFailedError, match="the device's disk is full") as caught:
        use(cache, b"3" * (9 << 20))
    assert caught.value.type is FailureType.DEVICE_BUSY
    assert list((disk.path / "cache/partial").iterdir()) == []
    small = b"4" * 1000
    assert use(cache, small) == small
