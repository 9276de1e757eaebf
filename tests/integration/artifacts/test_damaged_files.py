"""Artifacts whose stored bytes are corrupted, cut or lost: never a complete answer with wrong bytes."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from server.artifacts.artifact import Artifact
from server.artifacts.artifacts import Artifacts
from server.core.errors import ArtifactDamagedError
from tests.support.processes.api_process import RunningServer, running_server
from tests.support.worlds.api_world import World

SMALL = b"seventeen bytes.."
LARGE = random.Random(7).randbytes((3 << 20) + 12_345)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    opened = World.open(tmp_path / "home")
    yield opened
    opened.close()


def stored(world: World, content: bytes) -> tuple[Artifact, Path]:
    artifact = world.process.get(Artifacts).put(content, "application/octet-stream")
    database = world.process.engine.url.database
    assert database is not None
    return artifact, file_of(Path(database).parent / "artifacts", artifact.sha256)


def file_of(store: Path, sha256: str) -> Path:
    return store / "objects" / sha256[:2] / sha256[2:]


def flip(path: Path, at: int) -> None:
    """Change one byte, as a rotten disk would: the file's size stays."""
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


@pytest.mark.parametrize("harm", ["flipped", "cut", "longer", "lost"])
@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=2-5"}], ids=["whole", "range"])
def test_a_damaged_small_artifact_is_a_problem_and_uploading_it_again_heals(
    world: World, harm: str, headers: dict[str, str]
) -> None:
    artifact, path = stored(world, SMALL)
    match harm:
        case "flipped":
            flip(path, 9)
        case "cut":
            path.write_bytes(SMALL[:-1])
        case "longer":
            path.write_bytes(SMALL + b"!")
        case _:
            path.unlink()
    url = f"/api/v1/artifacts/{artifact.sha256}"
    with world.client() as http:
        answer = http.get(url, headers=headers)
        assert answer.status_code == 500
        problem = answer.json()
        assert problem["type"] == "/problems/artifact-damaged"
        assert artifact.sha256 in problem["detail"]
        assert "upload the same content again" in problem["detail"]
        assert ("bytes are lost" in problem["detail"]) == (harm == "lost")
        assert http.put(url, content=SMALL).status_code == 200
        assert http.get(url).content == SMALL


def test_what_was_never_uploaded_is_not_said_to_be_lost(world: World) -> None:
    with world.client() as http:
        answer = http.get(f"/api/v1/artifacts/{'ab' * 32}")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


def test_a_range_of_a_large_artifact_comes_from_verified_bytes_only(world: World) -> None:
    artifact, path = stored(world, LARGE)
    url, wanted = f"/api/v1/artifacts/{artifact.sha256}", {"Range": "bytes=1000000-1000009"}
    with world.client() as http:
        answer = http.get(url, headers=wanted)
        assert (answer.status_code, answer.content) == (206, LARGE[1_000_000:1_000_010])
        flip(path, 3_000_000)  # outside the range, and after the file was found to be good
        answer = http.get(url, headers=wanted)
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/artifact-damaged")


@pytest.mark.parametrize("first", [0, 5, 262_144, len(LARGE) - 1], ids=str)
@pytest.mark.parametrize("at", [0, 1_500_000, len(LARGE) - 1], ids=["head", "middle", "tail"])
def test_the_last_chunk_of_a_damaged_stream_is_held_back(world: World, first: int, at: int) -> None:
    artifact, path = stored(world, LARGE)
    artifacts = world.process.get(Artifacts)
    assert b"".join(artifacts.stream(artifact, first)) == LARGE[first:]
    flip(path, at)
    received = bytearray()
    with pytest.raises(ArtifactDamagedError, match="corrupted"):
        received.extend(b for chunk in artifacts.stream(artifact, first) for b in chunk)
    assert len(received) < len(LARGE) - first


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("damaged") / "home") as running:
        yield running


def test_a_corrupted_download_is_aborted_before_its_end(server: RunningServer) -> None:
    sha256 = hashlib.sha256(LARGE).hexdigest()
    url = f"{server.url}/api/v1/artifacts/{sha256}"
    received = bytearray()
    with httpx2.Client(headers={"Authorization": f"Bearer {server.token}"}) as http:
        assert http.put(url, content=LARGE).status_code == 201
        assert http.get(url).content == LARGE
        flip(file_of(server.home / "artifacts", sha256), 2_000_000)
        with http.stream("GET", url) as answer, pytest.raises(httpx2.RemoteProtocolError):
            received.extend(b for chunk in answer.iter_raw() for b in chunk)
        assert len(received) < len(LARGE)
        assert http.get(f"{server.url}/healthz").status_code == 200


@pytest.mark.parametrize(
    "digest", ["zz", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "x" * 200, "sha256:abc", "%20", "%00", "..%2e"]
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_malformed_digest_is_invalid_not_missing(world: World, method: str, digest: str) -> None:
    with world.client() as http:
        answer = http.request(method, f"/api/v1/artifacts/{digest}", content=b"x" if method == "PUT" else None)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
