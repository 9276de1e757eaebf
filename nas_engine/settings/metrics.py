"""Settings of metrics, as whoever declares a metric types them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from nas_engine.domain.doors import Declaration
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metrics import all_metrics
from nas_engine.settings.declared import settings_schema


def parsed_metric_settings(name: str, document: Mapping[str, Any]) -> Any:
    """Make the settings of a metric from a document; None for a metric that has none.

    Raises:
        ValueError: says which setting is wrong.
    """
    kind = all_metrics().get(name).declaration.settings
    if kind is None:
        if document:
            raise ValueError(f"metric {name} has no settings: leave them out")
        return None
    try:
        return TypeAdapter(kind).validate_python(dict(document))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"settings of metric {name}: {place}: {first['msg']}") from error


def metric_settings_schema(name: str) -> dict[str, Any] | None:
    """JSON Schema of the settings of a metric; None for a metric that has none."""
    kind = all_metrics().get(name).declaration.settings
    return None if kind is None else TypeAdapter(kind).json_schema()


def describe_metric(declaration: Declaration, argument: JsonValue) -> JsonValue:
    """Describe the settings of a metric that a package declares; called in the process that looks at packages."""
    del argument
    return settings_schema(declaration)
