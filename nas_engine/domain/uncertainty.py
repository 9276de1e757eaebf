"""How an uncertain value is written everywhere: the value and its 95 % interval, with the digits that the interval
leaves meaning to, and the unit. A standard error is never shown bare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from nas_engine.domain.dominance import CONFIDENCE_Z

LOPSIDED = 3.0  # one side of an interval so many times the other: its samples lie on two levels, not around one
_LOPSIDED_FROM = 0.02  # of the value; narrower intervals are lopsided by chance
DIGITS = 5  # of a number that is not whole and of which no interval is known
MAX_KEPT = 16384
"""Texts that are kept: a page of candidates that is asked for again has thousands."""
_US_PER_MS = 1000.0
_SEPARATED_FROM, _EXPONENTS_FROM = 1e4, 1e15
_SHOWN_AS = {"us": "us", "fraction": "%", "macs": "", "params": "", "bytes": "KiB"}
_FACTORS = {"fraction": 100.0, "bytes": 1.0 / 1024.0}  # to what columns show
_BYTES = ("bytes", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the ends of its 95 % interval, in its own unit; the ends are None where nothing is known of them."""

    value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of_error(cls, value: float, standard_error: float | None) -> Interval:
        """The interval of a value whose error is about normal."""
        if standard_error is None:
            return cls(value)
        half_width = CONFIDENCE_Z * standard_error
        return cls(value, value - half_width, value + half_width)

    @property
    def half_width(self) -> float | None:
        """Half the distance of its ends; None where they are not known."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2.0

    @property
    def is_lopsided(self) -> bool:
        """Whether the value lies near one end of a wide interval, as the median of samples on two levels does."""
        if self.low is None or self.high is None or self.high - self.low < _LOPSIDED_FROM * abs(self.value):
            return False
        sides = sorted((self.value - self.low, self.high - self.value))
        return sides[1] > LOPSIDED * sides[0]

    def scaled(self, factor: float) -> Interval:
        """The same in another unit."""
        ends = [None if end is None else end * factor for end in (self.low, self.high)]
        return Interval(self.value * factor, *ends)

    def minus(self, other: Interval) -> Interval:
        """The difference of two independent values; its ends are known where both theirs are."""
        one, two, value = self.half_width, other.half_width, self.value - other.value
        if one is None or two is None:
            return Interval(value)
        half_width = math.hypot(one, two)
        return Interval(value, value - half_width, value + half_width)

    @property
    def absolute(self) -> Interval:
        """Its size, without its sign."""
        if self.value >= 0.0:
            return self
        ends = [None if end is None else -end for end in (self.high, self.low)]
        return Interval(-self.value, *ends)

    @property
    def excludes_zero(self) -> bool:
        """Whether the value differs from zero beyond its interval; where no interval is known, whether it differs."""
        if self.low is None or self.high is None:
            return self.value != 0.0
        return self.low > 0.0 or self.high < 0.0


def unit_text(unit: str) -> str:
    """How a metric's unit is written above a column: fractions are shown as percents, bytes as KiB."""
    return _SHOWN_AS.get(unit, unit)


def shown_in(interval: Interval, unit: str) -> Interval:
    """The numbers of an interval as they stand in a column headed by `unit_text`."""
    return interval.scaled(_FACTORS[unit]) if unit in _FACTORS else interval


def number_text(interval: Interval, *, signed: bool = False) -> str:
    """Write a value with its interval, without a unit: ``73.95 ± 0.09``, ``94 (73 to 99, on two levels)``.

    Args:
        signed: whether positive values get a plus, as differences do.
    """
    return _text(interval, "", signed=signed)


def _text(interval: Interval, unit: str, *, signed: bool) -> str:
    after = f" {unit}" if unit else ""
    half_width = interval.half_width
    if not math.isfinite(interval.value):
        return f"{interval.value}{after}"
    plus = "+" if signed else ""
    if half_width is None:
        return _plain_text(interval.value, plus) + after
    if half_width == 0.0:  # finer than what was measured with
        return f"{_plain_text(interval.value, plus)} ± 0{after}"
    # Up to the interval's first digit that counts; the second where the first is a 1.
    exponent = math.floor(math.log10(half_width))
    decimals = -exponent + (1 if round(half_width / 10.0**exponent, 1) < 2.0 else 0)
    if interval.is_lopsided:
        low, high = (_rounded(end, decimals) for end in (interval.low or 0.0, interval.high or 0.0))
        return f"{_rounded(interval.value, decimals, plus)}{after} ({low} to {high}, on two levels)"
    return f"{_rounded(interval.value, decimals, plus)} ± {_rounded(half_width, decimals)}{after}"


@lru_cache(MAX_KEPT)
def quantity_text(interval: Interval, unit: str, *, signed: bool = False) -> str:
    """Write a value with its interval and unit: ``73.95 ± 0.09 us``, ``12 ± 4 ms``, ``79.6 ± 0.9 %``, ``1.5 MiB``."""
    shown, name = shown_in(interval, unit), unit_text(unit)
    if unit == "us" and abs(interval.value) >= _US_PER_MS:
        shown, name = interval.scaled(1.0 / _US_PER_MS), "ms"
    if unit == "bytes":
        power = next((at for at in range(1, len(_BYTES)) if abs(interval.value) < 1024.0**at), len(_BYTES)) - 1
        shown, name = interval.scaled(1.0 / 1024.0**power), _BYTES[power]
    return _text(shown, name, signed=signed)


def uncertain_text(value: float, standard_error: float | None, unit: str, *, signed: bool = False) -> str:
    """Write a value of which a standard error is known, or nothing: `quantity_text` of its 95 % interval."""
    return quantity_text(Interval.of_error(value, standard_error), unit, signed=signed)


def value_text(value: float | None, unit: str = "", *, digits: int = DIGITS, signed: bool = False) -> str:
    """Write a number of which no interval is known, with its unit: ``8 ms``, ``290,000,000``; a dash for none.

    Args:
        digits: that it has at most where it is not whole.
        signed: whether positive values get a plus.
    """
    if value is None:
        return "-"
    exact = digits >= DIGITS or not math.isfinite(value)
    return quantity_text(Interval(value if exact else float(f"{value:.{digits}g}")), unit, signed=signed)


def _plain_text(value: float, plus: str) -> str:
    """A value of which no interval is known: whole numbers with separators, others with five digits; no exponents for
    what people write without.
    """
    if value == int(value) and 1000 <= abs(value) < _EXPONENTS_FROM:
        return f"{int(value):{plus},}"
    if _SEPARATED_FROM <= abs(value) < _EXPONENTS_FROM:
        return f"{value:{plus},.0f}"
    return f"{value:{plus}.{DIGITS}g}"


def _rounded(value: float, decimals: int, plus: str = "") -> str:
    rounded = round(value, decimals)
    if rounded == 0.0:
        return f"{0.0:.{max(0, decimals)}f}"  # of no sign: that of what was rounded away says nothing
    return f"{rounded:{plus},.{max(0, decimals)}f}"
