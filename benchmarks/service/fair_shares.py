"""Who gets the boards: 1,000 jobs of five owners at the real queue, on a clock that is simulated.

Every order, claim and completion is one of the server's own, in a database of its own; only the time that a board takes
for a job is drawn (log-normal, median 1) and not waited for. Two owners search by generations of 50, one orders a
measurement now and then and waits for it alone, one orders all at once, and one comes late. Printed per owner: what it
got of the shared lane while it had work waiting against what its weight was due, how far it fell behind that, and
the longest wait between two of its jobs, in jobs of others; and beside what came the bounds that
docs/explanation/fair_shares.md states. Exits 1 where one is broken.

    python benchmarks/service/fair_shares.py                     # one board and four, on SQLite
    python benchmarks/service/fair_shares.py --boards 4 --database-url postgresql+psycopg://...   # an empty database
"""

from __future__ import annotations

import argparse
import heapq
import random
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from server.access.principal import Principal
from server.access.store import PrincipalStore
from server.bootstrap.schema import migrate
from server.core.database.engine import open_engine
from server.core.database.transaction import UnitOfWork
from server.core.database.wakeups import Wakeups
from server.core.ids import IdPrefix, new_id
from server.jobs.completion import complete_job
from server.jobs.job import ClaimRequest, Job, JobTarget, NewJob
from server.jobs.queue import JobStore
from server.jobs.shares.turns import MAX_RUN, SHARED_EVERY
from server.jobs.states import JobKind

DEVICE_TYPE, POOL = "rk3588", "a" * 64
GENERATION = 50
LEASE_S = 86_400.0  # of the database's clock, which the simulated one does not move
SPREAD = 0.3


@dataclass(slots=True)
class Owner:
    """One owner, and what came of its jobs.

    Attributes:
        num_left: jobs that it has not ordered yet.
        batch: how many it orders at a time, once all of the last are done; 0 for all at once.
        starts_s: when it orders first, in the simulated clock.
        num_waiting: of its jobs, in the shared lane.
        due, got: claims of the shared lane while it had jobs waiting there: its weight's part of each, and its own.
        all_got: claims of its own while all who share had jobs waiting.
        lag: the most that `got` was behind `due` since it began to wait.
        gap: jobs of others of the shared lane that were claimed since its last claim, or since it began to wait.
    """

    name: str
    weight: float
    num_left: int
    batch: int
    starts_s: float = 0.0
    interactive: bool = False
    num_jobs: int = 0
    num_open: int = 0
    num_waiting: int = 0
    due: float = 0.0
    got: int = 0
    all_got: int = 0
    lag: float = 0.0
    gap: int = 0
    max_gap: int = 0
    since: tuple[float, int] = (0.0, 0)
    principal: Principal | None = None

    @property
    def shares(self) -> bool:
        """Whether its jobs are of the shared lane."""
        return not self.interactive


def owners() -> list[Owner]:
    """Five of them, 1,000 jobs."""
    return [
        Owner("ada, generations", 1.0, 250, GENERATION),
        Owner("ben, generations", 2.0, 300, GENERATION),
        Owner("cleo, single orders", 1.0, 50, 1, interactive=True),
        Owner("dan, all at once", 1.0, 300, 0),
        Owner("eve, comes late", 4.0, 100, 0, starts_s=120.0),
    ]


@dataclass(slots=True)
class Simulation:
    """The queue and its boards.

    Attributes:
        events: when what happens: a board is free, or an owner orders.
        under_way: by board.
        begun: jobs begun by each board since an interactive job was ordered, by its id; and whether it had others of
            its lane before it.
        waits: for each interactive job that found no other waiting, the most that one board began before it.
        run, max_run: interactive jobs in a row of each board while the shared lane had jobs waiting.
    """

    uow: UnitOfWork
    owners: list[Owner]
    num_boards: int
    rng: random.Random
    events: list[tuple[float, int, str, int]] = field(default_factory=list)
    under_way: dict[int, tuple[Job, Owner]] = field(default_factory=dict)
    begun: dict[str, Counter[int]] = field(default_factory=dict)
    waits: list[int] = field(default_factory=list)
    run: Counter[int] = field(default_factory=Counter)
    max_run: int = 0
    num_events: int = 0
    num_all: int = 0

    def start(self) -> None:
        """Name the owners to the server, and let boards and owners begin."""
        for number, owner in enumerate(self.owners):
            now = self.uow.read(lambda tx: tx.now())
            made = Principal(id=new_id(IdPrefix.PRINCIPAL), name=owner.name, created_at=now)
            one = self.uow.write(lambda tx, p=made: PrincipalStore(tx).put_principal(p))  # type: ignore[misc]
            owner.principal = self.uow.write(
                lambda tx, id=one.id, weight=owner.weight: PrincipalStore(tx).weigh_principal(id, weight)  # type: ignore[misc]
            )
            self._at(owner.starts_s, "order", number)
        for board in range(self.num_boards):
            self._at(0.0, "free", board)

    def go(self) -> float:
        """Run until all is done; the simulated seconds."""
        now_s, idle = 0.0, set[int]()
        while self.events:
            now_s, _, what, number = heapq.heappop(self.events)
            if what == "order":
                self._order(self.owners[number], now_s)
                for board in sorted(idle):
                    self._at(now_s, "free", board)
                idle.clear()
                continue
            self._finish(number, now_s)
            if self._claim(number, now_s):
                idle.discard(number)
            else:
                idle.add(number)
        return now_s

    def _at(self, at_s: float, what: str, number: int) -> None:
        self.num_events += 1
        heapq.heappush(self.events, (at_s, self.num_events, what, number))

    def _order(self, owner: Owner, now_s: float) -> None:
        num = min(owner.batch or owner.num_left, owner.num_left)
        new = NewJob(
            kind=JobKind.MEASURE,
            payload={},
            owner=owner.principal,
            interactive=owner.interactive,
            target=JobTarget(device_type=DEVICE_TYPE, pool_key=POOL),
        )
        ordered = self.uow.write(lambda tx: JobStore(tx).add_jobs([new] * num))
        owner.num_left -= num
        owner.num_open += num
        for job in ordered:
            if job.interactive:
                if not self.begun:  # it has no other order of a person before it
                    self.begun[job.id] = Counter()
            elif owner.num_waiting == 0:
                owner.since, owner.gap = (owner.due, owner.got), 0
            owner.num_waiting += not job.interactive
        if owner.interactive and owner.num_left:
            self._at(now_s + self.rng.expovariate(self.num_boards / 15.0), "order", self.owners.index(owner))

    def _finish(self, board: int, now_s: float) -> None:
        if board not in self.under_way:
            return
        job, owner = self.under_way.pop(board)
        if job.lease is None:
            raise RuntimeError(f"{job.id} is under way without a lease")
        lease = job.lease
        self.uow.write(lambda tx: complete_job(tx, JobStore(tx).lock_job_of_lease(lease), None))
        owner.num_open -= 1
        if owner.shares and owner.num_open == 0 and owner.num_left:
            self._at(now_s, "order", self.owners.index(owner))  # the next generation

    def _claim(self, board: int, now_s: float) -> bool:
        request = ClaimRequest(
            owner=f"board-{board}",
            kinds=(JobKind.MEASURE,),
            device_id=f"board-{board}",
            device_type=DEVICE_TYPE,
            pool_keys=frozenset({POOL}),
            ttl_s=LEASE_S,
        )
        job = self.uow.write(lambda tx: JobStore(tx).claim_job(request))
        if job is None:
            return False
        owner = next(one for one in self.owners if one.principal is not None and one.principal == job.owner)
        self._count(board, job, owner)
        self.under_way[board] = (job, owner)
        owner.num_jobs += 1
        self._at(now_s + self.rng.lognormvariate(0.0, SPREAD), "free", board)
        return True

    def _count(self, board: int, job: Job, owner: Owner) -> None:
        waiting = [one for one in self.owners if one.num_waiting]
        if job.id in self.begun:
            self.waits.append(max(self.begun.pop(job.id).values(), default=0))
        for begun in self.begun.values():
            begun[board] += 1
        self.run[board] = self.run[board] + 1 if job.interactive and waiting else 0
        self.max_run = max(self.max_run, self.run[board])
        if job.interactive:
            return
        all_wait = len(waiting) == sum(one.shares for one in self.owners)
        self.num_all += all_wait
        total = sum(one.weight for one in waiting)
        for one in waiting:
            one.due += one.weight / total
            if one is owner:
                one.got, one.gap = one.got + 1, 0
                one.all_got += all_wait
            else:
                one.gap += 1
                one.max_gap = max(one.max_gap, one.gap)
            due, got = one.since
            one.lag = max(one.lag, (one.due - due) - (one.got - got))
        owner.num_waiting -= 1


def longest_gap(owner: Owner, everybody: list[Owner]) -> int:
    """Jobs of others that may come between two of an owner: of each, as many as the weights say and one."""
    return sum(int(one.weight / owner.weight + 1) for one in everybody if one is not owner and one.shares)


def report(simulation: Simulation, took_s: float) -> bool:
    """Print what came beside what is bound; whether all bounds held."""
    everybody = simulation.owners
    num_jobs = sum(one.num_jobs for one in everybody)
    print(f"{num_jobs} jobs, {simulation.num_boards} boards, {took_s:.0f} simulated seconds")
    print(
        f"{'owner':<22}{'weight':>7}{'jobs':>6}{'got/due while it waits':>24}{'share/due, all wait':>21}"
        f"{'behind':>8}{'gap':>5}{'bound':>6}"
    )
    kept = num_jobs == 1000
    weights = sum(one.weight for one in everybody if one.shares)
    for one in everybody:
        if one.interactive:
            print(f"{one.name:<22}{one.weight:>7g}{one.num_jobs:>6}")
            continue
        bound = longest_gap(one, everybody)
        kept &= one.max_gap <= bound
        share = f"{one.all_got / max(1, simulation.num_all):.3f}/{one.weight / weights:.3f}"
        print(
            f"{one.name:<22}{one.weight:>7g}{one.num_jobs:>6}{f'{one.got}/{one.due:.1f}':>24}{share:>21}"
            f"{one.lag:>8.2f}{one.max_gap:>5}{bound:>6}"
        )
    alone = max(simulation.waits, default=0)
    kept &= alone == 0 and simulation.max_run <= MAX_RUN
    print(
        f"claims while all four who share waited: {simulation.num_all}\n"
        f"single orders that found no other: {len(simulation.waits)}; a board began at most {alone} jobs before one "
        f"(bound 0, beside the one under way)\n"
        f"interactive jobs in a row of a board while others waited: {simulation.max_run} (bound {MAX_RUN}: one of "
        f"{SHARED_EVERY} claims is of the shared lane)\n",
        flush=True,
    )
    return kept


def simulate(database_url: str, num_boards: int, seed: int) -> bool:
    """Run one in a database of its own; whether all bounds held."""
    engine = open_engine(database_url)
    migrate(engine)
    wakeups = Wakeups(engine)
    try:
        simulation = Simulation(UnitOfWork(engine, wakeups), owners(), num_boards, random.Random(seed))
        simulation.start()
        return report(simulation, simulation.go())
    finally:
        wakeups.close()
        engine.dispose()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", type=int, nargs="*", default=[1, 4], help="one run each [default: 1 4]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--database-url", default="", help="an empty database, for one run; default: SQLite, a file each"
    )
    arguments = parser.parse_args()
    if arguments.database_url and len(arguments.boards) != 1:
        parser.error("a database is good for one run: give one number of --boards")
    kept = []
    for num_boards in arguments.boards:
        with tempfile.TemporaryDirectory(prefix="hilnas-shares-") as folder:
            url = arguments.database_url or f"sqlite:///{Path(folder) / 'hilnas.sqlite'}"
            kept.append(simulate(url, num_boards, arguments.seed))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    raise SystemExit(main())
