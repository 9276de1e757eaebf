"""Search spaces for the service: decode, count, draw and export, without torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import cast

from nas_engine.cost.latency_table import TableOperator, operator_graphs
from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.errors import InvalidArchitectureError, InvalidSpaceError
from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import declaration_of, graph_metrics, is_cheap
from nas_engine.domain.objective import Constraint
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.domain.views.complexity import complexity
from nas_engine.domain.views.graph_metrics import NO_SETTINGS, graph_values
from nas_engine.domain.views.latency_key import latency_key
from nas_engine.domain.views.picture import draw_architecture, draw_difference
from nas_engine.export.model_metadata import ModelMetadata, WeightOrigin
from nas_engine.export.onnx import export_onnx
from nas_engine.export.random_weights import random_weights
from nas_engine.settings.kinds.declared import read_settings
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.ranges import GraphValues, metric_range
from nas_engine.spaces.registry import create_space, parameters_schema, space_ids, space_provider, space_title
from nas_engine.spaces.tables.space import SPACE_ID as TABLE_ID
from nas_engine.spaces.tables.space import TableSpace
from server.spaces.architecture import ArchitectureRecord, KnownValue
from server.spaces.descriptions import GeneDescription, MetricBounds, SpaceDescription
from server.spaces.table_spaces import NoTables, TableSource, TableSpaces, table_record, table_values

MAX_SPACES = 64  # spaces kept with what they have computed once (routing, genes)


MAX_RECORDS = 4096


class SpaceCatalog:
    """`SpaceCatalog` over `nas_engine.spaces`. Thread-safe: spaces are immutable, caches are locked."""

    def __init__(self, tables: TableSource | None = None) -> None:
        """`tables` finds the tables of results that were uploaded; None: there are none."""
        self._tables = TableSpaces(NoTables() if tables is None else tables)

    def space_ids(self) -> Sequence[str]:
        """Every registered id: built-in spaces, then tables."""
        return tuple(dict.fromkeys((*space_ids(), *self._tables.ids())))

    def knows(self, space_id: str) -> bool:
        """Whether an id can be described, with the right parameters."""
        return space_id == TABLE_ID or space_id in self.space_ids()

    def describe(self, space_id: str, parameters: Mapping[str, JsonValue]) -> SpaceDescription:
        """A space with its genes and published models."""
        space = self.space(space_id, parameters)
        return SpaceDescription(
            id=space_id,
            title=f"Table of results: {space.name}" if isinstance(space, TableSpace) else space_title(space_id),
            parameters=space.parameters,
            genes=tuple(
                GeneDescription(name=g.name, options=g.options, group=g.group, kind=g.kind.value) for g in space.genes
            ),
            size=space.size,
            num_classes=space.num_classes,
            input_shapes=space.input_shapes,
            named={name: model.source for name, model in space.named.items()},
            has_graphs=any(True for _ in space.supernet_graphs()),
            columns=space.metrics if isinstance(space, TableSpace) else (),
            num_rows=len(space.rows) if isinstance(space, TableSpace) else None,
            densely_connected=isinstance(space, DenseSpace),
            provider=None if isinstance(space, TableSpace) else space_provider(space_id),
            parameters_schema=None if isinstance(space, TableSpace) else parameters_schema(space_id),
        )

    def bounds(
        self,
        space_id: str,
        parameters: Mapping[str, JsonValue],
        metric_settings: Mapping[str, Mapping[str, JsonValue]] | None = None,
    ) -> Mapping[Metric, MetricBounds]:
        """Range of each cheap metric, computed when it is looked up and then remembered.

        Args:
            metric_settings: of metrics by name, as specs write them; absent ones take the defaults.

        Raises:
            PluginError: at the look-up, of a metric that a package brings.
        """
        table = self._tables.find(space_id, parameters)
        if table is not None:
            known = {metric: table.extremes(metric) for metric in table.metrics if is_cheap(metric)}
            return {metric: MetricBounds(minimum=ends[0], maximum=ends[1]) for metric, ends in known.items() if ends}
        return _bounds(space_id, canonical_json(dict(parameters)), canonical_json(dict(metric_settings or {})))

    def nearest_miss(
        self, space_id: str, parameters: Mapping[str, JsonValue], constraints: Sequence[Constraint]
    ) -> tuple[Genotype, Mapping[Metric, float]] | None:
        """The row of a table that comes nearest to bounds that none of its rows meets; None for every other space."""
        table = self._tables.find(space_id, parameters)
        return None if table is None else table.nearest_miss(constraints)

    def record(self, space_id: str, parameters: Mapping[str, JsonValue], document: JsonValue) -> ArchitectureRecord:
        """An architecture from a published name, a genotype or the space's own form."""
        space = self.space(space_id, parameters)
        architecture = space.parse(document)
        if isinstance(space, TableSpace):
            return table_record(space, space.genotype_of(architecture) or ())
        return _record(space_id, canonical_json(dict(parameters)), architecture)

    def decode(self, space_id: str, parameters: Mapping[str, JsonValue], genotype: Genotype) -> ArchitectureRecord:
        """The architecture of a genotype."""
        space = self.space(space_id, parameters)
        if isinstance(space, TableSpace):
            return table_record(space, genotype)
        return _record(space_id, canonical_json(dict(parameters)), space.decode(genotype))

    def record_of(self, architecture: Architecture) -> ArchitectureRecord:
        """The record of an architecture of a space with graphs, with what is counted."""
        return _record(architecture.space_id, architecture.parameters, architecture)

    def known_values(
        self, space_id: str, parameters: Mapping[str, JsonValue], genotype: Genotype
    ) -> Mapping[Metric, KnownValue]:
        """What a table of results holds of a genotype; empty for spaces with graphs."""
        table = self._tables.find(space_id, parameters)
        return {} if table is None else table_values(table, genotype)

    def latency_key(self, architecture: Architecture, *, dtype: Dtype, batch: int) -> str | None:
        """What its latency is filed under."""
        graph = self.graph(architecture)
        return None if graph is None else latency_key(graph, batch=batch, dtype=dtype)

    def picture_svg(self, architecture: Architecture, compared_with: Architecture | None = None) -> str:
        """A picture of one architecture, or of the difference of two."""
        graph, title = _require_graph(self.graph(architecture), architecture), _title(architecture)
        if compared_with is None:
            return draw_architecture(graph, title=title)
        other = _require_graph(self.graph(compared_with), compared_with)
        names = {"first_name": title, "second_name": _title(compared_with)}
        return draw_difference(graph, other, title=f"{title} and {_title(compared_with)}", **names)

    def input_shape(self, architecture: Architecture) -> tuple[int, ...] | None:
        """(channels, height, width) of the DEPLOYED graph; None for a space without graphs."""
        graph = self.graph(architecture)
        return None if graph is None else graph.input_shape

    def layers(self, architecture: Architecture) -> Sequence[Mapping[str, JsonValue]]:
        """Cost per layer of the DEPLOYED graph."""
        graph = _require_graph(self.graph(architecture), architecture)
        shapes = {node.name: list(node.shape) for node in graph.nodes}
        return [
            {
                "name": layer.name,
                "block": layer.block,
                "operator": layer.operator,
                "shape": shapes[layer.name],
                "macs": layer.macs,
                "params": layer.params,
            }
            for layer in complexity(graph).layers
        ]

    def export_onnx(self, architecture: Architecture, *, batch: int, seed: int) -> bytes:
        """ONNX with seeded random weights: a pure function of its arguments, good for latency only."""
        graph = _require_graph(self.graph(architecture), architecture)
        return _export(graph, architecture.arch_id, batch, seed)

    def operators(
        self, space_id: str, parameters: Mapping[str, JsonValue], *, batch: int, dtype: Dtype
    ) -> Mapping[str, TableOperator]:
        """The distinct operators of a space, in depth order, by latency key: what a latency table has measured.

        Raises:
            InvalidSpaceError: there is no such space, or it has no operators.
        """
        return _operators(space_id, canonical_json(dict(parameters)), batch, dtype)

    def export_operator(self, operator: TableOperator, *, batch: int, seed: int) -> bytes:
        """ONNX of an operator as a network of its own; see `export_onnx`."""
        return _export(operator.graph, operator.key, batch, seed)

    def space(self, space_id: str, parameters: Mapping[str, JsonValue]) -> SearchSpace:
        """The space itself, for adapters and workers."""
        table = self._tables.find(space_id, parameters)
        if table is not None:
            return table
        return _space(space_id, canonical_json(dict(parameters)))

    def graph(self, architecture: Architecture, form: Form = Form.DEPLOYED) -> LayerGraph | None:
        """The layer graph of an architecture; None for a space without graphs."""
        if architecture.space_id == TABLE_ID:
            return None
        return _space(architecture.space_id, architecture.parameters).graph(architecture, form)


class _LazyBounds(Mapping[Metric, MetricBounds]):
    """Bounds of the cheap metrics, each computed at its first look-up (seconds in the largest spaces)."""

    def __init__(self, space: SearchSpace, settings: Mapping[str, Mapping[str, JsonValue]]) -> None:
        self._space = space
        self._settings = settings
        self._known: dict[Metric, MetricBounds] = {}
        self._values = GraphValues(space)
        has_graphs = any(True for _ in space.supernet_graphs())
        self._metrics = tuple(one.metric for one in graph_metrics()) if has_graphs else ()

    def __getitem__(self, metric: Metric) -> MetricBounds:
        if metric not in self._metrics:
            raise KeyError(metric)
        if metric not in self._known:
            settings = read_settings(declaration_of(metric), self._settings.get(metric.name, {}))
            found = metric_range(self._space, metric, settings, values=self._values)
            if found is None:
                raise KeyError(metric)
            self._known[metric] = MetricBounds(minimum=found.minimum, maximum=found.maximum)
        return self._known[metric]

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._metrics)

    def __len__(self) -> int:
        return len(self._metrics)


@lru_cache(maxsize=MAX_SPACES)
def _space(space_id: str, parameters: str) -> SearchSpace:
    return create_space(space_id, cast(Mapping[str, JsonValue], json.loads(parameters)))


@lru_cache(maxsize=MAX_SPACES)
def _operators(space_id: str, parameters: str, batch: int, dtype: Dtype) -> Mapping[str, TableOperator]:
    space = _space(space_id, parameters)
    operators = {operator.key: operator for operator in operator_graphs(space, batch=batch, dtype=dtype)}
    if not operators:
        raise InvalidSpaceError(f"space {space_id!r} has no operators to measure")
    return operators


@lru_cache(maxsize=MAX_SPACES)
def _bounds(space_id: str, parameters: str, metric_settings: str) -> Mapping[Metric, MetricBounds]:
    return _LazyBounds(_space(space_id, parameters), json.loads(metric_settings))


@lru_cache(maxsize=MAX_RECORDS)
def _record(space_id: str, parameters: str, architecture: Architecture) -> ArchitectureRecord:
    space = _space(space_id, parameters)
    genotype, graph = space.genotype_of(architecture), space.graph(architecture, Form.DEPLOYED)
    values = {} if graph is None else graph_values(graph, (), NO_SETTINGS)
    known = {metric.name: value for metric, value in values.items()}
    return ArchitectureRecord(architecture=architecture, genotype=genotype, values=known)


def _export(graph: LayerGraph, arch_id: str, batch: int, seed: int) -> bytes:
    weights, statistics = random_weights(graph, seed)
    key = latency_key(graph, batch=batch, dtype=Dtype.FP32)
    metadata = ModelMetadata(arch_id=arch_id, latency_key=key, weights=WeightOrigin.RANDOM)
    return export_onnx(graph, weights, statistics, batch=batch, metadata=metadata)


def _require_graph(graph: LayerGraph | None, architecture: Architecture) -> LayerGraph:
    if graph is None:
        raise InvalidArchitectureError(
            f"space {architecture.space_id} is a table of results: its architectures cannot be drawn, exported or "
            "measured"
        )
    return graph


def _title(architecture: Architecture) -> str:
    return f"{architecture.space_id} {architecture.arch_id[:12]}"
