"""Whatever the server brings to an end can be waited for, by blocking and by awaiting clients alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import pytest

import hilnas
from server.access.permissions import Kind
from tests.support.worlds.api_world import ADMIN, World
from tests.support.worlds.owned_things import OwnedThings
from tests.support.worlds.served_world import served

KINDS = (Kind.SEARCH, Kind.SUPERNET, Kind.NETWORK, Kind.STUDY, Kind.TABLE, Kind.REPORT, Kind.JOB)


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnedThings]:
    world = World.open(tmp_path_factory.mktemp("waiting"))
    yield OwnedThings(world)
    world.close()


@pytest.fixture(scope="module")
def url(things: OwnedThings) -> Iterator[str]:
    with served(things.world) as address:
        yield address


def called(nas: Any, kind: Kind, ids: dict[str, str], *, cancel: bool = False) -> Any:
    """One thing as the SDK reads it, or cancels it."""
    group, name, verb = {
        Kind.SEARCH: (nas.searches, "search_id", "get"),
        Kind.SUPERNET: (nas.supernets, "supernet_id", "get"),
        Kind.NETWORK: (nas.networks, "network_id", "get"),
        Kind.STUDY: (nas.ranking_studies, "study_id", "get"),
        Kind.TABLE: (nas.latency_tables, "table_id", "get"),
        Kind.REPORT: (nas.latency_tables, "report_id", "report"),
        Kind.JOB: (nas.jobs, "job_id", "get"),
    }[kind]
    table = (ids["table_id"],) if kind is Kind.REPORT else ()
    wanted = ("cancel_report" if kind is Kind.REPORT else "cancel") if cancel else verb
    return getattr(group, wanted)(*table, ids[name])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
def test_it_is_waited_for_in_time_until_it_ends(url: str, things: OwnedThings, kind: Kind) -> None:
    ids = dict(things.make(kind, "root"))
    with hilnas.connect(url, ADMIN) as nas:
        found: Any = called(nas, kind, ids)
        with pytest.raises(hilnas.WaitTimeoutError, match="after 0.1 s.*it goes on"):
            found.wait(0.1, poll_s=0.05)
        called(nas, kind, ids, cancel=True)
        with pytest.raises(hilnas.UnsuccessfulError, match="is cancelled") as ended:
            found.wait(30.0, poll_s=0.05)
        assert isinstance(ended.value.ended, type(found))
        assert found.wait(30.0, check=False).state.value == "cancelled"
        assert found.refresh().state.value == "cancelled"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
def test_it_is_awaited_likewise(url: str, things: OwnedThings, kind: Kind) -> None:
    ids = dict(things.make(kind, "root"))

    async def wait() -> None:
        async with hilnas.connect_async(url, ADMIN) as nas:
            found = await called(nas, kind, ids)
            with pytest.raises(hilnas.WaitTimeoutError):
                await found.wait(0.1, poll_s=0.05)
            await called(nas, kind, ids, cancel=True)
            with pytest.raises(hilnas.UnsuccessfulError):
                await found.wait(30.0, poll_s=0.05)
            assert (await found.wait(check=False)).state.value == "cancelled"

    anyio.run(wait)
