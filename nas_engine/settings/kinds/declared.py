"""Settings of what packages declare (`nas_engine.domain.plugins`): their JSON schema, and values from documents."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from functools import lru_cache
from typing import Any, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

from nas_engine.domain.errors import EngineError
from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.domain.plugins.doors import Declaration
from nas_engine.domain.text import did_you_mean

Fault = tuple[tuple[str | int, ...], str]
"""Path of a wrong field in a settings document, and what is wrong with it."""


class SettingsError(EngineError):
    """Settings are not ones that what they are for takes; `faults` names every field that is wrong."""

    def __init__(self, name: str, faults: tuple[Fault, ...]) -> None:
        lines = (f"{'.'.join(map(str, path)) or 'settings'}: {message}" for path, message in faults)
        super().__init__(f"settings of {name}: {'; '.join(lines)}")
        self.faults = faults


def settings_schema(declaration: Declaration) -> JsonValue:
    """JSON schema of the settings that a declaration takes; of an empty object where it takes none."""
    if declaration.settings is None:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    return cast("JsonValue", _adapter(cast(Hashable, declaration.settings)).json_schema())


def read_settings(declaration: Declaration, document: Mapping[str, JsonValue]) -> Any:
    """Read the settings of a declaration; absent fields take their defaults. None where it takes no settings.

    Raises:
        SettingsError: a field is unknown, lacks, or is none that the type takes; not finite, too.
    """
    known = _fields(declaration.settings)
    unknown = [name for name in document if name not in known]
    if unknown:
        names = ", ".join(sorted(known)) or "none"
        strange = tuple(((name,), f"unknown: known are {names}{did_you_mean(name, known)}") for name in unknown)
        raise SettingsError(declaration.name, strange)
    try:
        canonical_json(dict(document))
    except (TypeError, ValueError) as error:
        raise SettingsError(declaration.name, (((), f"no JSON document of finite numbers: {error}"),)) from error
    if declaration.settings is None:
        return None
    try:
        return _adapter(cast(Hashable, declaration.settings)).validate_python(dict(document))
    except ValidationError as error:
        faults = tuple(
            (detail["loc"], detail["msg"].removeprefix("Value error, "))
            for detail in error.errors(include_url=False, include_input=False, include_context=False)
        )
        raise SettingsError(declaration.name, faults) from error
    except SettingsError:
        raise
    except EngineError as error:
        raise SettingsError(declaration.name, (((), str(error)),)) from error


def _fields(kind: type[Any] | None) -> set[str]:
    if kind is None:
        return set()
    if dataclasses.is_dataclass(kind):
        return {field.name for field in dataclasses.fields(kind)}
    if issubclass(kind, BaseModel):
        return set(kind.model_fields) | {field.alias for field in kind.model_fields.values() if field.alias}
    raise SettingsError(kind.__name__, (((), "settings are a dataclass or a pydantic model"),))


@lru_cache(maxsize=256)
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, kind))
