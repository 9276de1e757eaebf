"""Results as a hostile agent would send them, and a process that takes the worst of them in little memory."""

from __future__ import annotations

import hashlib
import resource
import struct
import sys
import zlib
from pathlib import Path

import sqlalchemy as sa

from hilnas.v1 import control_pb2
from hilnas.wire import measurement_to_proto
from nas_engine.domain.measurement import Measurement
from server.artifacts.files import FileByteStore
from server.bootstrap.agents import agent_services
from server.bootstrap.job_kinds import all_job_kinds
from server.core.database.engine import open_engine
from server.core.database.transaction import UnitOfWork
from server.core.database.wakeups import Wakeups
from server.fleet.rpc import AgentServices
from server.jobs.job import Job
from server.jobs.states import JobKind
from server.measuring.canaries.canaries import Canaries
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import World, measurement

MAX_EXTRA_BYTES = 256 * 2**20


def services_of(world: World) -> AgentServices:
    """The agents' endpoint of a world, without a socket."""
    wakeups, canaries = world.database.wakeups, Canaries(world.uow)
    return agent_services(world.uow, wakeups, all_job_kinds(), world.artifacts, canaries)


def envelope(job: Job, measured: Measurement, **lease: str | int) -> control_pb2.ResultEnvelope:
    """A result for a job, under its lease but for what is changed."""
    assert job.lease_id is not None
    named = {"job_id": job.id, "attempt": job.attempt, "lease_id": job.lease_id, "fence": job.lease_epoch, **lease}
    return control_pb2.ResultEnvelope(
        lease=control_pb2.LeaseRef(**named),  # type: ignore[arg-type]
        measurement=measurement_to_proto(measured),
    )


def bomb(num_runs: int) -> bytes:
    """Samples of one block of equal runs: a few hundred KB that unpack to 8 bytes a run."""
    packed = zlib.compressobj(9)
    parts = [packed.compress(struct.pack("<7q", 1, 1, 0, num_runs, 0, -1, -1))]
    run = struct.pack("<q", 100_000) * 4096
    parts += [packed.compress(run) for _ in range(num_runs // 4096)]
    parts.append(packed.compress(struct.pack("<q", 100_000) * (num_runs % 4096)))
    return b"".join(parts) + packed.flush()


def digest(sent: control_pb2.ResultEnvelope) -> str:
    """sha256 of a result as sent."""
    return hashlib.sha256(sent.SerializeToString()).hexdigest()


def main(database: str, folder: str) -> None:
    """Take bombs with and without a lease, in 256 MiB more memory than the idle process has."""
    engine = open_engine(f"sqlite:///{database}")
    wakeups = Wakeups(engine)
    world = World(TestDatabase(engine, UnitOfWork(engine, wakeups), wakeups), FileByteStore(Path(folder)))
    device, other = world.enrol("mine"), world.enrol("other")
    services = services_of(world)
    world.search(budget={"num_candidates": 1}, algorithm={"kind": "random", "batch_size": 1})
    world.worker.run()
    job = device.take()
    assert job is not None
    take = services.work[JobKind.MEASURE].take
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MAX_EXTRA_BYTES, held + MAX_EXTRA_BYTES))
    sent = envelope(job, measurement(100.0))
    sent.measurement.samples = bomb(8_000_000)
    for who, message in ((other, sent), (device, sent)):
        receipt = take(world.devices.get(who.id), device_lease(job), message, digest(message))
        sys.stdout.write(f"{receipt.status.value}: {receipt.reason}\n")
    again = device.take()
    if again is None:
        world.uow.write(lambda tx: tx.connection.execute(sa.text("UPDATE jobs SET not_before = 1")))
        again = device.take()
    assert again is not None
    largest = envelope(again, measurement(100.0))
    largest.measurement.samples = bomb(20_000)
    receipt = take(world.devices.get(device.id), device_lease(again), largest, digest(largest))
    sys.stdout.write(f"{receipt.status.value}: {receipt.reason}\n")


def device_lease(job: Job) -> object:
    """The lease of a leased job."""
    return job.lease


if __name__ == "__main__":
    main(*sys.argv[1:])
