"""The routing of a densely connected search space (DenseNAS): blocks, the edges between them, operators.

Source: Fang et al., Densely Connected Search Space (CVPR 2020), Sec. 3.1-3.2, and the published search
configurations. A `Routing` knows no weights and no layer: SUPERNET graphs, the chained cost and Viterbi
derivation are all made from it.

Blocks are numbered along the depth: 0 is the input block, 1..N are routing blocks, N+1 is the ending
block. A routing block has one *head* operator choice per incoming edge (it aligns shapes) and then
`num_layers` *stack* layers, each with a choice of its own.

Coefficients are named after what they weigh; the vector under each name has one element per option:

========================  ==========================================================================
``beta.<i>``              the outgoing edges of block i, in the order of `Routing.outgoing(i)`
``alpha.head.<i>-<j>``    the head operators of edge i -> j (j is a routing block)
``alpha.stack.<j>.<l>``   the stack operators of layer l of block j
========================  ==========================================================================

The same names stand for logits (what is learned), for normalised weights (what a supernet graph's
`WeightedSum` nodes and the chained cost read) and for their gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from nas_engine.domain.errors import InvalidArchitectureError, InvalidSpaceError

SKIP = "skip_connect"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingBlock:
    """One block.

    Attributes:
        index: position along the depth.
        channels: width of its output.
        downsampling: how often the feature map was halved since the stem's output.
        stage: blocks connect within a stage and to the next one only.
        num_layers: stack layers after the head layer.
    """

    index: int
    channels: int
    downsampling: int
    stage: int
    num_layers: int


@dataclass(frozen=True, slots=True)
class Edge:
    """A connection from block `source` to block `target`; `stride` is 1 or 2."""

    source: int
    target: int
    stride: int

    @property
    def label(self) -> str:
        """``<source>-<target>``, as in coefficient and weight names."""
        return f"{self.source}-{self.target}"


@dataclass(frozen=True, slots=True)
class RoutingPath:
    """One network of a routing: the blocks it visits and the operators it uses there.

    Attributes:
        blocks: visited blocks from 0 to the ending block.
        heads: head operator (index) of each visited routing block.
        stacks: stack operators (indices, skips included) of each visited routing block.
    """

    blocks: tuple[int, ...]
    heads: tuple[int, ...]
    stacks: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Routing:
    """Blocks, the published connection rule between them, and the operators of their layers.

    Attributes:
        blocks: from the input block to the ending block.
        max_connections: how many following blocks a block may connect to at most (M_i).
        head_operators: options of every head layer, in coefficient order.
        stack_operators: options of every stack layer, in coefficient order.

    Raises:
        InvalidSpaceError: a block no path can reach or leave, or an empty list of operators.
    """

    blocks: tuple[RoutingBlock, ...]
    max_connections: int
    head_operators: tuple[str, ...]
    stack_operators: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.blocks) < 3:
            raise InvalidSpaceError(
                f"a routing needs an input block, a routing block and an ending block: {len(self.blocks)} given"
            )
        if not self.head_operators or not self.stack_operators:
            raise InvalidSpaceError("head_operators and stack_operators need at least one operator each")
        for block in self.blocks[:-1]:
            if not self.outgoing(block.index):
                raise InvalidSpaceError(f"{self._describe(block)} connects to no later block: {_RULE}")
        for block in self.blocks[1:]:
            if not self.incoming(block.index):
                raise InvalidSpaceError(f"{self._describe(block)} is reached by no earlier block: {_RULE}")

    @property
    def end(self) -> int:
        """Index of the ending block."""
        return len(self.blocks) - 1

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Every edge, by source, nearest target first."""
        edges: list[Edge] = []
        for block in self.blocks:
            # The published rule: scan the next blocks and stop at the first that does not fit.
            for target in self.blocks[block.index + 1 : block.index + 1 + self.max_connections]:
                halvings = target.downsampling - block.downsampling
                if target.stage - block.stage > 1 or halvings not in (0, 1):
                    break
                edges.append(Edge(block.index, target.index, 2 if halvings else 1))
        return tuple(edges)

    def outgoing(self, block: int) -> tuple[Edge, ...]:
        """Edges leaving a block, nearest target first: the order of ``beta.<block>``."""
        return self._outgoing[block]

    def incoming(self, block: int) -> tuple[Edge, ...]:
        """Edges entering a block, nearest source first: the order of published latency tables."""
        return self._incoming[block]

    @cached_property
    def _outgoing(self) -> tuple[tuple[Edge, ...], ...]:
        return tuple(tuple(e for e in self.edges if e.source == b.index) for b in self.blocks)

    @cached_property
    def _incoming(self) -> tuple[tuple[Edge, ...], ...]:
        nearest_first = sorted(self.edges, key=lambda e: -e.source)
        return tuple(tuple(e for e in nearest_first if e.target == b.index) for b in self.blocks)

    @cached_property
    def edge_between(self) -> Mapping[tuple[int, int], Edge]:
        """Edges by (source, target)."""
        return {(edge.source, edge.target): edge for edge in self.edges}

    @property
    def skip(self) -> int | None:
        """Index of the skip among the stack operators; None where there is none."""
        return self.stack_operators.index(SKIP) if SKIP in self.stack_operators else None

    @property
    def routing_blocks(self) -> tuple[RoutingBlock, ...]:
        """Blocks 1..N: neither the input block nor the ending block."""
        return self.blocks[1:-1]

    def coefficient_sizes(self) -> Iterator[tuple[str, int]]:
        """Name and length of every coefficient vector: betas, then heads, then stacks."""
        for block in self.blocks[:-1]:
            yield beta_name(block.index), len(self.outgoing(block.index))
        for block in self.routing_blocks:
            for edge in self.incoming(block.index):
                yield head_name(edge), len(self.head_operators)
        for block in self.routing_blocks:
            for layer in range(block.num_layers):
                yield stack_name(block.index, layer), len(self.stack_operators)

    def num_block_paths(self) -> int:
        """How many block sequences lead from the input block to the ending block."""
        return self._count(lambda _block: 1)

    def num_operator_sequences(self) -> int:
        """Block paths times every choice of head and stack operators (skips at every place counted)."""
        heads, stacks = len(self.head_operators), len(self.stack_operators)
        return self._count(lambda block: heads * stacks**block.num_layers)

    def validate(self, path: RoutingPath) -> RoutingPath:
        """`path` itself, if it is one of this routing.

        Raises:
            InvalidArchitectureError: names the block or the edge that is wrong and what is allowed.
        """
        if path.blocks[:1] != (0,) or path.blocks[-1:] != (self.end,):
            raise InvalidArchitectureError(f"path {path.blocks} must lead from block 0 to block {self.end}")
        for source, target in pairwise(path.blocks):
            if (source, target) not in self.edge_between:
                allowed = ", ".join(str(edge.target) for edge in self.outgoing(source))
                raise InvalidArchitectureError(f"no edge from block {source} to {target}: allowed are {allowed}")
        visited = [self.blocks[index] for index in path.blocks[1:-1]]
        if len(path.heads) != len(visited) or len(path.stacks) != len(visited):
            raise InvalidArchitectureError(
                f"path visits {len(visited)} routing blocks, but has {len(path.heads)} heads, {len(path.stacks)} stacks"
            )
        for block, head, stack in zip(visited, path.heads, path.stacks, strict=True):
            if not 0 <= head < len(self.head_operators):
                raise InvalidArchitectureError(
                    f"block {block.index}: head operator {head} is not among {self.head_operators}"
                )
            if len(stack) != block.num_layers or not all(0 <= o < len(self.stack_operators) for o in stack):
                raise InvalidArchitectureError(
                    f"block {block.index}: stack {stack} must hold {block.num_layers} indices "
                    f"into {self.stack_operators}"
                )
        return path

    def _count(self, options: Callable[[RoutingBlock], int]) -> int:
        """Sum over all block paths of the product of `options(block)` over their routing blocks."""
        ways = [0] * len(self.blocks)
        ways[self.end] = 1
        for block in reversed(self.blocks[:-1]):
            onward = sum(ways[edge.target] for edge in self.outgoing(block.index))
            ways[block.index] = onward * (options(block) if block.index else 1)
        return ways[0]

    def _describe(self, block: RoutingBlock) -> str:
        return (
            f"block {block.index} ({block.channels} channels, stage {block.stage}, halved {block.downsampling} times)"
        )


_RULE = "a block connects to the next ones, up to max_connections, that are at most one stage and one halving ahead"


def beta_name(block: int) -> str:
    """Coefficients over the outgoing edges of a block."""
    return f"beta.{block}"


def head_name(edge: Edge) -> str:
    """Coefficients over the head operators of an edge."""
    return f"alpha.head.{edge.label}"


def stack_name(block: int, layer: int) -> str:
    """Coefficients over the stack operators of one layer."""
    return f"alpha.stack.{block}.{layer}"
