"""Specs from JSON documents: every place that is wrong, by JSON pointer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from server.core.errors import InvalidSpecError, SpecViolation, json_pointer
from server.core.validation_words import words

S = TypeVar("S", bound=BaseModel)


def parse_spec(kind: type[S], document: object, context: Mapping[str, bool] | None = None) -> S:
    """A spec from a JSON document; `STORED` is the context of one that was taken in before.

    Raises:
        InvalidSpecError: one violation per place that is wrong.
    """
    try:
        return kind.model_validate(document, context=context)
    except ValidationError as error:
        details = error.errors(include_url=False)
        pointers = [_pointer(detail["loc"], document, detail["type"]) for detail in details]
        # A list whose items are wrong is reported as too short besides; that line only confuses.
        violations = [
            SpecViolation(pointer, words(detail, kind))
            for pointer, detail in zip(pointers, details, strict=True)
            if detail["type"] != "too_short" or not any(inner.startswith(f"{pointer}/") for inner in pointers)
        ]
        raise InvalidSpecError(violations) from error


def _pointer(location: tuple[int | str, ...], document: object, error_type: str) -> str:
    """JSON pointer of an error; union tags in pydantic's location, which are no part of the document, are left out."""
    parts: list[str | int] = []
    value = document
    for place, part in enumerate(location):
        known = isinstance(part, int) and part < len(value) if isinstance(value, list | tuple) else False
        if known or (isinstance(value, dict) and part in value):
            value = value[part]  # type: ignore[index]
        elif not (error_type == "missing" and place == len(location) - 1):
            continue
        parts.append(part)
    return json_pointer(tuple(parts))
