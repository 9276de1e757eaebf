"""Latency tables: what each operator of a search space costs on one device, measured alone.

A table is filed under latency keys (structure, input shape, batch, data type), so equal operators are
measured once, wherever they stand. Its numbers are measurements of parts; what is summed from them is an
estimate. The batch is part of every key: the paper's tables are for 32 images, boards mostly run 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from nas_engine.cost.routing_costs import BlockCosts, RoutingCosts, Row
from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.domain.views.complexity import complexity
from nas_engine.domain.views.latency_key import latency_key
from nas_engine.domain.views.operator_graphs import cut_operators
from nas_engine.spaces.densenas.sites import OperatorSite, SiteKind, ending_place, head_place, stack_place
from nas_engine.spaces.densenas.space import DenseSpace

_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class TableOperator:
    """One operator to be measured.

    Attributes:
        key: latency key of its graph.
        label: place and operator where it first stands, for people.
        graph: the operator as a network of its own.
        num_places: how many places of the space share it.
    """

    key: str
    label: str
    graph: LayerGraph
    num_places: int


@dataclass(frozen=True, slots=True)
class TableEntry:
    """A measured operator: its label and its median latency."""

    label: str
    latency_us: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.latency_us) or self.latency_us < 0:
            raise InvalidMeasurementError(
                f"latency of {self.label} is {self.latency_us!r} us: it must be finite and >= 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTable:
    """Measured operators of one space on one device.

    Attributes:
        space_id: space the operators come from.
        hardware_key: device model, runtime and settings they were measured on.
        batch: images per inference.
        dtype: number format on the device.
        entries: by latency key.
    """

    space_id: str
    hardware_key: str
    batch: int
    dtype: Dtype
    entries: Mapping[str, TableEntry]

    def latency_us(self, graph: LayerGraph) -> float:
        """Measured latency of a one-operator graph.

        Raises:
            InvalidMeasurementError: the table has no entry for it.
        """
        key = latency_key(graph, batch=self.batch, dtype=self.dtype)
        if key not in self.entries:
            node = graph.nodes[-1]
            raise InvalidMeasurementError(
                f"operator {node.operator} of {node.block} is not in this table of {self.space_id} "
                f"(batch {self.batch}, {self.dtype.value}): measure it first"
            )
        return self.entries[key].latency_us

    def estimate_us(self, graph: LayerGraph) -> float:
        """Estimated latency of a DEPLOYED network: the sum over the operators it is cut into. Raises as above."""
        return sum(self.latency_us(part.graph) for part in cut_operators(graph))

    def as_json(self) -> JsonValue:
        """Write the table as plain JSON values."""
        return {
            "schema": _SCHEMA,
            "space_id": self.space_id,
            "hardware_key": self.hardware_key,
            "batch": self.batch,
            "dtype": self.dtype.value,
            "entries": {key: {"label": e.label, "latency_us": e.latency_us} for key, e in self.entries.items()},
        }


def read_latency_table(document: JsonValue) -> LatencyTable:
    """A table from its JSON form.

    Raises:
        InvalidMeasurementError: another schema, a missing field, or a latency that is not finite.
    """
    try:
        fields = cast(Mapping[str, JsonValue], document)
        if fields["schema"] != _SCHEMA:
            raise InvalidMeasurementError(
                f"latency table has schema {fields['schema']!r}: this version reads {_SCHEMA}"
            )
        entries = cast(Mapping[str, Mapping[str, JsonValue]], fields["entries"])
        return LatencyTable(
            space_id=str(fields["space_id"]),
            hardware_key=str(fields["hardware_key"]),
            batch=int(cast(int, fields["batch"])),
            dtype=Dtype(cast(str, fields["dtype"])),
            entries={
                key: TableEntry(str(entry["label"]), float(cast(float, entry["latency_us"])))
                for key, entry in entries.items()
            },
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidMeasurementError(f"latency table cannot be read: {type(error).__name__} {error}") from error


def operator_graphs(space: SearchSpace, *, batch: int, dtype: Dtype) -> tuple[TableOperator, ...]:
    """The distinct operators of a space, in depth order: what a latency table needs measured.

    For a DenseNAS space these are all operators of its supernet. For other spaces they are the operators of
    the uniform architectures (gene value 0 everywhere, 1 everywhere, ...): complete where an operator's
    shapes do not depend on other genes; what is missing elsewhere is named by `LatencyTable.latency_us`.
    """
    graphs: dict[str, tuple[str, LayerGraph]] = {}
    places: dict[str, int] = {}
    for label, graph in _labelled_graphs(space):
        key = latency_key(graph, batch=batch, dtype=dtype)
        graphs.setdefault(key, (label, graph))
        places[key] = places.get(key, 0) + 1
    return tuple(TableOperator(key, label, graph, places[key]) for key, (label, graph) in graphs.items())


def measured_costs(space: DenseSpace, table: LatencyTable) -> RoutingCosts:
    """A DenseNAS space's costs in microseconds; a skip computes nothing and costs 0.

    Raises:
        InvalidMeasurementError: the table lacks an operator.
    """
    return arranged_costs(
        space, "us", {_name(s): 0.0 if s.graph is None else table.latency_us(s.graph) for s in _sites(space)}
    )


def mac_costs(space: DenseSpace) -> RoutingCosts:
    """A DenseNAS space's costs in millions of multiply-accumulates of one image (the paper's FLOPs objective)."""
    macs = {_name(s): 0.0 if s.graph is None else complexity(s.graph).macs / 1e6 for s in _sites(space)}
    return arranged_costs(space, "MMACs", macs)


def _labelled_graphs(space: SearchSpace) -> Iterable[tuple[str, LayerGraph]]:
    if isinstance(space, DenseSpace):
        for site in space.operator_sites():
            if site.graph is not None:
                yield f"{site.place}.{site.operator}", site.graph
        return
    for choice in range(max(gene.num_choices for gene in space.genes)):
        genotype = [min(choice, gene.num_choices - 1) for gene in space.genes]
        graph = space.graph(space.decode(genotype), Form.DEPLOYED)
        if graph is None:
            raise InvalidMeasurementError(
                f"space {space.space_id} is a table of results: it has no operators to measure"
            )
        for part in cut_operators(graph):
            yield f"{part.block}.{part.operator}", part.graph


def _sites(space: DenseSpace) -> tuple[OperatorSite, ...]:
    return tuple(space.operator_sites())


def _name(site: OperatorSite) -> tuple[str, str]:
    return site.place, site.operator


def arranged_costs(space: DenseSpace, unit: str, values: Mapping[tuple[str, str], float]) -> RoutingCosts:
    """Arrange one value per site as the routing needs them."""
    routing = space.routing

    def row(place: str, operators: tuple[str, ...]) -> Row:
        return tuple(values[place, operator] for operator in operators)

    blocks = tuple(
        BlockCosts(
            tuple(row(head_place(edge), routing.head_operators) for edge in routing.incoming(block.index)),
            (row(stack_place(block.index), routing.stack_operators),) * block.num_layers if block.num_layers else (),
        )
        for block in routing.routing_blocks
    )
    return RoutingCosts(
        unit=unit,
        input_block=sum(values[_name(site)] for site in _sites(space) if site.kind is SiteKind.INPUT),
        blocks=blocks,
        endings=tuple(values[ending_place(edge), "conv1"] for edge in routing.incoming(routing.end)),
        classifier=values["classifier", "linear"],
    )
