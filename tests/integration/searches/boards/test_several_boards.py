"""Searches that measure on several boards: what is ordered, what lands where, and what a lost board stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.metrics import LATENCY_US, latency_on
from server.artifacts.files import FileByteStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.search import Search
from server.candidates.states import CandidateState, SearchState
from server.core.errors import InvalidSpecError
from server.jobs.states import JobKind, JobState
from server.searches.amending.amendment import SearchAmendment
from server.searches.boards.waiting import search_waits_for
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import IDENTITY, PlayedDevice, World, job_states

OTHER = latency_on("other")
BOARDS: dict[str, Any] = {"other": {"device": {"device_type": "otherboard"}}}
BOTH = [{"metric": "latency_us"}, {"metric": "latency_us@other"}]
ONE = [{"metric": "latency_us"}, {"metric": "macs", "goal": "maximize"}]


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


@pytest.fixture
def devices(world: World) -> tuple[PlayedDevice, PlayedDevice]:
    """Two device types whose hardware says the same of itself: only the type tells their measurements apart."""
    return world.enrol("bench-1"), world.enrol("bench-2", device_type="otherboard")


def measured(device: PlayedDevice, latency_us: float, limit: int = 100) -> int:
    """Measure what waits for a device, each by the same figure."""
    for done in range(limit):
        job = device.take()
        if job is None:
            return done
        device.measure(job, latency_us)
    return limit


def ended(world: World, search: Search, *devices: tuple[PlayedDevice, float]) -> Search:
    """Let the worker and these devices work until the search is over, or nothing moves any more."""
    for _ in range(30):
        if world.worker.run() + sum(measured(device, latency_us) for device, latency_us in devices) == 0:
            break
    return world.searches.get_search(search.id)


def restarted(world: World) -> None:
    """Forget everything that a process holds: leases die, jobs are put back, what should be queued is."""
    world.database.execute("UPDATE jobs SET lease_expires_at = 1 WHERE state = 'leased'")
    world.dispatch.sweep()
    world.dispatch.reconcile()
    world.database.skip_backoff()


def test_every_candidate_is_measured_on_every_board(world: World, devices: tuple[PlayedDevice, PlayedDevice]) -> None:
    own, other = devices
    search = world.search(boards=BOARDS, objectives=BOTH)
    search = ended(world, search, (own, 100.0), (other, 700.0))
    assert search.state is SearchState.COMPLETED, search.reason
    values = [(one.value(LATENCY_US), one.value(OTHER)) for one in world.candidates(search)]
    assert values == [(pytest.approx(100.0), pytest.approx(700.0))] * 6
    measuring = [state for kind, state in job_states(world, search) if kind is JobKind.MEASURE]
    assert measuring == [JobState.DONE] * 12, "one a board and candidate"
    front = world.fronts.of_search(search.id)
    assert [objective.metric for objective in front.objectives] == [LATENCY_US, OTHER]
    assert len(front.points) == 6


def test_boards_of_other_hardware_and_batches_have_keys_of_their_own(world: World) -> None:
    own = world.enrol("bench-1")
    world.enrol("bench-2", IDENTITY, "otherboard")
    boards = {"other": {"device": {"device_type": "otherboard", "batch": 4}}}
    search = world.search(boards=boards, objectives=BOTH)
    assert search.board_hardware_keys["other"] != search.hardware_key
    world.worker.run()
    (first, *_) = world.candidates(search)
    assert first.latency_keys["other"] != first.latency_key
    assert measured(own, 100.0) == 3, "what is measured for the other board is none of its business"
    assert world.states(search) == [CandidateState.EVALUATING] * 3


def test_what_was_measured_on_one_board_before_is_not_measured_there_again(
    world: World, devices: tuple[PlayedDevice, PlayedDevice]
) -> None:
    own, other = devices
    ended(world, world.search(), (own, 100.0))
    search = world.search(boards=BOARDS, objectives=BOTH)
    world.worker.run()
    assert own.take() is None
    assert [one.value(LATENCY_US) for one in world.candidates(search)] == [pytest.approx(100.0)] * 3
    assert CandidateState.COMPLETE not in world.states(search), "the other board has not measured them"
    search = ended(world, search, (own, 100.0), (other, 700.0))
    assert (search.state, search.progress.num_reused) == (SearchState.COMPLETED, 6)
    again = ended(world, world.search(boards=BOARDS, objectives=BOTH))
    assert (again.state, again.progress.num_reused) == (SearchState.COMPLETED, 12)
    assert [one.value(OTHER) for one in world.candidates(again)] == [pytest.approx(700.0)] * 6


def test_a_lost_board_stops_what_needs_it_and_the_search_goes_on_when_it_returns(
    world: World, devices: tuple[PlayedDevice, PlayedDevice]
) -> None:
    own, other = devices
    search, elsewhere = world.search(boards=BOARDS, objectives=BOTH), world.search(space={"id": "toy"})
    world.worker.run()
    world.database.execute("UPDATE devices SET last_seen_at = last_seen_at - 3600000000 WHERE id = :id", id=other.id)
    elsewhere = ended(world, elsewhere, (own, 100.0))
    assert elsewhere.state is SearchState.COMPLETED, "it does not need the board that is away"
    search = world.searches.get_search(search.id)
    assert search.state is SearchState.RUNNING
    assert [one.value(LATENCY_US) for one in world.candidates(search)] == [pytest.approx(100.0)] * 3
    said = search_waits_for(world.dispatch, search)
    assert said.startswith("board other: no board of type 'otherboard' is online, last seen "), said
    search = ended(world, search, (own, 100.0), (other, 700.0))
    assert search.state is SearchState.COMPLETED
    assert [one.value(OTHER) for one in world.candidates(search)] == [pytest.approx(700.0)] * 6


def test_a_search_completes_without_a_board_that_it_does_not_need(
    world: World, devices: tuple[PlayedDevice, PlayedDevice]
) -> None:
    own, other = devices
    search = world.search(boards=BOARDS, objectives=ONE)
    world.worker.run()
    world.database.execute("UPDATE devices SET last_seen_at = last_seen_at - 3600000000 WHERE id = :id", id=other.id)
    assert search_waits_for(world.dispatch, search).startswith("board other (the search goes on without it): no board")
    search = ended(world, search, (own, 100.0))
    assert search.state is SearchState.COMPLETED
    assert [one.value(OTHER) for one in world.candidates(search)] == [None] * 6
    assert measured(other, 700.0) == 6, "its measurements come when it does"
    assert [one.value(OTHER) for one in world.candidates(search)] == [pytest.approx(700.0)] * 6
    assert world.searches.get_search(search.id).state is SearchState.COMPLETED


def test_a_board_that_is_not_needed_may_be_faster_or_fail(
    world: World, devices: tuple[PlayedDevice, PlayedDevice]
) -> None:
    own, other = devices
    search = world.search(boards=BOARDS, objectives=ONE)
    world.worker.run()
    job = other.take()
    assert job is not None
    other.fail(job, FailureType.UNSUPPORTED)
    assert measured(other, 700.0) == 2
    assert world.states(search) == [CandidateState.EVALUATING] * 3
    search = ended(world, search, (own, 100.0), (other, 700.0))
    assert (search.state, world.states(search)) == (SearchState.COMPLETED, [CandidateState.COMPLETE] * 6)
    assert [one.value(OTHER) for one in world.candidates(search)].count(None) == 1


def test_a_search_goes_on_without_a_lost_board_once_it_is_amended_to_need_none(
    world: World, devices: tuple[PlayedDevice, PlayedDevice]
) -> None:
    own, other = devices
    constraints = [{"metric": OTHER.name, "maximum": 1e6}, {"metric": "macs", "minimum": 1.0}]
    search = world.search(boards=BOARDS, objectives=ONE, constraints=constraints)
    search = ended(world, search, (own, 100.0))
    assert world.states(search) == [CandidateState.EVALUATING] * 3
    world.searches.amend(search.id, SearchAmendment(patch={"constraints": constraints[1:]}))
    assert world.states(search) == [CandidateState.COMPLETE] * 3
    search = ended(world, search, (own, 100.0))
    assert (search.state, len(world.candidates(search))) == (SearchState.COMPLETED, 6)
    assert measured(other, 700.0) == 6


def test_cancelling_takes_the_jobs_of_every_board_back(
    world: World, devices: tuple[PlayedDevice, PlayedDevice]
) -> None:
    search = world.search(boards=BOARDS, objectives=ONE)
    world.worker.run()
    world.searches.cancel(search.id)
    assert [device.take() for device in devices] == [None, None]
    assert not any(
        world.uow.read(lambda tx, i=one.id: EvaluationStore(tx).awaited_evaluations_of(i))  # type: ignore[misc]
        for one in world.candidates(search)
    )


def test_a_candidate_that_a_needed_board_cannot_run_ends(
    world: World, devices: tuple[PlayedDevice, PlayedDevice]
) -> None:
    own, other = devices
    search = world.search(boards=BOARDS, objectives=BOTH)
    world.worker.run()
    job = other.take()
    assert job is not None
    other.fail(job, FailureType.UNSUPPORTED)
    search = ended(world, search, (own, 100.0), (other, 700.0))
    assert search.state is SearchState.COMPLETED
    states = world.states(search)
    assert (states.count(CandidateState.FAILED), states.count(CandidateState.COMPLETE)) == (1, 5)


def test_a_server_that_dies_between_the_boards_neither_loses_nor_doubles_a_measurement(
    world: World, devices: tuple[PlayedDevice, PlayedDevice]
) -> None:
    own, other = devices
    search = world.search(boards=BOARDS, objectives=BOTH)
    for _ in range(40):
        restarted(world)
        world.worker.run()
        for device, latency_us in ((own, 100.0), (other, 700.0)):
            restarted(world)
            job = device.take()
            if job is not None and device.num_done % 2:
                restarted(world)  # while it is measured: the job is done again, under another lease
                job = device.take()
            if job is not None:
                device.measure(job, latency_us)
                device.num_done += 1
        if world.searches.get_search(search.id).state.final:
            break
    assert world.searches.get_search(search.id).state is SearchState.COMPLETED
    for candidate in world.candidates(search):
        found = world.uow.read(lambda tx, i=candidate.id: EvaluationStore(tx).evaluations_of_candidates([i]))  # type: ignore[misc]
        assert [(one.metric, one.value) for one in found if one.metric in (LATENCY_US, OTHER)] == [
            (LATENCY_US, pytest.approx(100.0)),
            (OTHER, pytest.approx(700.0)),
        ]
    measuring = [state for kind, state in job_states(world, search) if kind is JobKind.MEASURE]
    assert measuring == [JobState.DONE] * 12


def test_a_suspect_result_of_one_board_is_taken_again_there_alone(
    world: World, devices: tuple[PlayedDevice, PlayedDevice]
) -> None:
    own, other = devices
    search = world.search(boards=BOARDS, objectives=BOTH)
    world.worker.run()
    canary: dict[str, Any] = {"pool_key": "1" * 64, "artifact_sha256": "0" * 64, "median_us": 100.0}
    world.record_canary(other.id, **canary, ratio=1.0, passed=True)
    measured(own, 100.0)
    measured(other, 700.0)
    assert world.record_canary(other.id, **canary, ratio=1.3, passed=False) == 3
    for candidate in world.candidates(search):
        awaited = world.uow.read(lambda tx, i=candidate.id: EvaluationStore(tx).awaited_evaluations_of(i))  # type: ignore[misc]
        assert [(one.metric, one.attempt) for one in awaited] == [(OTHER, 2)]
    assert own.take() is None


def test_a_re_measurement_that_fails_on_one_board_leaves_that_on_the_other_awaited(
    world: World, devices: tuple[PlayedDevice, PlayedDevice]
) -> None:
    own, other = devices
    search = world.search(boards=BOARDS, objectives=BOTH)
    world.worker.run()
    canary: dict[str, Any] = {"pool_key": "1" * 64, "artifact_sha256": "0" * 64, "median_us": 100.0}
    for device in devices:
        world.record_canary(device.id, **canary, ratio=1.0, passed=True)
    measured(own, 100.0)
    measured(other, 700.0)
    for device in devices:
        assert world.record_canary(device.id, **canary, ratio=1.3, passed=False) == 3
    own, other = world.enrol("bench-3"), world.enrol("bench-4", device_type="otherboard")
    while (job := other.take()) is not None:
        other.fail(job, FailureType.UNSUPPORTED)
    for candidate in world.candidates(search):
        awaited = world.uow.read(lambda tx, i=candidate.id: EvaluationStore(tx).awaited_evaluations_of(i))  # type: ignore[misc]
        assert [(one.metric, one.attempt) for one in awaited] == [(LATENCY_US, 2)]
    assert measured(own, 110.0) == 3
    for candidate in world.candidates(search):
        found = world.uow.read(lambda tx, i=candidate.id: EvaluationStore(tx).evaluations_of_candidates([i]))  # type: ignore[misc]
        assert [one.value for one in found if one.metric == LATENCY_US] == [pytest.approx(100.0), pytest.approx(110.0)]


@pytest.mark.parametrize(
    ("boards", "place", "said"),
    [
        ({"other": {"device": {"device_type": "oddboard"}}}, "/boards/other/device/device_type", "oddboard"),
        ({"other": {"device": {"device_type": "otherboard", "runtime": "onnxruntime"}}, **BOARDS}, "", ""),
        (
            {"other": {"device": {"device_type": "otherboard"}}, "third": {"device": {"device_type": "otherboard"}}},
            "/boards/third/device",
            "is board other once more, of the same type and labels: leave it out",
        ),
        (
            {
                "other": {"device": {"device_type": "otherboard"}},
                "third": {"device": {"device_type": "otherboard", "runtime": "onnxruntime"}},
            },
            "/boards/third/device",
            "is board other once more, the same configuration of type 'otherboard': leave it out",
        ),
        ({"device": {"device": {"device_type": "otherboard"}}}, "/boards/device", "names the spec's own device"),
    ],
)
def test_boards_that_cannot_be_are_refused_where_they_are_named(
    world: World, devices: tuple[PlayedDevice, PlayedDevice], boards: dict[str, Any], place: str, said: str
) -> None:
    del devices
    if not place:
        world.search(boards=boards, objectives=BOTH)
        return
    with pytest.raises(InvalidSpecError) as refused:
        world.search(boards=boards, objectives=ONE)
    found = [one for one in refused.value.violations if one.pointer == place]
    assert found
    assert said in found[0].message
