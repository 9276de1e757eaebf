"""What pydantic finds wrong, in words for whoever wrote the document, with the name that may have been meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from nas_engine.domain.text import did_you_mean
from nas_engine.settings.base import Misread

_MOST_SHOWN = 100  # characters of what was given
_FORMS = {"^[A-Za-z0-9][A-Za-z0-9_.-]*$": "use letters, digits, '_', '.' and '-', a letter or a digit first"}
_QUOTED = re.compile(r"'([^']*)'")
# By pydantic's type of an error, which speaks of "input" and of Python's types to whoever wrote JSON or YAML.
_WANTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping of names to values",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "mapping_type": "a mapping of names to values",
    "model_attributes_type": "a mapping of names to values",
    "model_type": "a mapping of names to values",
    "multiple_of": "a multiple of {multiple_of}",
    "none_required": "null",
    "string_too_long": "at most {max_length} characters long",
    "string_too_short": "at least {min_length} characters long",
    "string_type": "text",
    "too_long": "at most {max_length} long",
    "too_short": "at least {min_length} long",
    "tuple_type": "a list",
}
_NAMED = {dict: "a mapping", list: "a list", tuple: "a list", set: "a list"}


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
            allowed = _QUOTED.findall(said)
            return (
                f"must be {error['ctx']['expected']}{_given(error)}{did_you_mean(str(error.get('input', '')), allowed)}"
            )
        case "string_pattern_mismatch" if (form := _FORMS.get(error["ctx"]["pattern"])) is not None:
            return f"{str(error.get('input'))[:_MOST_SHOWN]!r}: {form}"
        case kind if (wanted := _WANTED.get(kind)) is not None:
            return f"must be {wanted.format_map(error.get('ctx', {}))}{_given(error)}"
        case _:
            return said


def _given(error: Mapping[str, Any]) -> str:
    """What stands there instead, where that is short enough to be recognised."""
    value = error.get("input")
    if isinstance(value, Misread):
        value = value[0]
    if isinstance(value, (dict, list, tuple, set)):
        return f", not {_NAMED[type(value)] if value else 'empty'}"
    return f", not {'null' if value is None else repr(value)[:_MOST_SHOWN]}"


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
