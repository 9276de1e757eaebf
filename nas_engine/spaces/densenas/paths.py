"""Paths of a DenseNAS routing as net_configs, and back."""

from __future__ import annotations

from dataclasses import dataclass

from nas_engine.spaces.densenas.net_config import BlockEntry, NetConfig
from nas_engine.spaces.densenas.parameters import HEAD_BLOCK_OPERATOR, DenseMbv2Parameters, DenseParameters
from nas_engine.spaces.densenas.routing import Edge, Routing, RoutingPath


@dataclass(frozen=True, slots=True)
class Outside:
    """A network that is no path of the space, and why."""

    reason: str


def net_config_of(parameters: DenseParameters, routing: Routing, path: RoutingPath) -> NetConfig:
    """The derived network: stack skips are deleted; the ResNet family loses its 1x1 ending (reference)."""
    entries = [_input_entry(parameters)] if isinstance(parameters, DenseMbv2Parameters) else []
    visited = path.blocks[1:-1]
    for source, target, head, stack in zip(path.blocks, visited, path.heads, path.stacks, strict=False):
        layers = tuple(routing.stack_operators[o] for o in stack if o != routing.skip)
        widths = routing.blocks[source].channels, routing.blocks[target].channels
        stride = routing.edge_between[source, target].stride
        entries.append(BlockEntry(*widths, routing.head_operators[head], layers, stride))
    ending = parameters.last_channels if isinstance(parameters, DenseMbv2Parameters) else None
    return NetConfig(tuple(entries), ending)


def locate(parameters: DenseParameters, routing: Routing, network: NetConfig) -> RoutingPath | Outside:
    """The path that derives to `network`, or the first reason why there is none."""
    entries = network.blocks
    if isinstance(parameters, DenseMbv2Parameters):
        expected = _input_entry(parameters)
        if entries[0] != expected:
            return Outside(
                f"entry 1 is {_shown(entries[0])}; every network of the space starts with {_shown(expected)}"
            )
        entries = entries[1:]
        if network.ending_channels != parameters.last_channels:
            return Outside(
                f"it ends with {network.ending_channels} channels, the space with {parameters.last_channels}"
            )
    elif entries[0].in_channels != parameters.block_channels[0]:
        return Outside(
            f"entry 1 reads {entries[0].in_channels} channels, the stem gives {parameters.block_channels[0]}"
        )
    offset = len(network.blocks) - len(entries) + 1
    blocks, heads, stacks = [0], list[int](), list[tuple[int, ...]]()
    for number, entry in enumerate(entries, start=offset):
        # At most one edge leads to a routing block of this width: widths of one feature size differ.
        to_width = (e for e in routing.outgoing(blocks[-1]) if routing.blocks[e.target].channels == entry.out_channels)
        edge = next((e for e in to_width if e.target != routing.end and e.stride == entry.stride), None)
        if edge is None:
            allowed = ", ".join(_describe(routing, e) for e in routing.outgoing(blocks[-1]))
            return Outside(
                f"entry {number} goes to width {entry.out_channels} with stride {entry.stride}: allowed are {allowed}"
            )
        operators = _operators(routing, edge.target, entry)
        if isinstance(operators, str):
            return Outside(f"entry {number}: {operators}")
        blocks.append(edge.target)
        heads.append(operators[0])
        stacks.append(operators[1])
    if (blocks[-1], routing.end) not in routing.edge_between:
        last = routing.blocks[blocks[-1]].channels
        return Outside(f"no edge leads from the block of width {last} to the end of the network")
    return RoutingPath((*blocks, routing.end), tuple(heads), tuple(stacks))


def _operators(routing: Routing, target: int, entry: BlockEntry) -> tuple[int, tuple[int, ...]] | str:
    """Operator indices of an entry (skips filled in last), or what is not among the space's choices."""
    if entry.head not in routing.head_operators:
        return f"head operator {entry.head} is none of {', '.join(routing.head_operators)}"
    unknown = [operator for operator in entry.stack if operator not in routing.stack_operators]
    if unknown:
        return f"stack operator {unknown[0]} is none of {', '.join(routing.stack_operators)}"
    missing = routing.blocks[target].num_layers - len(entry.stack)
    if missing < 0 or (missing and routing.skip is None):
        most = routing.blocks[target].num_layers
        return f"{len(entry.stack)} stack layers, the block has {'up to ' if routing.skip is not None else ''}{most}"
    stack = [routing.stack_operators.index(operator) for operator in entry.stack]
    if routing.skip is not None:
        stack += [routing.skip] * missing
    return routing.head_operators.index(entry.head), tuple(stack)


def _input_entry(parameters: DenseMbv2Parameters) -> BlockEntry:
    return BlockEntry(parameters.stem_channels, parameters.block_channels[0], HEAD_BLOCK_OPERATOR, (), 1)


def _describe(routing: Routing, edge: Edge) -> str:
    if edge.target == routing.end:
        return "the end"
    return f"width {routing.blocks[edge.target].channels} (stride {edge.stride})"


def _shown(entry: BlockEntry) -> str:
    return str(entry.as_json())
