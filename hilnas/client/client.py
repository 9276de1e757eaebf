"""The Python SDK: typed calls over the REST API.

with hilnas.connect() as nas:
    search = nas.searches.create(spec)
    for event in nas.searches.events(search.id):
        ...
    for point in nas.searches.front(search.id).points:
        print(point.candidate.arch_id, point.values)
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

import httpx2

from hilnas.client.classification_resources import ClassificationGroup
from hilnas.client.locating import locate
from hilnas.client.resources import (
    ArtifactFiles,
    DeviceGroup,
    Jobs,
    Measurements,
    SearchGroup,
    TokenGroup,
    WorkerGroup,
    read,
)
from hilnas.client.space_resources import Spaces
from hilnas.client.table_resources import LatencyTableGroup
from hilnas.client.training_resources import Candidates, NetworkGroup, RankingStudyGroup, SupernetGroup
from hilnas.client.transport import RetryPolicy, Transport
from server.bootstrap.http.schemas import VersionResource


class Hilnas:
    """One server. Thread-safe.

    Args:
        url: of the server; absent: found as `hilnas.client.locating` says.
        token: likewise.
        timeout_s: of one attempt of one request.
        transport: replaces the network in tests.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout_s: float = 30.0,
        retry: RetryPolicy | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        place = locate(url, token)
        self.url, self.token = place.url, place.token
        self._transport = Transport(
            self.url, self.token, timeout_s=timeout_s, retry=retry, transport=transport, found=place.url_from
        )
        self.searches = SearchGroup(self._transport)
        self.candidates = Candidates(self._transport)
        self.supernets = SupernetGroup(self._transport)
        self.networks = NetworkGroup(self._transport)
        self.ranking_studies = RankingStudyGroup(self._transport)
        self.devices = DeviceGroup(self._transport)
        self.measurements = Measurements(self._transport)
        self.latency_tables = LatencyTableGroup(self._transport)
        self.classifications = ClassificationGroup(self._transport)
        self.jobs = Jobs(self._transport)
        self.workers = WorkerGroup(self._transport)
        self.spaces = Spaces(self._transport)
        self.tokens = TokenGroup(self._transport)
        self.artifacts = ArtifactFiles(self._transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the server."""
        self._transport.close()

    def version(self) -> VersionResource:
        """Which server this is."""
        return read(VersionResource, self._transport.get("/version"))


def connect(url: str | None = None, token: str | None = None) -> Hilnas:
    """Find the server and the token as the ``hilnas`` command does, and return a client for them.

    Args:
        url: of the server; absent: ``HILNAS_URL``, else what the user's own server wrote into its home folder
            (``HILNAS_HOME``), else port 8080 of this machine.
        token: absent: ``HILNAS_TOKEN``; for a server on this machine without it, the token that the user's own server
            left for its user.
    """
    return Hilnas(url, token)
