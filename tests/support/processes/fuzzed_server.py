"""A real server with a board, a measuring job and a lease of it that is made anew as often as one likes."""

from __future__ import annotations

import itertools
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import sqlalchemy as sa

from hilnas.v1 import control_pb2
from nas_engine.domain.measurement import Dtype, HardwareKey, SampleBlock, compress_blocks
from server.core.database.engine import open_engine
from server.fleet.device import Device, Enrolment
from server.fleet.devices import Devices
from server.fleet.sessions import AgentReport
from server.fleet.store import devices
from server.jobs.tables import job_exclusions, jobs, leases
from tests.support.processes.api_process import RunningServer, running_server
from tests.support.worlds.api_world import ENROLMENT, World, capabilities, latency_spec, measurement

MAX_EXTRA_BYTES = 320 * 2**20
CREDENTIAL = "nas_dev_the-credential-of-the-board-of-the-tests"


class FuzzedServer:
    """Sends raw bytes to a server process, and watches it."""

    def __init__(self, server: RunningServer, device: Device, rows: dict[sa.Table, dict[str, Any]]) -> None:
        self.server, self.device, self._rows = server, device, rows
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        self.channel = grpc.insecure_channel(server.grpc_address, options=options)
        self._engine = open_engine(f"sqlite:///{server.home / 'hilnas.sqlite3'}")
        self._epochs = itertools.count(2)
        self.lease = control_pb2.LeaseRef()
        self.lease_again()
        self.restart_peak()
        self.idle_bytes = self._memory("VmRSS")

    def send(self, method: str, data: bytes, credential: str = CREDENTIAL, timeout_s: float = 30.0) -> grpc.StatusCode:
        """One call with these bytes; the code it ends with."""
        return self.ask(method, data, credential, timeout_s)[0]

    def ask(
        self, method: str, data: bytes, credential: str = CREDENTIAL, timeout_s: float = 30.0
    ) -> tuple[grpc.StatusCode, str, Sequence[bytes]]:
        """One call with these bytes: its code, the details, the answers as bytes."""
        call: Any = self.channel.unary_stream(method, None, None)
        metadata = (("authorization", f"Bearer {credential}"),)
        try:
            return grpc.StatusCode.OK, "", list(call(data, metadata=metadata, timeout=timeout_s))
        except grpc.RpcError as error:
            return error.code(), str(error.details()), ()

    def lease_again(self) -> None:
        """Lease the job to the board as if nothing had happened: another lease, the next fence."""
        epoch = next(self._epochs)
        lease_id = f"lse_{epoch:022d}"
        job = {**self._rows[jobs], "lease_id": lease_id, "lease_epoch": epoch}
        lease = {**self._rows[leases], "lease_id": lease_id, "lease_epoch": epoch}
        device = {**self._rows[devices], "last_seen_at": self._rows[devices]["last_seen_at"]}
        with self._engine.connect().execution_options(hilnas_write=True) as connection, connection.begin():
            connection.execute(sa.delete(job_exclusions))
            connection.execute(sa.update(jobs).where(jobs.c.id == job["id"]).values(job))
            connection.execute(sa.update(devices).where(devices.c.id == device["id"]).values(device))
            connection.execute(sa.insert(leases).values(lease))
        self.lease = control_pb2.LeaseRef(job_id=job["id"], attempt=1, lease_id=lease_id, fence=epoch)

    def lease_lasts(self) -> bool:
        """Whether the job is still leased under the latest lease."""
        with self._engine.connect() as connection:
            statement = sa.select(jobs.c.state, jobs.c.lease_id).where(jobs.c.id == self.lease.job_id)
            state, lease_id = connection.execute(statement).one()
        return bool(state.value == "leased" and lease_id == self.lease.lease_id)

    def restart_peak(self) -> None:
        """Begin to watch the peak of the server's memory anew."""
        Path(f"/proc/{self.server.process.pid}/clear_refs").write_text("5")

    def extra_bytes(self) -> int:
        """How far the server's memory ever rose above that of the idle process."""
        return self._memory("VmHWM") - self.idle_bytes

    def check(self) -> None:
        """The server lives, is ready, and has kept its memory."""
        assert self.server.process.poll() is None, "the server died"
        with urllib.request.urlopen(f"{self.server.url}/readyz", timeout=30.0) as answer:
            assert answer.status == 200
        assert self.extra_bytes() <= MAX_EXTRA_BYTES, f"{self.extra_bytes() >> 20} MiB above idle"

    def close(self) -> None:
        self.channel.close()
        self._engine.dispose()

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self.server.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1]) * 1024


@contextmanager
def fuzzed_server(home: Path) -> Iterator[FuzzedServer]:
    """A server over a home with one board that holds one job of the profile `audit`."""
    world = World.open(home)
    offered = capabilities()
    enrolment = Enrolment(name="bench-1", device_type="rk3588", capabilities=offered, boot_id="b", instance_epoch=1)
    device, _ = world.process.get(Devices).enrol(ENROLMENT, enrolment, CREDENTIAL)
    posted = world.client().post("/api/v1/searches", json=latency_spec(1, measurement={"profile": "audit"}))
    assert posted.status_code < 300, posted.text
    world.step([[0, 0, 0, 0]])
    world.convert_all()
    report = AgentReport(
        device_id=device.id, boot_id="b", instance_epoch=1, agent_version="1", capabilities=offered, free_slots=1
    )
    (job,) = world.process.agents.sessions.sync(report).assignments
    rows: dict[sa.Table, dict[str, Any]] = {}
    with world.process.engine.connect() as connection:
        for table, key in ((jobs, job.id), (devices, device.id), (leases, job.lease_id)):
            first = next(iter(table.primary_key))
            rows[table] = dict(connection.execute(sa.select(table).where(first == key)).one()._mapping)
    rows[jobs]["lease_expires_at"] = rows[jobs]["created_at"].replace(year=2200)
    world.close()
    with running_server(home) as server:
        opened = FuzzedServer(server, device, rows)
        try:
            yield opened
        finally:
            opened.close()


def honest_envelope(lease: control_pb2.LeaseRef, blocks: Sequence[SampleBlock] | None = None) -> Any:
    """A result that the board of the tests could have measured."""
    from hilnas.wire import measurement_to_proto

    key = HardwareKey(identity=capabilities().identity, dtype=Dtype.FP32)
    envelope = control_pb2.ResultEnvelope(lease=lease, measurement=measurement_to_proto(measurement(key, 1000.0)))
    if blocks is not None:
        envelope.measurement.samples = compress_blocks(blocks)
    return envelope
