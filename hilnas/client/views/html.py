"""HTML for notebooks: tables of what the server answers. Everything is escaped; colours are the notebook's own."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from hilnas.client.views.cells import cells_of

_CELL = "text-align:left;padding:2px 8px;white-space:nowrap"


def table_of(values: Sequence[object], *, has_more: bool = False) -> str:
    """What values are, a row each; `has_more` says that there are others that are not shown."""
    if not values:
        return "<p>nothing</p>"
    rows = [cells_of(value) for value in values]
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in names)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{escape(row.get(name, ""))}</td>' for name in names) + "</tr>"
        for row in rows
    )
    more = "<p>... and more: iterate over the listing, or call to_pandas()</p>" if has_more else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def panel_of(value: object, title: str, *parts: str) -> str:
    """One thing: its title, what it is name by name, and further parts, which are HTML already."""
    rows = "".join(
        f'<tr><th style="{_CELL}">{escape(name)}</th><td style="{_CELL}">{escape(text)}</td></tr>'
        for name, text in cells_of(value).items()
        if text
    )
    return f"<div><strong>{escape(title)}</strong><table><tbody>{rows}</tbody></table>{''.join(parts)}</div>"


def paragraphs(texts: Sequence[str]) -> str:
    """Sentences, one paragraph each."""
    return "".join(f"<p>{escape(text)}</p>" for text in texts)
