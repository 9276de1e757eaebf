"""Models as people bring them: ``hilnas measurements create`` gives a number of a real board, or a clear refusal."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hilnas.cli.main import main
from server.core.home import ENROLMENT_TOKEN_FILE
from tests.support.processes.machine import Program
from tests.support.samples import odd_models

Measure = Callable[..., "tuple[int, str, str]"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server with one emulated board, both processes of their own."""
    folder = tmp_path_factory.mktemp("others")
    home = folder / "home"
    options = ["--home", str(home), "--port", "0", "--grpc-port", "0", "--insecure-no-auth"]
    server = Program("server", folder, ["server", *options], {})
    server.start()
    deadline = time.monotonic() + 60.0
    while not (home / "server.json").exists():
        assert time.monotonic() < deadline, server.log_tail()
        time.sleep(0.05)
    document = json.loads((home / "server.json").read_text())
    board = Program(
        "board",
        folder,
        [
            *("agent", "--server", document["grpc_address"], "--insecure", "--state-dir", str(folder / "state")),
            *("--enrolment-token-file", str(home / ENROLMENT_TOKEN_FILE), "--name", "board"),
            *("--runtime", "onnxruntime", "--device-type", "emulated", "--poll-s", "1"),
        ],
        {},
    )
    board.start()
    yield document["http_url"]
    board.end()
    server.end()


@pytest.fixture
def measure(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Measure:
    """``hilnas measurements create`` of a model: exit status, standard output, standard error."""

    def run(data: bytes, *options: str) -> tuple[int, str, str]:
        model = tmp_path / "model.onnx"
        model.write_bytes(data)
        capsys.readouterr()
        fixed = ("--device-type", "emulated", "--profile", "quick", "--accept-flagged", "--follow", "--json")
        while True:  # ends: the board enrols within seconds, and a test has a time limit
            status = main(["measure", str(model), *fixed, *options, "--server", url])
            shown = capsys.readouterr()
            if "no device of type" not in shown.err:
                return status, shown.out, shown.err
            time.sleep(0.2)

    return run


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (odd_models.with_unused_import(), ()),
        (odd_models.relu((1, 576), ("N", "T")), ()),
        (odd_models.relu(("n", 3, "height", "width")), ("--input-shape", "x=1,3,320,320")),
        (odd_models.with_state(), ()),
        (odd_models.embedding(2), ()),
        (odd_models.shifted_embedding(5), ("--input-range", "ids=1000..1004")),
        (odd_models.relu((1, 8), **{"": 7}), ()),
        (odd_models.relu((1, 8), **{"": 23}), ()),
        (odd_models.half(), ("--dtype", "fp16")),
        (odd_models.quantised(), ("--dtype", "w8a8")),
        (odd_models.relu((5, 1, 8)), ()),
        (odd_models.relu((5, 1, 8)), ("--batch", "1")),
        (odd_models.relu((-1, 3, -1, 8)), ("--input-shape", "x=2,3,16,8")),
    ],
    ids=[
        *("import", "open-output", "open-axes", "state", "table", "range", "opset-7", "opset-23", "fp16", "qdq"),
        *("own-batch", "said-batch", "unknown-axes"),
    ],
)
def test_a_sound_model_is_measured(measure: Measure, data: bytes, options: tuple[str, ...]) -> None:
    status, shown, said = measure(data, *options)
    assert status == 0, said
    assert json.loads(shown)["stats"]["p50_us"] > 0


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 90\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "web page"),
        (odd_models.found_places(), "depends on the data (NonZero)"),
        (odd_models.words(), "takes strings"),
        (odd_models.relu((1, 3, "height", 8)), "--input-shape x="),
        (odd_models.half(), "in fp16; the spec says fp32: say fp16"),
        (odd_models.quantised(), "in w8a8; the spec says fp32: say w8a8"),
    ],
    ids=["empty", "lfs", "html", "data-dependent", "strings", "open-axis", "fp16", "qdq"],
)
def test_what_no_board_can_run_is_refused_at_once_with_the_reason(measure: Measure, data: bytes, reason: str) -> None:
    status, _, said = measure(data)
    assert status == 1
    assert reason in " ".join(said.split())


def test_a_model_is_measured_with_the_weights_beside_it_and_from_an_archive(measure: Measure, tmp_path: Path) -> None:
    model = odd_models.with_weights_outside(tmp_path)
    for data in (model.read_bytes(), _zipped(model, tmp_path / "weights.bin")):
        status, shown, said = measure(data)
        assert status == 0, said
        assert json.loads(shown)["stats"]["p50_us"] > 0


def _zipped(*files: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in files:
            archive.write(file, file.name)
    return buffer.getvalue()


def test_a_failure_over_numbers_that_the_board_drew_says_whose_they_were(measure: Measure) -> None:
    status, _, said = measure(odd_models.shifted_embedding(5))
    assert status == 1
    assert "integers drawn by the agent" in " ".join(said.split())
    assert "--input-range" in said


def test_real_inputs_give_the_ranges_of_integer_ones(measure: Measure, tmp_path: Path) -> None:
    real = tmp_path / "inputs.npz"
    np.savez(real, ids=np.array([[1000, 1004, 1002]]), unrelated=np.zeros((2, 3), np.float32))
    status, shown, said = measure(odd_models.shifted_embedding(5), "--inputs", str(real))
    assert status == 0, said
    assert json.loads(shown)["stats"]["p50_us"] > 0
    np.savez(real, ids=np.array([[7, 8]]))
    assert measure(odd_models.shifted_embedding(5), "--inputs", str(real), "--input-range", "ids=1000..1004")[0] == 0
    for arrays, reason in (({"ids": np.zeros((0,), np.int64)}, "'ids' is empty"), ({"idz": np.ones(2, int)}, "ids")):
        np.savez(real, **arrays)  # type: ignore[arg-type]
        status, _, said = measure(odd_models.shifted_embedding(5), "--inputs", str(real))
        assert status == 1
        assert reason in said
    real.write_bytes(b"PK\x03\x04 cut short")
    status, _, said = measure(odd_models.shifted_embedding(5), "--inputs", str(real))
    assert status == 1
    assert "is no .npz of numbers" in said
