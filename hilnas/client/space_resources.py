"""The SDK's calls for search spaces and data sets."""

from __future__ import annotations

from collections.abc import Iterator

from hilnas.client.resources import API, Document, Group, read
from nas_engine.domain.json_value import JsonValue
from server.plugins.schemas import AlgorithmResource, DatasetKindResource, MetricResource, PluginResource
from server.spaces.schemas import DatasetResource, DecodedResource, SpaceDetail, SpaceResource


class Spaces(Group):
    """Search spaces and data sets."""

    def all(self) -> Iterator[SpaceResource]:
        """Iterate over every search space of the server."""
        return self.items(f"{API}/search-spaces", SpaceResource, {})

    def get(self, space_id: str) -> SpaceDetail:
        """Read a search space with its genes."""
        return read(SpaceDetail, self._transport.get(f"{API}/search-spaces/{space_id}"))

    def register_table(self, space_id: str, sha256: str) -> SpaceDetail:
        """Make an uploaded table of results a search space; see ``POST /api/v1/search-spaces``."""
        return read(SpaceDetail, self._transport.post(f"{API}/search-spaces", {"id": space_id, "sha256": sha256}))

    def decode(self, space_id: str, architecture: JsonValue, parameters: Document | None = None) -> DecodedResource:
        """What an architecture is and costs."""
        body: Document = {"architecture": architecture, "parameters": parameters or {}}
        return read(DecodedResource, self._transport.post(f"{API}/search-spaces/{space_id}:decode", body))

    def datasets(self) -> Iterator[DatasetResource]:
        """Data sets that supernets can be trained on."""
        return self.items(f"{API}/datasets", DatasetResource, {})

    def algorithms(self) -> Iterator[AlgorithmResource]:
        """Search algorithms with the JSON schemas of their settings, what packages bring last."""
        return self.items(f"{API}/algorithms", AlgorithmResource, {})

    def metrics(self) -> Iterator[MetricResource]:
        """Metrics that searches may be made of with the JSON schemas of their settings, what packages bring last."""
        return self.items(f"{API}/metrics", MetricResource, {})

    def dataset_kinds(self) -> Iterator[DatasetKindResource]:
        """Kinds of data sets with the JSON schemas of their settings, what packages bring last."""
        return self.items(f"{API}/dataset-kinds", DatasetKindResource, {})

    def plugins(self) -> Iterator[PluginResource]:
        """What the packages on the server bring, and why any of it cannot be used."""
        return self.items(f"{API}/plugins", PluginResource, {})
