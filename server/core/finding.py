"""Finding things by words: what is written down beside a thing, and what is made of the words that are looked for.

Both go through `plain`, so that every database finds the same, whatever it knows of letters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping


def plain(text: str) -> str:
    """Give a text without what is not compared: case, and which of several spellings of a letter it has."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def found_by(*texts: str | None, labels: Mapping[str, str]) -> str:
    """What a thing is found by: texts that say something of it, and its labels as ``name:value``; a line each."""
    said = [text for text in texts if text] + [f"{name}:{value}" for name, value in labels.items()]
    return plain("\n".join(said))


def words_of(text: str | None) -> tuple[str, ...]:
    """The words of a query, all of which must be found; none where nothing is asked."""
    return () if text is None else tuple(dict.fromkeys(plain(text).split()))
