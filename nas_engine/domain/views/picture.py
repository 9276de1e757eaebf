"""Picture view of a layer graph: a deterministic SVG of its blocks, and of how two architectures differ.

Colours are mid-tones with at least 3:1 (text 4.5:1) contrast on white and on black, so a picture
stands on light and dark pages alike without styles (which a strict content security policy forbids).
A difference is marked by a sign as well as by colour.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.views.block_summary import BlockPair, BlockSummary, align_blocks, summarise_blocks

_TEXT, _RULE = "#767676", "#8a8a8a"
_FIRST, _SECOND = "#3d7ec1", "#c2571a"
_ROW, _TOP, _MARGIN = 22, 64, 16
_BAR_X, _BAR_WIDTH = 600, 150
_WIDTH = 900


@dataclass(frozen=True, slots=True)
class _Column:
    x: int
    heading: str
    anchor: str = "start"


_BLOCK, _OPERATOR = _Column(_MARGIN, "block"), _Column(150, "operator")
_CHANNELS, _STRIDE = _Column(446, "channels", "end"), _Column(500, "stride", "end")
_RESOLUTION, _MACS = _Column(584, "size", "end"), _Column(_BAR_X, "share of MACs")
_COLUMNS = (_BLOCK, _OPERATOR, _CHANNELS, _STRIDE, _RESOLUTION, _MACS)


def draw_architecture(graph: LayerGraph, *, title: str) -> str:
    """SVG of one architecture: a row per block with operator, width, stride, size and share of MACs.

    Equal graphs and titles give equal text.
    """
    blocks = summarise_blocks(graph)
    total = sum(block.macs for block in blocks)
    largest = max((block.macs for block in blocks), default=0)
    summary = f"{len(blocks)} blocks, {_millions(total)} MACs, {_millions(sum(b.params for b in blocks))} parameters"
    body: list[str] = []
    for row, block in enumerate(blocks):
        y, share = _row_y(row), block.macs / total if total else 0.0
        body += _cells(y, block.block, block.operator, str(block.channels), str(block.stride), _size(block))
        body.append(_bar(y - 11, 14, block.macs, largest, _FIRST))
        body.append(_label(_BAR_X + _BAR_WIDTH + 8, y, f"{100 * share:.1f} %  {_millions(block.macs)}"))
    return _document(title, summary, body, len(blocks))


def draw_difference(
    first: LayerGraph, second: LayerGraph, *, title: str, first_name: str = "first", second_name: str = "second"
) -> str:
    """SVG of two architectures side by side: changed blocks carry a sign, every block both MACs bars."""
    ours, theirs = summarise_blocks(first), summarise_blocks(second)
    pairs = align_blocks(ours, theirs)
    largest = max((block.macs for block in (*ours, *theirs)), default=0)
    changed = sum(pair.is_changed for pair in pairs)
    summary = (
        f"{changed} of {len(pairs)} blocks differ; {first_name}: {_millions(sum(b.macs for b in ours))} MACs, "
        f"{second_name}: {_millions(sum(b.macs for b in theirs))} MACs"
    )
    body = [
        f'<rect x="{_BAR_X + 110}" y="27" width="10" height="7" fill="{_FIRST}"/>',
        _label(_BAR_X + 124, 35, first_name),
        f'<rect x="{_BAR_X + 110}" y="42" width="10" height="7" fill="{_SECOND}"/>',
        _label(_BAR_X + 124, 50, second_name),
    ]
    for row, pair in enumerate(pairs):
        body += _pair_row(pair, _row_y(row), largest)
    return _document(title, summary, body, len(pairs))


def _pair_row(pair: BlockPair, y: int, largest: int) -> list[str]:
    blocks = [block for block in (pair.first, pair.second) if block is not None]
    lines = _cells(
        y,
        f"{_sign(pair)} {blocks[0].block}",
        _joined([block.operator for block in blocks]),
        _joined([str(block.channels) for block in blocks]),
        _joined([str(block.stride) for block in blocks]),
        _joined([_size(block) for block in blocks]),
    )
    if pair.first is not None:
        lines.append(_bar(y - 11, 7, pair.first.macs, largest, _FIRST))
    if pair.second is not None:
        lines.append(_bar(y - 4, 7, pair.second.macs, largest, _SECOND))
    change = sum(b.macs for b in (pair.second,) if b) - sum(b.macs for b in (pair.first,) if b)
    lines.append(
        _label(_BAR_X + _BAR_WIDTH + 8, y, f"{'+' if change > 0 else ''}{_millions(change)}" if change else "=")
    )
    return lines


def _sign(pair: BlockPair) -> str:
    if pair.first is None:
        return "+"
    if pair.second is None:
        return "-"
    return "≠" if pair.is_changed else "="


def _document(title: str, summary: str, body: Sequence[str], num_rows: int) -> str:
    height = _TOP + num_rows * _ROW + 8
    # Several pictures may stand in one page: the ids of title and description must not collide.
    key = hashlib.sha256("\n".join((title, summary, *body)).encode()).hexdigest()[:12]
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" aria-labelledby={quoteattr(f"title-{key} description-{key}")} '
        'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="12">',
        f'<title id="title-{key}">{escape(title)}</title>',
        f'<desc id="description-{key}">{escape(summary)}</desc>',
        _label(_MARGIN, 20, title, weight="bold"),
        _label(_MARGIN, 36, summary),
    ]
    headings = [_label(column.x, 54, column.heading, anchor=column.anchor) for column in _COLUMNS]
    rule = f'<line x1="{_MARGIN}" y1="59" x2="{_WIDTH - _MARGIN}" y2="59" stroke="{_RULE}"/>'
    return "\n".join((*head, *headings, rule, *body, "</svg>", ""))


def _cells(y: int, block: str, operator: str, channels: str, stride: str, size: str) -> list[str]:
    texts = (block, operator, channels, stride, size)
    return [_label(column.x, y, text, anchor=column.anchor) for column, text in zip(_COLUMNS, texts, strict=False)]


def _bar(y: int, height: int, macs: int, largest: int, colour: str) -> str:
    length = _BAR_WIDTH * macs / largest if largest else 0.0
    return f'<rect x="{_BAR_X}" y="{y}" width="{length:.1f}" height="{height}" fill="{colour}"/>'


def _label(x: int, y: int, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    extra = (f' text-anchor="{anchor}"' if anchor != "start" else "") + (
        f' font-weight="{weight}"' if weight != "normal" else ""
    )
    return f'<text x="{x}" y="{y}" fill="{_TEXT}"{extra}>{escape(text)}</text>'


def _row_y(row: int) -> int:
    return _TOP + row * _ROW + 15


def _joined(texts: Sequence[str]) -> str:
    return texts[0] if len(set(texts)) == 1 else " → ".join(texts)


def _size(block: BlockSummary) -> str:
    return "–" if block.resolution is None else "x".join(str(extent) for extent in block.resolution)


def _millions(value: int) -> str:
    return f"{value / 1e6:.2f} M"
