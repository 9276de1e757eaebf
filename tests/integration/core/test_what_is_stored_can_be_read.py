"""Nothing that is stored, over REST or by a board, can make a later GET fail, on either database.

Whatever the text or document: it is refused as the sender's fault, or every page that can show it is answered.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import grpc
import httpx2
import pytest
import sqlalchemy as sa
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from hilnas.v1 import control_pb2
from server.bootstrap.schema import metadata
from server.fleet.device import Enrolment
from server.fleet.devices import Devices
from server.fleet.rpc_server import start_rpc_server
from server.fleet.sessions import AgentReport
from tests.support.processes.fuzzed_server import CREDENTIAL, honest_envelope
from tests.support.samples.wire_messages import NUMBERS, SURROGATES, Known, json_text, json_value, request, text
from tests.support.worlds.api_world import ENROLMENT, World, capabilities, cheap_spec, latency_spec
from tests.support.worlds.databases import PostgresServer

API = "/api/v1"
HOLE = "@@"
BODIES: tuple[tuple[str, str, Any], ...] = (
    ("post", "/tokens", {"name": HOLE, "roles": ["viewer"]}),
    ("post", "/enrolment-tokens", {"name": HOLE, "labels": {"rack": HOLE}}),
    ("post", "/enrolment-tokens", {"labels": {HOLE: "x"}}),
    ("put", "/devices/{device}/labels", {"labels": {"rack": HOLE}}),
    ("put", "/devices/{device}/labels", {"labels": {HOLE: "x"}}),
    ("put", "/devices/{device}/labels", {"labels": HOLE}),
    ("put", "/devices/{device}/rules", {"users": [HOLE]}),
    ("put", "/devices/{device}/rules", {"time_zone": HOLE}),
    ("put", "/devices/{device}/rules", {"windows": [{"start": HOLE, "end": "08:00"}]}),
    ("put", "/devices/{device}/rules", {"max_hours_per_day": HOLE}),
    ("put", "/devices/{device}/owner", {"owner": HOLE}),
    ("post", "/devices/{device}:drain", {"reason": HOLE}),
    ("post", "/devices/{device}:quarantine", {"reason": HOLE}),
    ("post", "/devices/{device}:resume", {"reason": HOLE}),
    ("post", "/devices/{device}:reserve", {"reserved_by": HOLE, "duration_s": 60}),
    ("post", "/devices/{device}:reserve", {"reserved_by": "me", "duration_s": HOLE}),
    ("post", "/searches", cheap_spec(name=HOLE)),
    ("post", "/searches", cheap_spec(labels={"team": HOLE})),
    ("post", "/searches", cheap_spec(labels={HOLE: "x"})),
    ("post", "/searches", cheap_spec(seed=HOLE)),
    ("post", "/searches", cheap_spec(space={"id": "spos", "parameters": {"num_classes": HOLE}})),
    ("post", "/searches", cheap_spec(space={"id": "spos", "parameters": HOLE})),
    ("post", "/searches", cheap_spec(constraints=[{"metric": "macs", "maximum": HOLE}])),
    ("post", "/searches", cheap_spec(algorithm=HOLE)),
    ("post", "/searches", HOLE),
    ("patch", "/searches/{search}", {"name": HOLE}),
    ("patch", "/searches/{search}", {"labels": {"team": HOLE}}),
    ("patch", "/searches/{search}", {"priority": HOLE}),
    ("post", "/supernets", {"space": {"id": "spos"}, "dataset": HOLE, "epochs": 1}),
    ("post", "/supernets", {"name": HOLE, "space": {"id": "spos"}, "dataset": "digits", "epochs": 1}),
    (
        "post",
        "/supernets:register",
        {"training": {"space": {"id": "spos"}, "dataset": "digits"}, "weights_sha256": HOLE},
    ),
    ("post", "/ranking-studies", {"supernet": HOLE, "num_architectures": 3, "training": {"epochs": 1}}),
    ("post", "/latency-tables", {"name": HOLE, "space": {"id": "spos"}, "device": {"device_type": "rk3588"}}),
    ("post", "/measurements", {"model_sha256": "0" * 64, "label": HOLE, "device": {"device_type": "rk3588"}}),
    ("post", "/search-spaces", {"id": "table-x", "title": HOLE, "sha256": "0" * 64}),
    ("post", "/search-spaces/spos:decode", {"parameters": HOLE, "genotype": [0]}),
)
LISTS = (
    *("/artifacts", "/classifications", "/datasets", "/device-types", "/devices", "/enrolment-tokens", "/events"),
    *("/jobs", "/latency-tables", "/measurements", "/ranking-studies", "/searches", "/supernets", "/tokens"),
    *("/search-spaces", "/measurements?include_suspect=true&include_superseded=true"),
)
PARTS = {
    "searches": ("", "/candidates", "/checkpoints", "/events", "/front"),
    "devices": ("", "/canaries"),
    "measurements": ("", "/samples"),
    "supernets": ("", "/events", "/models", "/versions"),
    "ranking-studies": ("", "/entries", "/events"),
    "latency-tables": ("", "/reports"),
    "jobs": ("",),
    "tokens": ("",),
    "classifications": ("",),
}
PAGES = ("/", "/fleet", "/latencies", "/fragments/searches", "/fragments/fleet")
NUM_BODIES, NUM_MESSAGES = 60, 20


class Place:
    """A server over one database, a board of it, and every way to read what it holds."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.client: httpx2.Client = world.client()
        enrolment = Enrolment(name="bench-1", device_type="rk3588", capabilities=capabilities(), boot_id="b")
        self.device, _ = world.process.get(Devices).enrol(ENROLMENT, enrolment, CREDENTIAL)
        posted = self.client.post(f"{API}/searches", json=latency_spec(2))
        assert posted.status_code == 202, posted.text
        self.search = posted.json()["id"]
        world.step([[0, 0, 0, 0], [1, 1, 1, 1]])
        world.convert_all()
        self.server = start_rpc_server(world.process.agents, "127.0.0.1:0", num_threads=4)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.server.port}")

    def lease(self) -> control_pb2.LeaseRef:
        """A new lease of a measuring job, whatever its last outcome."""
        with self.world.process.engine.connect().execution_options(hilnas_write=True) as connection, connection.begin():
            for statement in (
                "UPDATE devices SET state = 'active', num_failures_in_a_row = 0, instance_epoch = 0",
                "UPDATE devices SET reserved_until = NULL",
                "UPDATE jobs SET state = 'queued', attempt = 0, not_before = 1, lease_expires_at = NULL, result = NULL "
                "WHERE kind = 'measure'",
                "DELETE FROM job_exclusions",
            ):
                connection.execute(sa.text(statement))
        report = AgentReport(
            device_id=self.device.id,
            boot_id="b",
            instance_epoch=0,
            agent_version="1",
            capabilities=capabilities(),
            free_slots=1,
        )
        (job,) = self.world.process.agents.sessions.sync(report).assignments
        assert job.lease_id is not None
        return control_pb2.LeaseRef(job_id=job.id, attempt=1, lease_id=job.lease_id, fence=job.lease_epoch)

    def call(self, method: str, data: bytes) -> grpc.StatusCode:
        call: Any = self.channel.unary_unary(f"/hilnas.v1.AgentControl/{method}", None, None)
        try:
            call(data, metadata=(("authorization", f"Bearer {CREDENTIAL}"),), timeout=30.0)
        except grpc.RpcError as error:
            return error.code()  # type: ignore[attr-defined]
        return grpc.StatusCode.OK

    def read_everything(self, because: str) -> None:
        """Every list, CSV, item and page is answered with 200."""
        for path in LISTS:
            items = self._get(f"{API}{path}", because).json()["items"]
            kind = path.strip("/").partition("?")[0]
            for item in items[:1]:
                for part in PARTS.get(kind, ()):
                    self._get(f"{API}/{kind}/{item['id']}{part}", because)
            for accept in ("text/csv", "application/x-ndjson") if kind == "measurements" else ():
                self._get(f"{API}{path}", because, accept)
        for page in PAGES:
            self._get(page, because, "text/html")

    def _get(self, path: str, because: str, accept: str = "*/*") -> httpx2.Response:
        answer = self.client.get(path, headers={"accept": accept}, follow_redirects=True)
        assert answer.status_code == 200, (
            f"GET {path} is {answer.status_code} after {because[:2000]}: {answer.text[:500]}"
        )
        return answer

    def close(self) -> None:
        self.channel.close()
        self.server.stop(0.0)
        self.world.close()


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home: Path = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        opened = Place(World.open(home))
        yield opened
        opened.close()
        return
    postgres: PostgresServer = request.getfixturevalue("postgres_server")
    with postgres.database() as url:
        opened = Place(World.open(home, database_url=url))
        yield opened
        opened.close()


def test_a_body_with_any_text_or_document_is_refused_or_can_be_read_again(place: Place) -> None:
    taken: set[str] = set()

    @seed(1)
    @settings(max_examples=NUM_BODIES, deadline=None, database=None, phases=(Phase.generate,))
    @given(st.sampled_from(BODIES), st.integers(0, 2**64))
    def post(body: tuple[str, str, Any], chosen: int) -> None:
        verb, path, document = body
        content = json.dumps(document).replace(json.dumps(HOLE), _odd(Random(chosen), as_key=HOLE in str(document)))
        url = API + path.format(device=place.device.id, search=place.search)
        headers = {"content-type": "application/merge-patch+json" if verb == "patch" else "application/json"}
        answer = place.client.request(verb, url, content=content.encode(), headers=headers)
        assert answer.status_code < 500, f"{verb} {url} with {content[:1000]}: {answer.text[:1000]}"
        if answer.status_code < 300:
            taken.add(path)
            place.read_everything(f"{verb} {url} with {content}")

    post()
    assert len(taken) > 2, taken


@pytest.mark.long
def test_a_message_with_anything_in_it_is_refused_or_what_it_left_can_be_read(place: Place) -> None:
    lease = control_pb2.LeaseRef()
    identity = honest_envelope(lease).measurement.identity
    known: Known = {
        "AgentIdentity.agent_id": lambda _: place.device.id,
        "AgentIdentity.instance_epoch": lambda _: 0,
        "AgentIdentity.protocol_min": lambda _: 1,
        "AgentIdentity.protocol_max": lambda _: 1,
        "ResultEnvelope.lease": lambda _: lease,
        "LeaseReport.lease": lambda _: lease,
        "Nack.lease": lambda _: lease,
        "EnrollRequest.enrolment_token": lambda _: ENROLMENT,
        "EnrollRequest.name": lambda rng: f"board-{rng.randrange(10**9)}",
        "EnrollRequest.device_type": lambda _: "rk3588",
        "Measurement.dtype": lambda _: 1,
        "Measurement.batch": lambda _: 1,
        "Measurement.identity": lambda _: identity,
        "Capabilities.identity": lambda _: identity,
    }
    kinds = {"Enroll": control_pb2.EnrollRequest, "Sync": control_pb2.SyncRequest}

    @seed(2)
    @settings(max_examples=NUM_MESSAGES, deadline=None, database=None, phases=(Phase.generate,))
    @given(st.sampled_from(("Enroll", "Sync", "PutResult", "PutResult", "PutResult")), st.integers(0, 2**64))
    def send(method: str, chosen: int) -> None:
        rng = Random(chosen)
        lease.CopyFrom(place.lease())
        data = request(rng, kinds[method], known) if method in kinds else _result(rng, place.device.id, lease)
        code = place.call(method, data)
        assert code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), data[:2000].hex()
        if code is grpc.StatusCode.OK:
            place.read_everything(f"{method} with {data[:2000].hex()}")

    send()
    with place.world.process.engine.connect() as connection:
        stored = connection.execute(sa.select(sa.func.count()).select_from(metadata.tables["measurements"])).scalar()
    assert stored is not None
    assert stored > 5


def _odd(rng: Random, *, as_key: bool) -> str:
    """JSON of something odd: a text where it is to be a member's name."""
    texts = (
        *SURROGATES,
        json.dumps(text(rng)),
        json.dumps(text(rng) * 40),
        json.dumps("x" * rng.choice((200, 10_000))),
    )
    if as_key:
        return rng.choice(texts)
    deep = rng.choice((60, 500, 100_000))
    return rng.choice((*texts, *NUMBERS, json.dumps(json_value(rng)), "[" * deep + "]" * deep, json_text(rng)))


def _result(rng: Random, device_id: str, lease: control_pb2.LeaseRef) -> bytes:
    """A result that holds one odd thing."""
    envelope = honest_envelope(lease)
    measured = envelope.measurement
    flag = measured.flags.add(validity=2, reason="noise") if rng.random() < 0.4 else None
    match rng.randrange(6):
        case 0 | 1 | 2:
            measured.environment_json = json_text(rng)
        case 3 if flag is not None:
            flag.reason = text(rng) * rng.choice((1, 500))
        case 4:
            measured.npu_time_source, measured.output_digest = text(rng), text(rng)
        case _:
            reading = {
                "artifact_sha256": text(rng),
                "median_us": rng.choice((1.0, 1e-320, 1e13)),
                "output_digest": text(rng),
            }
            measured.canary_before.MergeFrom(type(measured.canary_before)(**reading))  # type: ignore[arg-type]
            measured.canary_after.MergeFrom(
                type(measured.canary_after)(ratio=rng.choice((1.0, 1e-320, 1e9)), **reading)
            )
    data = envelope.SerializeToString()
    sent = control_pb2.PutResultRequest(
        agent=control_pb2.AgentIdentity(agent_id=device_id, instance_epoch=0),
        envelope=data,
        envelope_sha256=hashlib.sha256(data).hexdigest(),
    )
    return bytes(sent.SerializeToString())
