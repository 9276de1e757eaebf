"""Reading architecture documents: what every space that ships published models has in common."""

from __future__ import annotations

from collections.abc import Mapping

from nas_engine.domain.errors import InvalidArchitectureError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.search_space import NamedArchitecture
from nas_engine.domain.text import did_you_mean


def resolve_name(space_id: str, named: Mapping[str, NamedArchitecture], document: JsonValue) -> JsonValue:
    """The document behind a published name (upper and lower case alike); any other document as it is.

    Raises:
        InvalidArchitectureError: a text that is no published name; the message lists the known ones.
    """
    if not isinstance(document, str):
        return document
    model = named.get(document.strip().lower())
    if model is None:
        known = ", ".join(named) or "none with these parameters"
        raise InvalidArchitectureError(
            f"{document!r} is not a published model of {space_id}: known are {known}{did_you_mean(document, named)}"
        )
    return model.document
