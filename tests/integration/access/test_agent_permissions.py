"""What the agents' endpoint lets a device do, with two real devices: its own, and nothing of the other's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from hilnas.v1 import artifacts_pb2, artifacts_pb2_grpc, control_pb2
from server.access.permissions import AGENT_POLICY
from server.jobs.job import Job
from server.jobs.states import JobState
from tests.integration.fleet.test_hostile_results import REJECTED, Endpoint
from tests.support.hostile_results import envelope
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import PlayedDevice, measurement


@pytest.fixture
def endpoint(database: TestDatabase, tmp_path: Path) -> Iterator[Endpoint]:
    opened = Endpoint(database, tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def pair(endpoint: Endpoint) -> tuple[PlayedDevice, PlayedDevice]:
    return endpoint.world.enrol("mine"), endpoint.world.enrol("other")


def credential(device: PlayedDevice) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {device.credential}"),)


def running(job: Job) -> control_pb2.LeaseReport:
    assert job.lease_id is not None
    lease = control_pb2.LeaseRef(job_id=job.id, attempt=job.attempt, lease_id=job.lease_id, fence=job.lease_epoch)
    return control_pb2.LeaseReport(lease=lease)


def test_every_call_of_the_wire_stands_in_the_policy() -> None:
    calls = {
        f"{service.name}/{method.name}"
        for file in (control_pb2.DESCRIPTOR, artifacts_pb2.DESCRIPTOR)
        for service in file.services_by_name.values()
        for method in service.methods
    }
    assert calls == {rule.call for rule in AGENT_POLICY}


@pytest.mark.parametrize("call", ["Sync", "Renew", "PutResult"])
def test_a_device_does_not_speak_in_anothers_name(
    endpoint: Endpoint, pair: tuple[PlayedDevice, PlayedDevice], call: str
) -> None:
    mine, other = pair
    request = getattr(control_pb2, f"{call}Request")()
    request.agent.agent_id = mine.id
    request.agent.protocol_min = request.agent.protocol_max = 1
    with pytest.raises(grpc.RpcError) as caught:
        getattr(endpoint.stub, call)(request, metadata=credential(other), timeout=30.0)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert mine.id in (caught.value.details() or "")


def test_anothers_lease_is_lost_to_a_device_and_not_kept_alive_by_it(
    endpoint: Endpoint, pair: tuple[PlayedDevice, PlayedDevice]
) -> None:
    mine, other = pair
    job = endpoint.leased(mine)
    expiry = endpoint.world.dispatch.get(job.id).lease_expires_at
    for device, order in ((other, control_pb2.LEASE_ORDER_LOST), (mine, control_pb2.LEASE_ORDER_CONTINUE)):
        request = control_pb2.RenewRequest(running=[running(job)])
        request.agent.agent_id, request.agent.instance_epoch = device.id, 1
        answer = endpoint.stub.Renew(request, metadata=credential(device), timeout=30.0)
        assert [verdict.order for verdict in answer.verdicts] == [order]
        kept_alive = endpoint.world.dispatch.get(job.id).lease_expires_at != expiry
        assert kept_alive is (device is mine)


def test_a_result_of_anothers_lease_is_rejected_and_leaves_the_job_where_it_is(
    endpoint: Endpoint, pair: tuple[PlayedDevice, PlayedDevice]
) -> None:
    mine, other = pair
    job = endpoint.leased(mine)
    assert endpoint.put(other, envelope(job, measurement(100.0))).status == REJECTED
    assert endpoint.world.dispatch.get(job.id).state is JobState.LEASED


def test_a_device_reads_what_its_own_jobs_need_and_cannot_tell_what_else_is_stored(
    endpoint: Endpoint, pair: tuple[PlayedDevice, PlayedDevice]
) -> None:
    mine, other = pair
    model = str(endpoint.leased(mine).payload["model_sha256"])
    answers = {}
    for whose, device, sha256 in (("own", mine, model), ("another's", other, model), ("none", other, "0" * 64)):
        request = artifacts_pb2.FetchRequest(sha256=sha256)
        try:
            chunks = list(
                artifacts_pb2_grpc.ArtifactsStub(endpoint.channel).Fetch(
                    request, metadata=credential(device), timeout=30.0
                )
            )
            answers[whose] = (grpc.StatusCode.OK, len(chunks) > 0)
        except grpc.RpcError as error:
            answers[whose] = (error.code(), sha256[:12] in str(error.details()))
    denied = (grpc.StatusCode.PERMISSION_DENIED, True)
    assert answers == {"own": (grpc.StatusCode.OK, True), "another's": denied, "none": denied}
