"""Expected cost of a DenseNAS supernet: the chained estimate, and the local one as its baseline.

Source: Fang et al., DenseNAS (CVPR 2020), Sec. 3.3 and 4.5; the published code for the recursion.

Both are written with indexing, addition and multiplication only, so the weights may be float64 vectors or
tensors that carry gradients: the result is of the same kind. Weights are normalised coefficients by name
(`nas_engine.spaces.densenas.routing`); dropped operators have weight 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from nas_engine.cost.routing_costs import RoutingCosts
from nas_engine.spaces.densenas.routing import Routing, beta_name, head_name, stack_name


class Scalar(Protocol):
    """A number that can be added and scaled: float64, or a tensor of no dimension."""

    def __add__(self, other: Any, /) -> Any: ...

    def __mul__(self, other: Any, /) -> Any: ...


S = TypeVar("S", bound=Scalar)
S_co = TypeVar("S_co", bound=Scalar, covariant=True)


class Vector(Protocol[S_co]):
    """What holds the weights of one coefficient name."""

    def __getitem__(self, index: int, /) -> S_co: ...


def chained_costs(routing: Routing, costs: RoutingCosts, weights: Mapping[str, Vector[S]]) -> list[S]:
    """Expected cost from each block to the end of the network, the classifier not included.

    ``cost_i = stack_i + sum_j p_ij * (align_ij + cost_j)``, last block first, where p_ij are the weights of
    the edges *leaving* block i, ``align_ij`` the expected head cost of edge i -> j and ``stack_i`` the
    expected cost of the block's stack layers (for block 0: of the input block).
    """
    onward: dict[int, S] = {}
    for block in reversed(routing.blocks[:-1]):
        total: Any = costs.input_block if block.index == 0 else _stack_cost(costs, weights, block.index)
        betas = weights[beta_name(block.index)]
        for position, edge in enumerate(routing.outgoing(block.index)):
            if edge.target == routing.end:
                through: Any = costs.ending(routing, edge.source)
            else:
                head = costs.head(routing, edge.source, edge.target)
                through = _expectation(weights[head_name(edge)], head) + onward[edge.target]
            total = betas[position] * through + total
        onward[block.index] = total
    return [onward[index] for index in range(routing.end)]


def chained_cost(routing: Routing, costs: RoutingCosts, weights: Mapping[str, Vector[S]]) -> S:
    """Expected cost of the network that the weights stand for: block 0's chained cost plus the classifier."""
    total: S = chained_costs(routing, costs, weights)[0] + costs.classifier
    return total


def local_cost(routing: Routing, costs: RoutingCosts, weights: Mapping[str, Vector[S]]) -> S:
    """The baseline: every block's own expected cost, summed over all blocks.

    ``sum_i sum_j p_ij * (align_ij + stack_j)``: like `chained_cost` with each block's *own* cost in place of
    its chained one, so it does not know how likely a path is to reach block i at all. (The paper names this
    strategy without giving its formula, and its code was not released.)
    """
    total: Any = costs.input_block + costs.classifier
    for block in routing.blocks[:-1]:
        betas = weights[beta_name(block.index)]
        for position, edge in enumerate(routing.outgoing(block.index)):
            if edge.target == routing.end:
                own: Any = costs.ending(routing, edge.source)
            else:
                head = costs.head(routing, edge.source, edge.target)
                own = _expectation(weights[head_name(edge)], head) + _stack_cost(costs, weights, edge.target)
            total = betas[position] * own + total
    result: S = total
    return result


def _stack_cost(costs: RoutingCosts, weights: Mapping[str, Vector[S]], block: int) -> Any:
    """Expected cost of a routing block's stack layers; 0.0 where it has none."""
    total: Any = 0.0
    for layer, row in enumerate(costs.blocks[block - 1].stacks):
        total = _expectation(weights[stack_name(block, layer)], row) + total
    return total


def _expectation(weights: Vector[S], row: Sequence[float]) -> Any:
    total: Any = weights[0] * row[0]
    for index in range(1, len(row)):
        total = total + weights[index] * row[index]
    return total
