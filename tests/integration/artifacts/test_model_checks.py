"""Checks of uploaded models: in children of bounded memory, few at once, from the store's file by its descriptor."""

from __future__ import annotations

import hashlib
import resource
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from server.artifacts import model_check
from server.artifacts.model_check import ModelCheck, ModelFacts
from server.core.errors import ArtifactDamagedError, InvalidModelError, UnavailableError
from tests.support.samples.model_files import check_model


def large_model(num_mb: int) -> bytes:
    """A model whose weights take so much."""
    rows = num_mb * 250
    weights = helper.make_tensor("w", TensorProto.FLOAT, [rows, 1000], bytes(rows * 4000), raw=True)
    x = helper.make_tensor_value_info("x", TensorProto.INT64, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1000])
    graph = helper.make_graph([helper.make_node("Gather", ["w", "x"], ["y"])], "g", [x], [y], [weights])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(made.SerializeToString())


def test_a_model_that_needs_more_memory_than_a_child_may_have_is_refused() -> None:
    model = large_model(250)
    assert check_model(model).size_bytes == len(model)
    with pytest.raises(InvalidModelError, match="far too large"):
        check_model(model, ModelCheck(memory_bytes=700 << 20))


def test_a_model_is_not_read_into_this_process(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(large_model(400))
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
        file.seek(0)
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        assert ModelCheck().check(file, digest.hexdigest()).opset == 17
    assert int(Path("/proc/self/statm").read_text().split()[1]) - pages < 10_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 50_000


def test_a_file_with_other_bytes_than_its_digest_is_damaged_not_invalid() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(large_model(1))
        file.seek(0)
        with pytest.raises(ArtifactDamagedError, match="upload the same content again"):
            ModelCheck().check(file, "0" * 64)


def test_a_check_waits_for_its_turn_and_gives_up_with_a_time_to_try_again() -> None:
    model = large_model(1)
    patient, hasty = ModelCheck(num_at_once=1), ModelCheck(num_at_once=1, wait_s=0.01)

    def outcome(check: ModelCheck) -> ModelFacts | UnavailableError:
        try:
            return check_model(model, check)
        except UnavailableError as error:
            return error

    with ThreadPoolExecutor(3) as threads:
        waited = list(threads.map(outcome, [patient] * 3))
        refused = list(threads.map(outcome, [hasty] * 3))
    assert all(isinstance(one, ModelFacts) for one in waited)
    errors = [one for one in refused if isinstance(one, UnavailableError)]
    assert len(errors) == 2
    assert all(error.retry_after_s >= 5 for error in errors)


def test_more_checks_than_may_wait_are_refused_at_once() -> None:
    check = ModelCheck(num_at_once=1)
    num_places = 1 + model_check.MAX_WAITING
    model = large_model(1)
    with ThreadPoolExecutor(num_places + 3) as threads:
        found = [threads.submit(check_model, model, check) for _ in range(num_places + 3)]
    refused = [one.exception() for one in found if one.exception() is not None]
    assert len(refused) >= 1
    assert all(isinstance(error, UnavailableError) and "try again later" in str(error) for error in refused)
