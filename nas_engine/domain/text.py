"""Text from outside, made fit to be stored and shown on one line."""

from __future__ import annotations


def one_line(text: str, max_characters: int) -> str:
    """Put what anybody printed on one line: what cannot be shown becomes a space, the rest is cut."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:max_characters]
