"""Small SVG charts for notebooks: the same input gives the same text, legible on light and on dark ground."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 16, 16, 48
_NUM_TICKS = 5
_MARGIN = 0.06  # of an axis' span, beyond its outermost values


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its title, its ends, and the pixels that those lie at."""

    title: str
    low: float
    high: float
    first_px: float
    last_px: float

    @classmethod
    def across(cls, title: str, values: Sequence[float]) -> Axis:
        """The horizontal axis over all of these values."""
        return cls(title, *_ends(values), _LEFT, WIDTH - _RIGHT)

    @classmethod
    def up(cls, title: str, values: Sequence[float]) -> Axis:
        """The vertical axis over all of these values."""
        return cls(title, *_ends(values), HEIGHT - _BOTTOM, _TOP)

    def px(self, value: float) -> float:
        """Where a value lies."""
        share = (value - self.low) / (self.high - self.low)
        return self.first_px + share * (self.last_px - self.first_px)

    def ticks(self) -> list[float]:
        """Round numbers between the ends."""
        rough = (self.high - self.low) / _NUM_TICKS
        size = 10.0 ** math.floor(math.log10(rough))
        step = next((size * factor for factor in (1.0, 2.0, 5.0) if size * factor >= rough), size * 10.0)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [number * step for number in range(first, last + 1)]


def chart(title: str, x: Axis, y: Axis, marks: Sequence[str]) -> str:
    """The axes with what is drawn between them; `marks` are SVG already. Lines and texts take the page's colour."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{escape(title, quote=True)}" font-family="sans-serif" font-size="11" '
        'fill="currentColor" stroke="none">',
        f"<title>{escape(title)}</title>",
        _line(x.first_px, y.first_px, x.last_px, y.first_px, 0.6),
        _line(x.first_px, y.first_px, x.first_px, y.last_px, 0.6),
    ]
    for value in x.ticks():
        at = x.px(value)
        parts.append(_line(at, y.first_px, at, y.last_px, 0.12))
        parts.append(f'<text x="{at:.1f}" y="{y.first_px + 15:.1f}" text-anchor="middle">{value:.6g}</text>')
    for value in y.ticks():
        at = y.px(value)
        parts.append(_line(x.first_px, at, x.last_px, at, 0.12))
        parts.append(f'<text x="{x.first_px - 6:.1f}" y="{at + 4:.1f}" text-anchor="end">{value:.6g}</text>')
    middle_px, up_px = (x.first_px + x.last_px) / 2, (y.first_px + y.last_px) / 2
    parts.append(f'<text x="{middle_px:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x.title)}</text>')
    turned = f'transform="rotate(-90 14 {up_px:.1f})"'
    parts.append(f'<text x="14" y="{up_px:.1f}" text-anchor="middle" {turned}>{escape(y.title)}</text>')
    return "".join([*parts, *marks, "</svg>"])


def curve(x: Axis, y: Axis, points: Sequence[tuple[float, float]], colour: str, *, stepped: bool = False) -> str:
    """A line through points; `stepped` goes level first, then up or down."""
    if len(points) < 2:
        return "".join(dot(x, y, point, colour, 3.0, "") for point in points)
    path = f"M{x.px(points[0][0]):.1f} {y.px(points[0][1]):.1f}"
    for right, top in points[1:]:
        across, up = f"{x.px(right):.1f}", f"{y.px(top):.1f}"
        path += f"H{across}V{up}" if stepped else f"L{across} {up}"
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def dot(x: Axis, y: Axis, point: tuple[float, float], colour: str, radius: float, tip: str) -> str:
    """A point, with a text for whoever hovers over it."""
    told = f"<title>{escape(tip)}</title>" if tip else ""
    return f'<circle cx="{x.px(point[0]):.1f}" cy="{y.px(point[1]):.1f}" r="{radius}" fill="{colour}">{told}</circle>'


def whisker(x0_px: float, y0_px: float, x1_px: float, y1_px: float, colour: str) -> str:
    """The interval of a point."""
    ends = f'x1="{x0_px:.1f}" y1="{y0_px:.1f}" x2="{x1_px:.1f}" y2="{y1_px:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="1" stroke-opacity="0.7"/>'


def _line(x0: float, y0: float, x1: float, y1: float, opacity: float) -> str:
    ends = f'x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"'
    return f'<line {ends} stroke="currentColor" stroke-opacity="{opacity}"/>'


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    span = high - low or abs(high) or 1.0
    return low - _MARGIN * span, high + _MARGIN * span
