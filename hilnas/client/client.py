"""The Python SDK: typed calls over the REST API.

with hilnas.connect() as nas:
    search = nas.searches.create(spec).wait()
    for point in search.front().points:
        print(point.candidate.arch_id, point.values)

async with hilnas.connect_async() as nas:
    search = await (await nas.searches.create(spec)).wait()
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

import httpx2

from hilnas.client.core.async_transport import AsyncTransport
from hilnas.client.core.calls import Awaiting, Blocking, Carrier, M, call
from hilnas.client.core.group import Group, read
from hilnas.client.core.steps import Call
from hilnas.client.locating import locate
from hilnas.client.measuring_resources import ClassificationGroup, Jobs, LatencyGroup, Measurements
from hilnas.client.resources import ArtifactFiles, ChangeGroup, DeviceGroup, TokenGroup, WorkerGroup
from hilnas.client.search_resources import SearchGroup
from hilnas.client.space_resources import Spaces
from hilnas.client.study_resources import RankingStudyGroup
from hilnas.client.table_resources import LatencyTableGroup
from hilnas.client.training_resources import Candidates, NetworkGroup, SupernetGroup
from hilnas.client.transport import RetryPolicy, Transport
from hilnas.client.trials.resources import TrialGroup
from server.bootstrap.http.schemas import VersionResource


class _Server(Group[M]):
    """One server: its groups of calls, carried out whichever way the client does."""

    def __init__(self, carrier: Carrier, url: str, token: str | None) -> None:
        super().__init__(carrier)
        self.url, self.token = url, token
        self.searches: SearchGroup[M] = SearchGroup(carrier)
        self.candidates: Candidates[M] = Candidates(carrier)
        self.supernets: SupernetGroup[M] = SupernetGroup(carrier)
        self.networks: NetworkGroup[M] = NetworkGroup(carrier)
        self.ranking_studies: RankingStudyGroup[M] = RankingStudyGroup(carrier)
        self.devices: DeviceGroup[M] = DeviceGroup(carrier)
        self.measurements: Measurements[M] = Measurements(carrier)
        self.latencies: LatencyGroup[M] = LatencyGroup(carrier)
        self.latency_tables: LatencyTableGroup[M] = LatencyTableGroup(carrier)
        self.classifications: ClassificationGroup[M] = ClassificationGroup(carrier)
        self.jobs: Jobs[M] = Jobs(carrier)
        self.trials: TrialGroup[M] = TrialGroup(carrier)
        self.workers: WorkerGroup[M] = WorkerGroup(carrier)
        self.spaces: Spaces[M] = Spaces(carrier)
        self.tokens: TokenGroup[M] = TokenGroup(carrier)
        self.changes: ChangeGroup[M] = ChangeGroup(carrier)
        self.artifacts: ArtifactFiles[M] = ArtifactFiles(carrier)

    @call
    def version(self) -> Call[VersionResource]:
        """Which server this is."""
        return read(VersionResource, (yield from self._http.get("/version")))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.url}>"


class Hilnas(_Server[Blocking]):
    """One server. Thread-safe.

    Args:
        url: of the server; absent: found as `hilnas.client.locating` says.
        token: likewise.
        timeout_s: of one attempt of one request.
        transport: replaces the network in tests.
        found: where the address was found, for errors, where `url` is not what the caller was given.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout_s: float = 30.0,
        retry: RetryPolicy | None = None,
        transport: httpx2.BaseTransport | None = None,
        found: str = "",
    ) -> None:
        place = locate(url, token)
        self._transport = Transport(
            place.url,
            place.token,
            timeout_s=timeout_s,
            retry=retry,
            transport=transport,
            found=found or place.url_from,
            token_from=place.token_from,
        )
        super().__init__(self._transport, place.url, place.token)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the server."""
        self._transport.close()


class AsyncHilnas(_Server[Awaiting]):
    """One server, for one event loop of asyncio or trio: the calls of `Hilnas`, awaited. Arguments as there."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout_s: float = 30.0,
        retry: RetryPolicy | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        place = locate(url, token)
        self._transport = AsyncTransport(
            place.url,
            place.token,
            timeout_s=timeout_s,
            retry=retry,
            transport=transport,
            found=place.url_from,
            token_from=place.token_from,
        )
        super().__init__(self._transport, place.url, place.token)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections to the server."""
        await self._transport.close()


def connect(url: str | None = None, token: str | None = None) -> Hilnas:
    """Find the server and the token as the ``hilnas`` command does, and return a client for them.

    Args:
        url: of the server; absent: ``HILNAS_URL``, else what the user's own server wrote into its home folder
            (``HILNAS_HOME``), else port 8080 of this machine.
        token: absent: ``HILNAS_TOKEN``; for a server on this machine without it, the token that the user's own server
            left for its user.
    """
    return Hilnas(url, token)


def connect_async(url: str | None = None, token: str | None = None) -> AsyncHilnas:
    """As `connect`, for a client whose calls are awaited."""
    return AsyncHilnas(url, token)
