"""What shells complete in place of ids and names: asked of the server within a second, silent where there is none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import typer

from hilnas.client.documents import Document, Documents
from hilnas.client.locating import locate
from server.core.ids import is_id, short_id

_TIMEOUT_S = 1.0  # in all: who presses the tabulator waits for it
_MAX_LISTED = 50
_MAX_SEARCHES = 5
_TYPED = re.compile(r"[A-Za-z0-9][\w.@+-]*")  # what shells take as one word; other names are reached by their ids

Completion = tuple[str, str]
"""A word, and what shells that show help say of it."""
Complete = Callable[[typer.Context, str], list[Completion]]


def names_of(*path: str) -> Complete:
    """Complete what a listing of the API has: names where they can be typed and are told apart, else ids.

    Args:
        path: of the listing; a part such as ``{table}`` is what was typed for that argument.
    """

    def complete(ctx: typer.Context, incomplete: str) -> list[Completion]:
        parts = [str(ctx.params.get(part[1:-1], "")) if part.startswith("{") else part for part in path]
        return _asked(ctx, incomplete, lambda server: _called(_newest(server, *parts)))

    return complete


def candidates(ctx: typer.Context, incomplete: str) -> list[Completion]:
    """Complete candidates: those on the fronts of the newest searches, or of the one that was typed before the dot."""
    search, dot, _ = incomplete.rpartition(".")

    def listed(server: Documents) -> Iterator[tuple[tuple[str, ...], str]]:
        found = [search] if dot else [str(one["id"]) for one in _newest(server, "searches", num=_MAX_SEARCHES)]
        for one in found:
            for point in server.get("searches", one, "front")["points"]:
                member = point["candidate"]
                typed = f"{search}.{member['seq']}" if dot else str(member["short_id"])
                yield (typed, str(member["id"])), f"on the front of {one}"

    return _asked(ctx, incomplete, listed)


def presets(incomplete: str) -> list[Completion]:
    """Complete recipes of searches and trainings, which need no server."""
    from nas_engine.settings.presets import TRAINING_PRESETS
    from server.searches.presets import SEARCH_PRESETS

    known = [(name, preset.summary) for name, preset in SEARCH_PRESETS.items()]
    known += [(name, preset.summary) for name, preset in TRAINING_PRESETS.items()]
    return [one for one in known if one[0].startswith(incomplete)]


def _asked(
    ctx: typer.Context, incomplete: str, listed: Callable[[Documents], Iterable[tuple[tuple[str, ...], str]]]
) -> list[Completion]:
    """Of what a server lists, all names of each thing, the first name of each that goes on as typed."""
    try:
        place = locate(ctx.params.get("server"), ctx.params.get("token"))
        with Documents(place, patience_s=_TIMEOUT_S) as server:
            found = list(listed(server))
    except Exception:  # whatever it is, it must not appear in the line that is being typed
        return []
    going_on = ((next((one for one in names if one.startswith(incomplete)), None), help) for names, help in found)
    return [(name, help) for name, help in going_on if name is not None]


def _newest(server: Documents, *path: str, num: int = _MAX_LISTED) -> list[Document]:
    return list(server.items(*path, limit=num))


def _called(found: list[Document]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What each of these may be typed as, the best first, and what it is."""
    names = [_name(one) for one in found]
    often = Counter(names)
    for one, name in zip(found, names, strict=True):
        id = str(one.get("id", ""))
        can_be_typed = often[name] == 1 and _TYPED.fullmatch(name) is not None
        words = (*((name,) if can_be_typed else ()), *((id,) if id else ()), *((short_id(id),) if is_id(id) else ()))
        yield words, " ".join(filter(None, (str(one.get("state") or one.get("kind") or ""), name)))


def _name(document: Any) -> str:
    return str(document.get("name") or document.get("device_type") or "")
