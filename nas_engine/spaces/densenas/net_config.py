"""The `net_config` text form of derived DenseNAS networks, read and written.

Source: JaminFong/DenseNAS, models/model_derived.py. Entries are separated by ``|``::

    [[16, 16], 'mbconv_k3_t1', [], 0, 1]|[[16, 24], 'mbconv_k3_t6', ['mbconv_k3_t3'], 1, 2]|[[24, 1984], 'conv1_1']

that is ``[[input width, output width], head operator, [stack operators], number of stack layers, stride]``;
an MBConv network ends with its 1x1 convolution, a ResNet-based one has none. Widths of ``bottle_neck``
entries are the widths inside the bottleneck; its output is four times as wide. ``skip_connect`` among the
stack operators does nothing and is left out when reading. Where the number of stack layers is not that of the
listed operators, the list counts, with a `EngineWarning`: the published code never reads the number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import cast

from nas_engine.domain.errors import InvalidArchitectureError, warn
from nas_engine.domain.json_value import JsonValue
from nas_engine.spaces.densenas.routing import SKIP

ENDING_OPERATOR = "conv1_1"
BASIC_BLOCK = "basic_block"
BOTTLENECK = "bottle_neck"
BOTTLENECK_EXPANSION = 4
MAX_TEXT_LENGTH = 20_000  # a published network has under 1,000 characters
MAX_WIDTH = 65_536
_KERNELS = (3, 5, 7)
_EXPANSIONS = (1, 2, 3, 4, 5, 6)
_MBCONV = re.compile(r"mbconv_k(\d)_t(\d)")
_ENTRY = "[[in, out], 'head operator', ['stack operator', ...], number of stack layers, stride]"
_LAST = f"[[in, out], '{ENDING_OPERATOR}']"
_ALLOWED = "mbconv_k{3,5,7}_t{1..6}, " + f"{BASIC_BLOCK}, {BOTTLENECK}"


class Ending(Enum):
    """Whether a network ends with a 1x1 convolution entry."""

    CONV1 = "conv1"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class BlockEntry:
    """One block: a head layer that sets width and stride, then stack layers of that width."""

    in_channels: int
    out_channels: int
    head: str
    stack: tuple[str, ...]
    stride: int

    def as_json(self) -> JsonValue:
        """The entry as in the text form, as plain JSON."""
        return [[self.in_channels, self.out_channels], self.head, list(self.stack), len(self.stack), self.stride]


@dataclass(frozen=True, slots=True)
class NetConfig:
    """A derived network.

    Attributes:
        blocks: at least one, in depth order.
        ending_channels: width of the last 1x1 convolution; None where there is none.
    """

    blocks: tuple[BlockEntry, ...]
    ending_channels: int | None

    def as_json(self) -> JsonValue:
        """The network as a JSON list of entries."""
        entries = [block.as_json() for block in self.blocks]
        if self.ending_channels is not None:
            entries.append([[self.blocks[-1].out_channels, self.ending_channels], ENDING_OPERATOR])
        return entries

    def text(self) -> str:
        """Write the network in its published text form: lists and strings as Python prints them."""
        return "|".join(json.dumps(entry).replace('"', "'") for entry in cast(Sequence[JsonValue], self.as_json()))


def mbconv_of(operator: str) -> tuple[int, int] | None:
    """(kernel, expansion) of an MBConv operator name; None for every other name."""
    match = _MBCONV.fullmatch(operator)
    if match is None:
        return None
    kernel, expansion = int(match[1]), int(match[2])
    return (kernel, expansion) if kernel in _KERNELS and expansion in _EXPANSIONS else None


def is_block_operator(operator: str) -> bool:
    """Whether a name can stand as head or stack operator of a derived network."""
    return operator in (BASIC_BLOCK, BOTTLENECK) or mbconv_of(operator) is not None


def parse_net_config(text: str, ending: Ending) -> NetConfig:
    """Read the text form.

    Raises:
        InvalidArchitectureError: names the entry, what is wrong with it and what is allowed.
    """
    if len(text) > MAX_TEXT_LENGTH:
        raise InvalidArchitectureError(f"net_config has {len(text)} characters: {MAX_TEXT_LENGTH} are allowed")
    entries: list[JsonValue] = []
    for number, part in enumerate(text.split("|"), start=1):
        try:
            entries.append(json.loads(part.replace("'", '"')))
        except (json.JSONDecodeError, RecursionError) as error:
            at = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            raise InvalidArchitectureError(
                f"net_config entry {number}{at}: cannot read {part.strip()[:80]!r}: write {_ENTRY} or {_LAST}"
            ) from error
    return read_net_config(entries, ending)


def read_net_config(entries: JsonValue, ending: Ending) -> NetConfig:
    """Read the JSON form: the list of entries. Raises as `parse_net_config`."""
    if not _is_list(entries) or not entries:
        raise InvalidArchitectureError(f"a net_config is a list of entries {_ENTRY}, got {str(entries)[:80]!r}")
    rows = list(cast(Sequence[JsonValue], entries))
    ending_channels: int | None = None
    in_ending: int | None = None
    if ending is Ending.CONV1:
        row, number = rows.pop(), len(rows) + 1
        last = cast(list[JsonValue], row) if _is_list(row) else []
        if len(last) != 2 or last[1] != ENDING_OPERATOR:
            raise InvalidArchitectureError(
                f"net_config entry {number} is {_shown(row)}: the last entry must be {_LAST}"
            )
        in_ending, ending_channels = _read_widths(last[0], number)
    blocks = tuple(_read_block(row, number) for number, row in enumerate(rows, start=1))
    if not blocks:
        raise InvalidArchitectureError(f"net_config has no block: write {_ENTRY} before the ending entry")
    widths = [(block.in_channels, block.out_channels) for block in blocks]
    if ending_channels is not None and in_ending is not None:
        widths.append((in_ending, ending_channels))
    for number, (before, after) in enumerate(pairwise(widths), start=2):
        if before[1] != after[0]:
            raise InvalidArchitectureError(
                f"net_config entry {number}: its input width is {after[0]}, but entry {number - 1} gives {before[1]}"
            )
    return NetConfig(blocks, ending_channels)


def _read_block(row: JsonValue, number: int) -> BlockEntry:
    if not _is_list(row) or len(cast(list[JsonValue], row)) != 5:
        hint = (
            f"; {_LAST} may only stand last" if _is_list(row) and ENDING_OPERATOR in cast(list[JsonValue], row) else ""
        )
        raise InvalidArchitectureError(f"net_config entry {number} is {_shown(row)}: write {_ENTRY}{hint}")
    widths, head, stack, num_layers, stride = cast(list[JsonValue], row)
    in_channels, out_channels = _read_widths(widths, number)
    if not isinstance(head, str) or not is_block_operator(head):
        raise InvalidArchitectureError(f"net_config entry {number}: head operator {_shown(head)} is none of {_ALLOWED}")
    if not _is_list(stack):
        raise InvalidArchitectureError(f"net_config entry {number}: stack operators are {_shown(stack)}, not a list")
    operators = list(cast(Sequence[JsonValue], stack))
    for position, operator in enumerate(operators, start=1):
        if not isinstance(operator, str) or not (operator == SKIP or is_block_operator(operator)):
            raise InvalidArchitectureError(
                f"net_config entry {number}: stack operator {position} is {_shown(operator)}: "
                f"allowed are {_ALLOWED}, {SKIP}"
            )
    if type(num_layers) is not int or num_layers < 0:
        raise InvalidArchitectureError(
            f"net_config entry {number}: number of stack layers is {_shown(num_layers)}, not a whole number from 0"
        )
    if num_layers != len(operators):
        warn(
            f"net_config entry {number}: number of stack layers is {num_layers}, {len(operators)} are listed: the list "
            "counts, as in the published code, which ignores the number"
        )
    if isinstance(stride, bool) or stride not in (1, 2):
        raise InvalidArchitectureError(f"net_config entry {number}: stride is {_shown(stride)}, allowed are 1 and 2")
    kept = tuple(cast(str, operator) for operator in operators if operator != SKIP)
    return BlockEntry(in_channels, out_channels, head, kept, cast(int, stride))


def _read_widths(value: JsonValue, number: int) -> tuple[int, int]:
    pair = list(cast(Sequence[JsonValue], value)) if _is_list(value) else []
    whole = [
        width for width in pair if isinstance(width, int) and not isinstance(width, bool) and 1 <= width <= MAX_WIDTH
    ]
    if len(pair) != 2 or len(whole) != 2:
        raise InvalidArchitectureError(
            f"net_config entry {number}: widths are {_shown(value)}: write [in, out], whole numbers of 1 to {MAX_WIDTH}"
        )
    return whole[0], whole[1]


def _is_list(value: JsonValue) -> bool:
    return isinstance(value, list | tuple)


def _shown(value: JsonValue) -> str:
    return repr(value)[:80]
