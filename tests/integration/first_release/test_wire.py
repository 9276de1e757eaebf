"""Bytes and state directories of the first release's agents at today's server, and at today's agent."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.processes import first_release
from tests.support.processes.first_release import Installation, as_json, call, message

pytestmark = pytest.mark.xdist_group("first-release-wire")
MESSAGES = {
    "Enroll": ("EnrollRequest", "EnrollResponse"),
    "Sync": ("SyncRequest", "SyncResponse"),
    "Renew": ("RenewRequest", "RenewResponse"),
    "PutResult": ("PutResultRequest", "PutResultResponse"),
    "Fetch": ("FetchRequest", "Chunk"),
}
WIRE: dict[str, list[dict[str, Any]]] = first_release.document("wire.json.xz")


def named(record: dict[str, Any], number: int) -> str:
    return f"{number}-{record['method'].rpartition('/')[2]}-{record['device']}"


RECORDS = [pytest.param(one, id=named(one, number)) for number, one in enumerate(WIRE["records"])]
UNSENT = [pytest.param(one, id=named(one, number)) for number, one in enumerate(WIRE["unsent"])]


@pytest.fixture(scope="module")
def nas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("first-release-wire")
    first_release.unpack(folder)
    with first_release.opened(folder) as installation:
        first_release.keep_leases(installation.database_url)
        installation.start_server()
        yield installation


def send(nas: Installation, record: dict[str, Any]) -> tuple[str, list[Any]]:
    """Send what was recorded; the code, and the answers as the first release's agent reads them."""
    metadata = [(key, value) for key, value in record["metadata"]]
    code, answers = call(nas.grpc_port, record["method"], base64.b64decode(record["request"]), metadata)
    kind = MESSAGES[record["method"].rpartition("/")[2]][1]
    return code, [message(kind, answer) for answer in answers]


@pytest.mark.parametrize("record", [*RECORDS, *UNSENT])
def test_the_bytes_hold_what_was_meant(record: dict[str, Any]) -> None:
    kind = MESSAGES[record["method"].rpartition("/")[2]][0]
    request = message(kind, base64.b64decode(record["request"]))
    decoded = as_json(request)
    if kind == "PutResultRequest":
        assert hashlib.sha256(request.envelope).hexdigest() == request.envelope_sha256
        assert as_json(message("ResultEnvelope", request.envelope)) == record["envelope_decoded"]
        decoded.pop("envelope")
    assert decoded == record["request_decoded"]


@pytest.mark.parametrize("record", UNSENT)
def test_a_result_that_was_never_sent_is_taken(nas: Installation, record: dict[str, Any]) -> None:
    (outcome,) = {"measurement", "failure", "classification"} & set(record["envelope_decoded"])
    lease = record["envelope_decoded"]["lease"]
    code, (answer,) = send(nas, record)
    assert (code, as_json(answer)["status"]) == ("OK", "RESULT_STATUS_ACCEPTED"), answer
    job = nas.get(f"/api/v1/jobs/{lease['job_id']}")
    assert job["state"] == ("failed" if outcome == "failure" else "done")
    if outcome != "failure":
        collection = "measurements" if outcome == "measurement" else "classifications"
        stored = nas.get(f"/api/v1/{collection}/{job['result'][f'{outcome}_id']}")
        assert stored["job_id"] == lease["job_id"]
        assert stored["device_id"] == record["request_decoded"]["agent"]["agent_id"]
    again = send(nas, record)
    assert as_json(again[1][0])["status"] == "RESULT_STATUS_DUPLICATE"


@pytest.mark.parametrize("record", RECORDS)
def test_every_call_is_understood_and_its_answer_too(nas: Installation, record: dict[str, Any]) -> None:
    code, answers = send(nas, record)
    if record["device"] == "retired-1":
        # It was retired, and enrolled again by its token: today it stays retired until an admin takes it back.
        assert code == ("FAILED_PRECONDITION" if record["method"].endswith("Enroll") else "PERMISSION_DENIED")
        return
    assert code == record["code"]
    recorded, now = record["answers_decoded"], [as_json(answer) for answer in answers]
    match record["method"].rpartition("/")[2]:
        case "Enroll":
            assert now == recorded
        case "Sync":
            # The state of the fixture is the last one: older starts of the same agent are told so.
            assert now[0]["protocol"] == recorded[0]["protocol"]
            assert now[0]["session"].startswith("SESSION_STATE_")
            assert now[0]["renew_every_s"] == recorded[0]["renew_every_s"]
        case "Renew":
            verdicts, old = now[0]["verdicts"], recorded[0]["verdicts"]
            assert [one["lease_id"] for one in verdicts] == [one["lease_id"] for one in old]
            assert {one["order"] for one in verdicts} <= {f"LEASE_ORDER_{o}" for o in ("CONTINUE", "LOST", "DRAIN")}
        case "PutResult":
            # Its digest is known from the first release: the very same result was taken before.
            assert now[0]["status"] == "RESULT_STATUS_DUPLICATE", now
        case "Fetch":
            data = b"".join(answer.data for answer in answers)
            assert hashlib.sha256(data).hexdigest() == record["request_decoded"]["sha256"]
            assert answers[0].total_size_bytes == len(data)


def test_devices_that_are_there_go_on_as_what_they_said_and_nobody_vouches_for_it(nas: Installation) -> None:
    recorded = [one["request_decoded"]["name"] for one in WIRE["records"] if one["method"].endswith("/Enroll")]
    found = {one["name"]: one for one in nas.items("/api/v1/devices")}
    assert set(recorded) <= set(found)
    assert {found[name]["class_source"] for name in recorded} == {"declared"}
    assert {found[name]["device_class"] for name in recorded} == {"emulated", "simulated"}
    tokens = nas.items("/api/v1/enrolment-tokens")
    assert {(one["device_class"], one["device_type"]) for one in tokens} == {("emulated", None)}


def test_an_agent_of_the_first_release_enrols_as_emulated_whatever_it_says(nas: Installation) -> None:
    recorded = next(one for one in WIRE["records"] if one["request_decoded"].get("name") == "bench-2")
    request = message("EnrollRequest", base64.b64decode(recorded["request"]))
    request.name, request.device_type = "newcomer", "rk3588"
    request.capabilities.identity.device_class = 1  # a board
    credential = "nas_dev_" + "n" * 43
    code, (answer,) = call(
        nas.grpc_port, recorded["method"], request.SerializeToString(), [("authorization", f"Bearer {credential}")]
    )
    assert code == "OK"
    device = nas.get(f"/api/v1/devices/{message('EnrollResponse', answer).agent_id}")
    assert (device["device_class"], device["class_source"]) == ("emulated", "enrolled")
    assert "counts as emulated, not as board" in device["class_reason"]


def test_a_state_directory_is_taken_up_and_its_spooled_result_delivered(tmp_path: Path) -> None:
    first_release.unpack(tmp_path)
    state = tmp_path / "agents" / "unsent-1"
    (spooled,) = (state / "spool").glob("*.result")
    lease = as_json(message("ResultEnvelope", spooled.read_bytes()[32:]))["lease"]
    epoch = int((state / "epoch").read_text())
    with first_release.opened(tmp_path) as nas:
        first_release.keep_leases(nas.database_url)
        nas.start_server()
        devices = {item["name"]: item["id"] for item in nas.items("/api/v1/devices")}
        agent = nas.start_agent("unsent-1", *first_release.UNSENT_1)
        nas.until(lambda: not spooled.exists(), "the result is delivered")
        nas.until(lambda: nas.get(f"/api/v1/devices/{devices['unsent-1']}")["online"], "the device is there again")
        job = nas.get(f"/api/v1/jobs/{lease['job_id']}")
        assert (job["state"], job["attempt"]) == ("done", 1)
        engine = sa.create_engine(nas.database_url)
        rows = first_release.rows_of(engine)
        engine.dispose()
        (measured,) = [row for row in rows["measurements"] if row["lease_id"] == lease["lease_id"]]
        assert not measured["superseded"]
        assert {item["name"]: item["id"] for item in nas.items("/api/v1/devices")} == devices, "it enrolled anew"
        assert int((state / "epoch").read_text()) == epoch + 1
        assert agent.terminate() == 0
        nas.processes.remove(agent)
