"""Paths of the API: ids go into them percent-encoded, whatever is in them."""

from __future__ import annotations

from urllib.parse import quote

from hilnas.client.errors import InvalidNameError

API = "/api/v1"


def path_of(*parts: str, verb: str = "") -> str:
    """The path to a resource, or to what is done to it: ``path_of("searches", id, verb="pause")``.

    Raises:
        InvalidNameError: an id or a name is empty, one that would climb the path, or holds a colon, behind which stands
            what is done.
    """
    for part in parts:
        if isinstance(part, str) and ":" in part:
            raise InvalidNameError(f"{part!r} holds a colon, which no path takes: give the id of the {_noun(parts)}")
        if not isinstance(part, str) or not part.strip("."):
            raise InvalidNameError(f"{part!r} names nothing: give the id, the name or the number of a {_noun(parts)}")
    path = "/".join((API, *(quote(part, safe="") for part in parts)))
    return f"{path}:{verb}" if verb else path


def _noun(parts: tuple[str, ...]) -> str:
    """What the first part lists, one of it: of `searches`, a search."""
    listed = str(parts[0]).replace("-", " ") if parts else "resource"
    return listed.removesuffix("es") if listed.endswith("ches") else listed.removesuffix("s")
