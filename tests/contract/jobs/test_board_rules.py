"""Claims go by the rules of boards: who may use one, when, and how much of a day; SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.job_protocol import LeaseOrder
from server.access.principal import Creator
from server.access.token import Role
from server.artifacts.files import FileByteStore
from server.core.errors import InvalidSpecError
from server.core.paging import PageRequest
from server.fleet.device import LOOK_AHEAD_FEATURE
from server.fleet.sessions import RunningLease
from server.fleet.sharing.board_rules import BoardRules, WantedRules
from server.fleet.sharing.rules import UseRules
from server.fleet.sharing.windows import WEEKDAYS, TimeWindow
from server.jobs.job import ClaimRequest, Job, JobQuery, JobTarget, NewJob, OwnersTaken
from server.jobs.queue import JobStore
from server.jobs.states import JobKind, JobPhase, JobState, LeaseOutcome
from server.measuring.orders import SharedMeasurements
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import PlayedDevice, World, lease_of

HOUR_US = 3_600_000_000


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


def person(world: World, name: str) -> Creator:
    token, _ = world.tokens.create(name, [Role.ENGINEER], principal=name)
    return Creator(token.id, token.owner)


def share(world: World, board: PlayedDevice, users: tuple[str, ...] | None = None, **rules: Any) -> None:
    BoardRules(world.uow).set_rules(board.id, WantedRules(users=users, rules=UseRules(**rules)))


def now(world: World) -> datetime:
    return world.uow.read(lambda tx: tx.now())


def window_at(at: datetime) -> TimeWindow:
    """The two hours from an instant on, in UTC, every day."""
    start = at.astimezone(UTC).hour * 60 + at.minute
    return TimeWindow(days=WEEKDAYS, start_min=start, end_min=(start + 120) % 1440)


def order(world: World, who: Creator | None, num: int = 1) -> list[Job]:
    owner = None if who is None else who.owner
    new = NewJob(kind=JobKind.MEASURE, payload={}, target=JobTarget(device_type="testboard"), owner=owner)
    return [world.uow.write(lambda tx: JobStore(tx).add_job(new)) for _ in range(num)]


def taken_by(board: PlayedDevice) -> list[str]:
    """Whose jobs a board is given, one after the other; each ends at once."""
    names = []
    while (job := board.take()) is not None:
        names.append("nobody" if job.owner is None else job.owner.name)
        board.world.dispatch.complete(lease_of(job))
    return names


def lease_of_the_past(world: World, board: PlayedDevice, who: Creator, hours: float, ago: timedelta) -> None:
    """A job of somebody's that the board did for so many hours, and ended a while ago."""
    (job,) = order(world, who)
    lease = board.take()
    assert lease is not None
    assert lease.id == job.id
    world.dispatch.complete(lease_of(lease))
    ended = now(world) - ago
    for column, at in (("ended_at", ended), ("claimed_at", ended - timedelta(hours=hours))):
        at_us = round(at.timestamp() * 1e6)
        world.database.execute(f"UPDATE leases SET {column} = :at WHERE job_id = :id", at=at_us, id=job.id)


class TestWho:
    def test_a_job_of_somebody_who_may_not_use_a_board_is_never_leased_to_it(self, world: World) -> None:
        owner, friend, other = person(world, "owner"), person(world, "friend"), person(world, "other")
        board = world.enrol(creator=owner)
        share(world, board, users=("friend",))
        for who in (other, None, friend, owner):
            order(world, who, 2)
        assert sorted(taken_by(board)) == ["friend", "friend", "owner", "owner"]
        share(world, board, users=())
        for who in (other, None, friend, owner):
            order(world, who)
        assert taken_by(board) == ["owner"]
        share(world, board)
        assert sorted(taken_by(board)) == ["friend", *["nobody"] * 3, *["other"] * 3]

    def test_a_board_of_nobody_s_keeps_to_its_list_too(self, world: World) -> None:
        person(world, "owner"), person(world, "friend")
        board = world.enrol()
        share(world, board, users=("friend",))
        order(world, None)
        order(world, person(world, "other"))
        assert taken_by(board) == []
        BoardRules(world.uow).give(board.id, "other")
        assert taken_by(board) == ["other"]

    def test_many_users_are_as_good_as_few(self, world: World) -> None:
        names = [f"user-{number}" for number in range(6)]
        people = [person(world, name) for name in names]
        board = world.enrol(creator=person(world, "owner"))
        for num in (1, 2, 3, 5):
            share(world, board, users=tuple(names[:num]))
            for one in people:
                order(world, one)
            assert sorted(taken_by(board)) == names[:num]
            world.database.execute("DELETE FROM jobs WHERE state = 'queued'")

    def test_unknown_users_and_zones_are_refused(self, world: World) -> None:
        board = world.enrol()
        with pytest.raises(InvalidSpecError, match="/users/1: no principal has the name or the id 'nobody-of-ours'"):
            share(world, board, users=(person(world, "friend").owner.id, "nobody-of-ours"))  # type: ignore[union-attr]
        with pytest.raises(InvalidSpecError, match="/time_zone: time zone 'Europe/Berlln' is not known"):
            share(world, board, time_zone="Europe/Berlln")
        with pytest.raises(InvalidSpecError, match="/owner"):
            BoardRules(world.uow).give(board.id, "nobody-of-ours")
        assert world.devices.get(board.id).rules is None


class TestWhen:
    def test_others_wait_for_the_window_and_the_owner_does_not(self, world: World) -> None:
        owner, other = person(world, "owner"), person(world, "other")
        board = world.enrol(creator=owner)
        share(world, board, windows=(window_at(now(world) + timedelta(hours=2)),))
        waiting, own = order(world, other)[0], order(world, owner)[0]
        assert taken_by(board) == ["owner"]
        assert world.dispatch.get(own.id).state is JobState.DONE
        place = world.dispatch.place(waiting.id)
        assert place is not None
        assert (place.num_takers, place.eta_s) == (0, None)
        assert place.takers is not None
        opens = now(world) + timedelta(hours=2)
        assert place.takers.waiting_for == (
            "no board of type 'testboard' takes jobs now: bench-1 takes work of others than owner from "
            f"{opens:%a %Y-%m-%d %H:%M} UTC"
        )
        share(world, board, windows=(window_at(now(world) - timedelta(hours=1)),))
        assert taken_by(board) == ["other"]

    def test_what_runs_goes_on_beyond_the_window_and_what_is_held_does_not_begin(self, world: World) -> None:
        owner, other = person(world, "owner"), person(world, "other")
        board = world.enrol(creator=owner)
        capabilities = replace(board.device.capabilities, features=(LOOK_AHEAD_FEATURE,))
        board.device = replace(board.device, capabilities=capabilities)
        order(world, other, 2)
        running = board.take()
        assert running is not None
        first = RunningLease(lease=lease_of(running), phase=JobPhase.MEASURING)
        (held,) = board.sync(running=(first,)).assignments
        waits = RunningLease(lease=lease_of(held), phase=JobPhase.ASSIGNED)
        share(world, board, windows=(window_at(now(world) + timedelta(hours=2)),))
        orders = [verdict.order for verdict in world.sessions.renew(board.id, (first, waits))]
        assert orders == [LeaseOrder.CONTINUE, LeaseOrder.CONTINUE]
        begins = RunningLease(lease=lease_of(held), phase=JobPhase.FETCHING)
        orders = [verdict.order for verdict in world.sessions.renew(board.id, (first, begins))]
        assert orders == [LeaseOrder.CONTINUE, LeaseOrder.LOST]
        again = world.dispatch.get(held.id)
        assert (again.state, again.attempt) == (JobState.QUEUED, 0)
        assert [one.outcome for one in world.dispatch.history(held.id)] == [LeaseOutcome.NACKED]
        assert board.sync(running=(first,)).assignments == ()


class TestHowMuch:
    def test_who_has_had_a_day_s_share_waits_and_the_rest_do_not(self, world: World) -> None:
        owner, greedy, modest = person(world, "owner"), person(world, "greedy"), person(world, "modest")
        board = world.enrol(creator=owner)
        lease_of_the_past(world, board, greedy, hours=3.0, ago=timedelta(0))
        lease_of_the_past(world, board, owner, hours=3.0, ago=timedelta(hours=4))
        lease_of_the_past(world, board, modest, hours=1.0, ago=timedelta(hours=8))
        zone = _zone_in_which_it_is_evening(now(world))
        share(world, board, max_hours_per_day=2.0, time_zone=zone)
        (late,) = order(world, greedy)
        order(world, modest), order(world, owner), order(world, None)
        assert sorted(taken_by(board)) == ["modest", "nobody", "owner"]
        place = world.dispatch.place(late.id)
        assert place is not None
        assert place.takers is not None
        assert "bench-1 has worked the 2 h of today for greedy, and takes more from" in place.takers.waiting_for
        assert f"00:00 {zone}" in place.takers.waiting_for
        share(world, board, max_share_per_day=3.5 / 24, time_zone=zone)
        assert taken_by(board) == ["greedy"]
        share(world, board, users=("greedy",), max_hours_per_day=3.0, time_zone=zone)
        order(world, greedy)
        assert taken_by(board) == []

    def test_time_is_counted_from_midnight_of_the_rules_zone(self, world: World) -> None:
        board, greedy = world.enrol(creator=person(world, "owner")), person(world, "greedy")
        zone = _zone_in_which_it_is_evening(now(world))
        lease_of_the_past(world, board, greedy, hours=5.0, ago=timedelta(hours=22))  # all of it was yesterday there
        share(world, board, max_hours_per_day=1.0, time_zone=zone)
        order(world, greedy)
        assert taken_by(board) == ["greedy"]
        world.database.execute("UPDATE leases SET ended_at = ended_at + :late", late=6 * HOUR_US)
        order(world, greedy)  # of eleven hours some were today
        assert taken_by(board) == []

    def test_what_runs_counts_while_it_runs_and_what_is_held_ahead_does_not(self, world: World) -> None:
        board, greedy = world.enrol(creator=person(world, "owner")), person(world, "greedy")
        order(world, greedy, 2)
        running = board.take()
        assert running is not None
        board.sync()  # held ahead
        world.database.execute("UPDATE leases SET claimed_at = claimed_at - :hour", hour=HOUR_US)
        owner_id = running.owner.id if running.owner else None
        since = now(world) - timedelta(minutes=30)
        used_s = world.uow.read(lambda tx: JobStore(tx).board_time_s(board.id, since))
        assert used_s == {owner_id: pytest.approx(1800.0, abs=60.0)}
        assert world.uow.read(lambda tx: JobStore(tx).busy_s(board.id, since)) == pytest.approx(1800.0, abs=60.0)
        other = world.enrol("bench-2")
        assert world.uow.read(lambda tx: JobStore(tx).board_time_s(other.id, since)) == {}

    def test_a_lease_that_ended_before_it_began_counts_nothing(self, world: World) -> None:
        board, greedy = world.enrol(), person(world, "greedy")
        lease_of_the_past(world, board, greedy, hours=-1.0, ago=timedelta(hours=1))
        used_s = world.uow.read(lambda tx: JobStore(tx).board_time_s(board.id, now(world) - timedelta(hours=9)))
        assert set(used_s.values()) == {0.0}


def _zone_in_which_it_is_evening(at: datetime) -> str:
    """A zone whose day began 20 to 21 hours ago, so that what these tests put into a day lies in it."""
    east = (20 - at.astimezone(UTC).hour) % 24
    east = east - 24 if east > 14 else east
    return f"Etc/GMT{-east:+d}" if east else "UTC"


class TestOrders:
    def test_a_search_that_no_board_may_ever_serve_is_refused_and_says_whom_to_ask(self, world: World) -> None:
        owner, other = person(world, "owner"), person(world, "other")
        board = world.enrol(creator=owner)
        share(world, board, users=())
        with pytest.raises(InvalidSpecError) as refused:
            world.searches.create_search(world.spec(), other)
        assert [one.pointer for one in refused.value.violations] == ["/device"]
        assert (
            "no board of type 'testboard' that fits may be used for other: bench-1 is for its owner owner; ask owner, "
            "or an admin" in str(refused.value)
        )
        assert world.searches.create_search(world.spec(), owner).owner == owner.owner
        world.enrol("bench-2")
        report = world.searches.validate(world.spec(), other.owner)
        assert (report.violations, report.num_devices) == ((), 1)

    def test_a_search_whose_board_is_closed_to_it_later_says_so_at_once(self, world: World) -> None:
        owner, other = person(world, "owner"), person(world, "other")
        board = world.enrol(creator=owner)
        search = world.searches.create_search(world.spec(), other)
        world.worker.run()
        share(world, board, users=())
        waiting_for = world.dispatch.search_waits_for(search.id)
        assert "may be used for other: bench-1 is for its owner owner; ask owner, or an admin" in waiting_for
        assert board.take() is None
        open_board = world.enrol("bench-2")
        assert "bench-1" not in world.dispatch.search_waits_for(search.id)
        assert open_board.take() is not None

    def test_takers_are_those_that_this_owner_may_use(self, world: World) -> None:
        owner, other = person(world, "owner"), person(world, "other")
        share(world, world.enrol(creator=owner), users=())
        world.enrol("bench-2")
        places = [world.dispatch.place(order(world, who)[0].id) for who in (owner, other, None)]
        assert [place.num_takers for place in places if place is not None] == [2, 1, 1]

    def test_who_may_not_use_a_board_keeps_no_measurement_from_who_may(self, world: World) -> None:
        owner, other = person(world, "owner"), person(world, "other")
        board = world.enrol(creator=owner)
        first = world.searches.create_search(world.spec(), other)
        world.worker.run()
        share(world, board, windows=(window_at(now(world) + timedelta(hours=2)),))
        assert board.take() is None
        second = world.searches.create_search(world.spec(), owner)  # asks the very same architectures
        world.worker.run()
        page = world.dispatch.page(JobQuery(kinds=(JobKind.MEASURE,)), PageRequest(100)).items
        assert {job.owner.name for job in page if job.owner is not None} == {"owner"}
        assert {job.search_id for job in page} == {second.id}
        assert board.run() == len(page) == 3
        told = [world.searches.get_search(one.id).progress.num_complete for one in (first, second)]
        assert told == [3, 3]


class TestSharedMeasurements:
    """One job measures for searches of several owners; the board closes to whose job it is."""

    def ordered_by_three(self, world: World, board: PlayedDevice) -> tuple[Creator, list[Any]]:
        owner = person(world, "owner")
        BoardRules(world.uow).give(board.id, "owner")
        searches = []
        for who in (person(world, "first"), person(world, "second"), owner):
            searches.append(world.searches.create_search(world.spec(budget={"num_candidates": 1}), who))
            world.worker.run()
        assert [job.owner.name for job in self.queued(world) if job.owner is not None] == ["first"]
        return owner, searches

    def queued(self, world: World) -> list[Job]:
        query = JobQuery(kinds=(JobKind.MEASURE,), states=(JobState.QUEUED,))
        return list(world.dispatch.page(query, PageRequest(100)).items)

    def test_it_goes_on_for_who_gets_a_board_once_a_window_has_ended(self, world: World) -> None:
        board = world.enrol()
        _, searches = self.ordered_by_three(world, board)
        shared = SharedMeasurements(world.uow)
        assert shared.hand_over() == 0  # no board has rules
        share(world, board, windows=(window_at(now(world) - timedelta(hours=1)),))
        assert shared.hand_over() == 0  # nobody is better off
        share(world, board, windows=(window_at(now(world) + timedelta(hours=2)),))
        assert board.take() is None
        assert shared.hand_over() == 1
        (job,) = self.queued(world)
        assert (job.owner.name if job.owner else "", job.search_id) == ("owner", searches[2].id)
        assert shared.hand_over() == 0
        assert board.run() == 1
        assert [world.searches.get_search(one.id).progress.num_complete for one in searches] == [1, 1, 1]

    def test_a_search_that_is_paused_or_asks_for_more_is_given_none(self, world: World) -> None:
        board, owner = world.enrol(), person(world, "owner")
        BoardRules(world.uow).give(board.id, "owner")
        world.searches.create_search(world.spec(budget={"num_candidates": 1}), person(world, "first"))
        world.worker.run()
        search = world.searches.create_search(world.spec(budget={"num_candidates": 1}), person(world, "second"))
        world.worker.run()
        thorough = {"validity_policy": "accept_flagged", "profile": "standard"}
        world.searches.create_search(world.spec(budget={"num_candidates": 1}, measurement=thorough), owner)
        world.worker.run()
        share(world, board, users=())
        assert SharedMeasurements(world.uow).hand_over() == 0
        world.searches.pause(search.id)
        share(world, board, users=("second",))
        assert SharedMeasurements(world.uow).hand_over() == 0
        world.searches.resume(search.id)
        assert SharedMeasurements(world.uow).hand_over() == 1

    def test_the_heir_of_a_cancelled_search_is_one_that_gets_a_board(self, world: World) -> None:
        board = world.enrol()
        _, searches = self.ordered_by_three(world, board)
        share(world, board, users=())
        world.searches.cancel(searches[0].id)
        (job,) = self.queued(world)
        assert (job.owner.name if job.owner else "", job.search_id) == ("owner", searches[2].id)


def test_owners_are_included_as_the_claims_take_them(world: World) -> None:
    one, two = person(world, "one").owner, person(world, "two").owner
    assert one is not None
    ids = frozenset({one.id})
    for taken, expected in (
        (OwnersTaken(), [False, False, False]),
        (OwnersTaken(ids=ids), [True, False, False]),
        (OwnersTaken(ids=ids, nobodys=True), [True, False, True]),
        (OwnersTaken(excepted=True), [True, True, False]),
        (OwnersTaken(ids=ids, excepted=True), [False, True, False]),
        (OwnersTaken(ids=ids, excepted=True, nobodys=True), [False, True, True]),
    ):
        assert [taken.include(who) for who in (one, two, None)] == expected
        found = []
        for who in (one, two, None):
            new = NewJob(kind=JobKind.MEASURE, payload={}, owner=who)
            world.uow.write(lambda tx, new=new: JobStore(tx).add_job(new))  # type: ignore[misc]
            found.append(world.uow.write(lambda tx, taken=taken: _claims(JobStore(tx), taken)))  # type: ignore[misc]
            world.database.execute("DELETE FROM leases")
            world.database.execute("DELETE FROM jobs")
        assert found == expected


def _claims(store: JobStore, taken: OwnersTaken) -> bool:
    request = ClaimRequest(owner="w", kinds=(JobKind.MEASURE,), owners=taken)
    return store.claimable_in_s(request) == 0.0 and store.claim_job(request) is not None
