"""What each operator of a routing costs, in the arrangement of the published lookup tables.

Published layout (JaminFong/DenseNAS, latency_list/)::

    [input block, [[[head costs] per incoming edge], [[stack costs] per layer]] per routing block,
     [ending cost per incoming edge], classifier]

with incoming edges nearest source first and operators in coefficient order. Published files are in ms at
batch 32; costs here carry their unit, and MACs are a cost like any other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.json_value import JsonValue
from nas_engine.spaces.densenas.routing import Routing, RoutingBlock, RoutingPath

SKIP_DIVISOR = 10.0  # reference option `skip_reg`

Row = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class BlockCosts:
    """Costs of one routing block: head operators per incoming edge, stack operators per layer."""

    heads: tuple[Row, ...]
    stacks: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingCosts:
    """Costs of a whole routing.

    Attributes:
        unit: of every number, e.g. ``us``, ``ms``, ``MMACs``.
        input_block: stem and first block together.
        blocks: one per routing block.
        endings: 1x1 convolution, per incoming edge of the ending block.
        classifier: pooling and linear layer.
    """

    unit: str
    input_block: float
    blocks: tuple[BlockCosts, ...]
    endings: Row
    classifier: float

    def published_layout(self) -> JsonValue:
        """The nested lists of the published files."""
        rows = [[[list(row) for row in block.heads], [list(row) for row in block.stacks]] for block in self.blocks]
        return [self.input_block, rows, list(self.endings), self.classifier]

    def scaled(self, factor: float, unit: str) -> RoutingCosts:
        """Every cost times a factor, in another unit."""

        def times(row: Row) -> Row:
            return tuple(cost * factor for cost in row)

        blocks = tuple(BlockCosts(tuple(map(times, b.heads)), tuple(map(times, b.stacks))) for b in self.blocks)
        return RoutingCosts(
            unit=unit,
            input_block=self.input_block * factor,
            blocks=blocks,
            endings=times(self.endings),
            classifier=self.classifier * factor,
        )

    def head(self, routing: Routing, source: int, target: int) -> Row:
        """Costs of the head operators of edge source -> target."""
        edge = routing.edge_between[source, target]
        return self.blocks[target - 1].heads[routing.incoming(target).index(edge)]

    def ending(self, routing: Routing, source: int) -> float:
        """Cost of the 1x1 convolution after block `source`."""
        edge = routing.edge_between[source, routing.end]
        return self.endings[routing.incoming(routing.end).index(edge)]

    def with_regularised_skips(self, routing: Routing) -> RoutingCosts:
        """Skips cost a tenth of their layer's first operator, against collapse to skips (reference `skip_reg`)."""
        skip = routing.skip
        if skip is None:
            return self

        def raised(row: Row) -> Row:
            return tuple(row[0] / SKIP_DIVISOR if index == skip else cost for index, cost in enumerate(row))

        blocks = tuple(replace(block, stacks=tuple(raised(row) for row in block.stacks)) for block in self.blocks)
        return replace(self, blocks=blocks)

    def path_cost(self, routing: Routing, path: RoutingPath) -> float:
        """Sum over one network's operators; skips count as the derived network has them: not at all."""
        routing.validate(path)
        total = self.input_block
        for source, target, head, stack in zip(path.blocks, path.blocks[1:-1], path.heads, path.stacks, strict=False):
            total += self.head(routing, source, target)[head]
            for row, operator in zip(self.blocks[target - 1].stacks, stack, strict=True):
                total += 0.0 if operator == routing.skip else row[operator]
        return total + self.ending(routing, path.blocks[-2]) + self.classifier


def read_published_layout(document: JsonValue, routing: Routing, unit: str) -> RoutingCosts:
    """Costs from the published nested lists.

    Rows beyond a block's layers are dropped: the published MobileNetV2 table has three for blocks that have
    no stack layer, and the reference never reads them.

    Raises:
        InvalidMeasurementError: a level has the wrong length, or a number is not finite and non-negative;
            the message says where.
    """
    parts = _items(document, "table", 4)
    rows = _items(parts[1], "blocks", len(routing.routing_blocks))
    return RoutingCosts(
        unit=unit,
        input_block=_cost(parts[0], "input block"),
        blocks=tuple(_block(row, block, routing) for row, block in zip(rows, routing.routing_blocks, strict=True)),
        endings=_row(parts[2], "endings", len(routing.incoming(routing.end))),
        classifier=_cost(parts[3], "classifier"),
    )


def _block(document: JsonValue, block: RoutingBlock, routing: Routing) -> BlockCosts:
    name = f"block {block.index}"
    heads_part, stacks_part = _items(document, name, 2)
    heads = _items(heads_part, f"{name} heads", len(routing.incoming(block.index)))
    stacks = _items(stacks_part, f"{name} stacks", None)
    if len(stacks) < block.num_layers:
        raise InvalidMeasurementError(f"{name} stacks: {len(stacks)} rows, the block has {block.num_layers} layers")
    num_heads, num_stacks = len(routing.head_operators), len(routing.stack_operators)
    return BlockCosts(
        tuple(_row(row, f"{name} head of edge {i}", num_heads) for i, row in enumerate(heads)),
        tuple(_row(row, f"{name} layer {i}", num_stacks) for i, row in enumerate(stacks[: block.num_layers])),
    )


def _row(document: JsonValue, where: str, length: int) -> Row:
    return tuple(_cost(value, where) for value in _items(document, where, length))


def _items(document: JsonValue, where: str, length: int | None) -> Sequence[JsonValue]:
    if not isinstance(document, list | tuple):
        raise InvalidMeasurementError(f"cost table, {where}: a list is needed, got {str(document)[:60]!r}")
    if length is not None and len(document) != length:
        raise InvalidMeasurementError(f"cost table, {where}: {len(document)} values, this routing needs {length}")
    return cast(Sequence[JsonValue], document)


def _cost(value: JsonValue, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise InvalidMeasurementError(f"cost table, {where}: {value!r} is no finite, non-negative number")
    return float(value)
