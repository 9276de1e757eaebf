"""What a conversion for an RKNN board means for candidates: CPU operators, crashes, workers without a converter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.errors import ConversionError, ConversionFailure
from nas_engine.domain.job_protocol import FailureType
from server.artifacts.artifact import ModelFormat, WeightsOrigin
from server.artifacts.files import FileByteStore
from server.artifacts.store import ArtifactStore
from server.candidates.search import Search
from server.candidates.states import CandidateState
from server.core.errors import InvalidSpecError
from server.fleet.selection import converter_labels
from server.jobs.failures import Failure
from server.jobs.job import Job
from server.jobs.states import JobKind
from server.jobs.worker.handlers import failure_of
from server.measuring.conversion import ConvertedModel
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import IDENTITY, World, lease_of

RKNN = replace(IDENTITY, runtime="rknnlite")
CONVERTER = converter_labels(ModelFormat.RKNN)


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> World:
    opened = World(sqlite_database, FileByteStore(tmp_path / "artifacts"))
    opened.enrol(identity=RKNN)
    return opened


def started(world: World, *, npu_only: bool, num_candidates: int = 1, **changes: Any) -> Search:
    device = {"device_type": "testboard", "dtype": "fp16", "npu_only": npu_only}
    search = world.search(device=device, budget={"num_candidates": num_candidates}, **changes)
    world.worker.run((JobKind.SEARCH_STEP,))
    return search


def conversion(world: World) -> Job:
    world.database.skip_backoff()
    job = world.dispatch.claim("worker-2", (JobKind.CONVERT,), CONVERTER)
    assert job is not None
    return job


def convert(world: World, job: Job, *cpu_operators: str) -> None:
    files = [world.artifacts.put(f"{job.id}{kind}".encode(), "application/octet-stream") for kind in ("rknn", "cycles")]
    made = [
        ConvertedModel(sha256=file.sha256, format=format, weights=WeightsOrigin.RANDOM, cpu_operators=cpu_operators)
        for file, format in zip(files, (ModelFormat.RKNN, ModelFormat.RKNN_CYCLES), strict=True)
    ]
    world.conversions.record(lease_of(job), *made)


def test_only_a_worker_with_a_converter_is_given_conversions_for_rknn(world: World) -> None:
    started(world, npu_only=False)
    assert world.dispatch.claim("worker-1", (JobKind.CONVERT,)) is None
    assert conversion(world).kind is JobKind.CONVERT


def test_cpu_operators_make_a_candidate_infeasible_where_the_search_wants_the_npu_alone(world: World) -> None:
    strict = started(world, npu_only=True)
    convert(world, conversion(world), "Resize", "Resize", "Erf")
    (candidate,) = world.candidates(strict)
    assert candidate.state is CandidateState.INFEASIBLE
    assert candidate.reason == "npu_only: the compiler leaves operators to the CPU: Resize, Erf"
    # Known from now on, without another conversion; a search that does not mind measures it.
    again = started(world, npu_only=True)
    assert world.candidates(again)[0].state is CandidateState.INFEASIBLE
    lenient = started(world, npu_only=False)
    assert world.candidates(lenient)[0].state is not CandidateState.INFEASIBLE
    assert world.dispatch.claim("worker-2", (JobKind.CONVERT,), CONVERTER) is None


def test_a_conversion_that_serves_two_searches_is_judged_by_each(world: World) -> None:
    strict, lenient = started(world, npu_only=True), started(world, npu_only=False)
    convert(world, conversion(world), "Resize")
    assert world.candidates(strict)[0].state is CandidateState.INFEASIBLE
    assert not world.candidates(lenient)[0].state.final


def test_both_files_of_a_conversion_are_kept(world: World) -> None:
    search = started(world, npu_only=True)
    convert(world, conversion(world))
    arch_id = world.candidates(search)[0].arch_id
    exports = world.uow.read(lambda tx: ArtifactStore(tx).exports_of(arch_id))
    assert [export.format for export in exports] == [ModelFormat.RKNN, ModelFormat.RKNN_CYCLES]


@pytest.mark.parametrize(
    ("failure", "reported"),
    [
        (ConversionFailure.CONVERT_FAILED, FailureType.CONVERT_FAILED),
        (ConversionFailure.CONVERTER_CRASH, FailureType.CONVERTER_CRASH),
        (ConversionFailure.CONVERTER_KILLED, FailureType.WORKER_ERROR),
        (ConversionFailure.CONVERTER_TIMEOUT, FailureType.WORKER_ERROR),
        (ConversionFailure.CONVERTER_FAULT, FailureType.WORKER_ERROR),
    ],
)
def test_failures_of_the_converter_keep_whose_fault_they_are(failure: ConversionFailure, reported: FailureType) -> None:
    assert failure_of(ConversionError(failure, "it broke")).type is reported


def test_a_model_that_the_converter_refuses_is_infeasible_at_once(world: World) -> None:
    search = started(world, npu_only=False)
    world.dispatch.fail(lease_of(conversion(world)), Failure(FailureType.CONVERT_FAILED, "unsupported operator"))
    assert world.candidates(search)[0].state is CandidateState.INFEASIBLE


def test_a_model_that_keeps_killing_the_converter_is_infeasible_after_three_crashes(world: World) -> None:
    search = started(world, npu_only=False)
    for _ in range(3):
        assert not world.candidates(search)[0].state.final
        world.dispatch.fail(lease_of(conversion(world)), Failure(FailureType.CONVERTER_CRASH, "died of SIGSEGV"))
    (candidate,) = world.candidates(search)
    assert (candidate.state, candidate.reason) == (
        CandidateState.INFEASIBLE,
        "converter_crash: died of SIGSEGV",
    )


def test_npu_only_is_refused_for_boards_without_an_npu_compiler(world: World) -> None:
    world.devices.set_labels(world.enrol("cpu").id, {"kind": "cpu"})
    device = {"device_type": "testboard", "npu_only": True, "labels": {"kind": "cpu"}}
    with pytest.raises(InvalidSpecError, match="has no NPU compiler"):
        world.search(device=device)
