"""Where a job stands in its queue and what rests on a measurement, on both databases."""

from __future__ import annotations

from datetime import timedelta

from server.candidates.evaluation_store import EvaluationStore
from server.candidates.search import SearchQuery
from server.core.paging import PageRequest
from server.jobs.queue import JobStore
from server.jobs.states import JobKind
from server.measuring.store import MeasurementStore
from tests.support.worlds.service_world import World


def test_places_count_what_runs_and_what_comes_first(world: World) -> None:
    device = world.enrol()
    world.search(budget={"num_candidates": 3}, priority=1)
    world.worker.run()
    world.search(budget={"num_candidates": 1}, priority=2, measurement={"validity_policy": "accept_flagged"})
    world.worker.run()
    running = device.take()
    assert running is not None
    assert world.dispatch.place(running.id) is None
    waiting = [
        j for j in world.uow.read(lambda tx: JobStore(tx).active_jobs_of_search(_slow(world))) if j.id != running.id
    ]
    places = [world.dispatch.place(job.id) for job in waiting if job.kind is JobKind.MEASURE]
    assert [place.position for place in places if place is not None] == [2, 3, 4]
    assert {(place.num_takers, place.eta_s) for place in places if place is not None} == {(1, None)}
    device.measure(running)
    place = world.dispatch.place(waiting[1].id)  # the more thorough result has served the first as well
    assert place is not None
    assert place.position == 1
    assert place.eta_s is not None
    assert place.eta_s >= 0.0


def test_nobody_takes_the_jobs_of_a_board_that_a_person_has(world: World) -> None:
    device = world.enrol()
    search = world.search(budget={"num_candidates": 1})
    world.worker.run()
    now = world.uow.read(lambda tx: tx.now())
    world.devices.reserve(device.id, "anna", now + timedelta(hours=1))
    (job,) = world.uow.read(lambda tx: JobStore(tx).active_jobs_of_search(search.id))
    place = world.dispatch.place(job.id)
    assert place is not None
    assert (place.position, place.num_takers, place.eta_s) == (1, 0, None)
    world.enrol("bench-2")
    place = world.dispatch.place(job.id)
    assert place is not None
    assert place.num_takers == 1
    world.devices.release(device.id)
    place = world.dispatch.place(job.id)
    assert place is not None
    assert place.num_takers == 2


def test_what_rests_on_a_device_s_measurements_is_found(world: World) -> None:
    device = world.enrol()
    search = world.search(budget={"num_candidates": 3})
    before = world.uow.read(lambda tx: tx.now())
    world.worker.run()
    assert device.run() == 3
    ids = world.uow.read(lambda tx: MeasurementStore(tx).ids_of_measurements_since(device.id, before))
    assert len(ids) == 3
    resting = world.uow.read(lambda tx: EvaluationStore(tx).evaluations_from_measurements(ids[:2]))
    assert {evaluation.measurement_id for evaluation in resting} == set(ids[:2])
    assert {evaluation.search_id for evaluation in resting} == {search.id}
    assert world.uow.read(lambda tx: EvaluationStore(tx).evaluations_from_measurements(())) == ()
    assert world.uow.read(lambda tx: MeasurementStore(tx).ids_of_measurements_since(device.id, tx.now())) == ()


def _slow(world: World) -> str:
    """The search with the lower priority: it came first."""
    return min(s.id for s in world.searches.page_of_searches(SearchQuery(), PageRequest(10)).items)
