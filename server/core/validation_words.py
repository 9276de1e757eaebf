"""What pydantic finds wrong, in words for whoever wrote the document, with the name that may have been meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from nas_engine.domain.text import did_you_mean

_MOST_SHOWN = 100  # characters of what was given
_FORMS = {"^[A-Za-z0-9][A-Za-z0-9_.-]*$": "use letters, digits, '_', '.' and '-', a letter or a digit first"}
_QUOTED = re.compile(r"'([^']*)'")


def words(error: Mapping[str, Any], model: Any = None) -> str:
    """What is wrong at the place of one error.

    Args:
        error: as `pydantic.ValidationError.errors` lists it.
        model: what the document was read as; its fields are what a mistyped name may have meant.
    """
    said = str(error["msg"]).removeprefix("Value error, ")
    match error["type"]:
        case "extra_forbidden":
            name = str(error["loc"][-1])
            known = _fields_at(model, error["loc"][:-1])
            near = did_you_mean(name, known)
            listed = f": known are {', '.join(known)}" if known and not near else ""
            return f"there is no field {name!r}{near}{listed}"
        case "enum" | "literal_error":
            return said + did_you_mean(str(error.get("input", "")), _QUOTED.findall(said))
        case "string_pattern_mismatch" if (form := _FORMS.get(error["ctx"]["pattern"])) is not None:
            return f"{str(error.get('input'))[:_MOST_SHOWN]!r}: {form}"
        case _:
            return said


def _fields_at(model: Any, location: Sequence[str | int]) -> list[str]:
    """Names of the fields that a document may have at a place; empty where that is not known."""
    found = list(_models_in(model))
    for part in location:
        fields = [kind.model_fields[str(part)] for kind in found if part in kind.model_fields]
        inner = [one for field in fields for one in _models_in(field.annotation)]
        # A part that is no field is an index, or the tag of a union.
        found = inner or [kind for kind in found if _tag(kind) == part] or found
    return list(dict.fromkeys(name for kind in found for name in kind.model_fields))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model that a value of this type may be."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _tag(kind: type[BaseModel]) -> object:
    """What `kind`, by which unions tell their members, is of this one."""
    field = kind.model_fields.get("kind")
    return None if field is None else getattr(field.default, "value", field.default)
