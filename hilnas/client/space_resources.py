"""The SDK's calls for search spaces and data sets."""

from __future__ import annotations

from hilnas.client.core.calls import M, call, listing
from hilnas.client.core.group import Document, Group, read
from hilnas.client.core.paths import path_of
from hilnas.client.core.steps import Call, Items
from nas_engine.domain.json_value import JsonValue
from server.plugins.schemas import AlgorithmResource, DatasetKindResource, MetricResource, PluginResource
from server.spaces.schemas import DatasetResource, DecodedResource, SpaceDetail, SpaceResource


class Spaces(Group[M]):
    """Search spaces and data sets."""

    @listing
    def all(self) -> Items[SpaceResource]:
        """Iterate over every search space of the server."""
        return self.items(path_of("search-spaces"), SpaceResource, {})

    @call
    def get(self, space_id: str) -> Call[SpaceDetail]:
        """Read a search space with its genes."""
        return read(SpaceDetail, (yield from self._http.get(path_of("search-spaces", space_id))))

    @call
    def register_table(self, space_id: str, sha256: str) -> Call[SpaceDetail]:
        """Make an uploaded table of results a search space; see ``POST /api/v1/search-spaces``."""
        return read(
            SpaceDetail, (yield from self._http.post(path_of("search-spaces"), {"id": space_id, "sha256": sha256}))
        )

    @call
    def decode(
        self, space_id: str, architecture: JsonValue, parameters: Document | None = None
    ) -> Call[DecodedResource]:
        """What an architecture is and costs."""
        body: Document = {"architecture": architecture, "parameters": parameters or {}}
        return read(
            DecodedResource, (yield from self._http.post(path_of("search-spaces", space_id, verb="decode"), body))
        )

    @listing
    def datasets(self) -> Items[DatasetResource]:
        """Data sets that supernets can be trained on."""
        return self.items(path_of("datasets"), DatasetResource, {})

    @listing
    def algorithms(self) -> Items[AlgorithmResource]:
        """Search algorithms with the JSON schemas of their settings, what packages bring last."""
        return self.items(path_of("algorithms"), AlgorithmResource, {})

    @listing
    def metrics(self) -> Items[MetricResource]:
        """Metrics that searches may be made of with the JSON schemas of their settings, what packages bring last."""
        return self.items(path_of("metrics"), MetricResource, {})

    @listing
    def dataset_kinds(self) -> Items[DatasetKindResource]:
        """Kinds of data sets with the JSON schemas of their settings, what packages bring last."""
        return self.items(path_of("dataset-kinds"), DatasetKindResource, {})

    @listing
    def plugins(self) -> Items[PluginResource]:
        """What the packages on the server bring, and why any of it cannot be used."""
        return self.items(path_of("plugins"), PluginResource, {})
