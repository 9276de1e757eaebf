"""Text from outside: made fit to be stored and shown on one line, and what a mistyped word may have meant."""

from __future__ import annotations

from collections.abc import Iterable

_MIN_BEGINNING = 3  # characters; of fewer much begins with them
_MAX_NEAR = 3


MAX_REASON_CHARACTERS = 1000
"""Of what anybody gives as the reason of something."""


def one_line(text: str, max_characters: int) -> str:
    """Put what anybody printed on one line: what cannot be shown becomes a space, the rest is cut."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:max_characters]


def duration_text(seconds: float) -> str:
    """A time span in two units at most: ``45 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for size, unit, smaller, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{whole} s"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Name what begins with a word or is spelt nearly like it, as the end of a sentence; empty where nothing is."""
    near = near_words(word, known)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def near_words(word: str, known: Iterable[str]) -> list[str]:
    """What begins with a word or is spelt nearly like it, the nearest first; three at most."""
    # Loaded here: mistakes are rare, and commands must start quickly.
    from difflib import get_close_matches

    by_lower = {one.lower(): one for one in known}
    begun = [one for one in by_lower if len(word) >= _MIN_BEGINNING and one.startswith(word.lower())]
    near = begun[:_MAX_NEAR] or get_close_matches(word.lower(), by_lower, n=_MAX_NEAR, cutoff=0.7)
    return [by_lower[one] for one in near]
