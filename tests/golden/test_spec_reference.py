"""The references of specs list every field there is, straight from the schema; their examples are valid.

Regenerate the tables after a change with ``python -m tests.golden.test_spec_reference``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas_engine.settings.training import NetworkSpec
from server.candidates.spec import parse_search_spec, search_spec_schema
from server.training.networks.network import parse_network_spec

_FOLDER = Path(__file__).parents[2] / "docs" / "reference"
_PAGES: dict[str, tuple[str, Callable[[], dict[str, Any]], Callable[[object], object]]] = {
    "search_spec.md": ("SearchSpec", search_spec_schema, parse_search_spec),
    "network_spec.md": ("NetworkSpec", NetworkSpec.model_json_schema, parse_network_spec),
}
"""What each page is about, the schema that its tables come from, and what reads its examples."""
_BEGIN, _END = "<!-- fields: begin -->", "<!-- fields: end -->"
_BOUNDS = (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))


def _name(reference: dict[str, Any]) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _type(field: dict[str, Any]) -> str:
    """A field's type in a few words."""
    if "$ref" in field:
        return f"[{_name(field)}](#{_name(field).lower()})"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    options = field.get("anyOf") or field.get("oneOf")
    if options is not None:
        return " or ".join(dict.fromkeys(_type(option) for option in options))
    bounds = " ".join(f"{sign} {field[key]:g}" for key, sign in _BOUNDS if key in field)
    match field.get("type"):
        case "array":
            return f"list of {_type(field['items'])}"
        case "object":
            return "mapping"
        case None:
            return "any"
        case plain:
            return f"{plain} {bounds}".strip()


def _default(name: str, field: dict[str, Any], required: list[str]) -> str:
    if name in required:
        return "required"
    if "default" not in field:
        return ""
    return f"`{json.dumps(field['default'])}`"


def _section(title: str, model: dict[str, Any]) -> list[str]:
    lines = [f"## {title}", "", str(model.get("description", "")), "", "| field | type | default | meaning |"]
    lines.append("|---|---|---|---|")
    for name, field in model.get("properties", {}).items():
        meaning = str(field.get("description", "")).replace("\n", " ").replace("|", "\\|")
        cells = (f"`{name}`", _type(field), _default(name, field, model.get("required", [])), meaning)
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _tables(name: str) -> str:
    title, schema_of, _ = _PAGES[name]
    schema = schema_of()
    enums = {name: model for name, model in schema["$defs"].items() if "enum" in model}
    schema = _with_enums(schema, enums)
    definitions = {name: model for name, model in schema.pop("$defs").items() if name not in enums}
    lines = _section(title, schema)
    for definition in _in_order_of_use(schema, definitions):
        lines += _section(definition, definitions[definition])
    return "\n".join(lines)


def _with_enums(part: Any, enums: dict[str, Any]) -> Any:
    """The schema with the values of its enums where they are used."""
    if isinstance(part, list):
        return [_with_enums(item, enums) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part and _name(part) in enums:
        return {"enum": enums[_name(part)]["enum"]} | {key: value for key, value in part.items() if key != "$ref"}
    return {key: _with_enums(value, enums) for key, value in part.items()}


def _in_order_of_use(schema: dict[str, Any], definitions: dict[str, Any]) -> list[str]:
    names: list[str] = []
    waiting = re.findall(r"#/\$defs/(\w+)", json.dumps(schema["properties"]))
    while waiting:
        name = waiting.pop(0)
        if name not in names:
            names.append(name)
            waiting = re.findall(r"#/\$defs/(\w+)", json.dumps(definitions[name]["properties"])) + waiting
    return names


def _page_with_tables(name: str) -> str:
    before, _, rest = (_FOLDER / name).read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n\n{_tables(name)}{_END}{after}"


@pytest.mark.parametrize("name", _PAGES)
def test_the_reference_lists_every_field_there_is(name: str) -> None:
    assert (_FOLDER / name).read_text(encoding="utf-8") == _page_with_tables(name), (
        "the spec has changed: run `python -m tests.golden.test_spec_reference`"
    )


@pytest.mark.parametrize("name", _PAGES)
def test_every_example_of_the_reference_is_a_valid_spec(name: str) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", (_FOLDER / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert examples
    for example in examples:
        _PAGES[name][2](yaml.safe_load(example))


if __name__ == "__main__":
    for page in _PAGES:
        (_FOLDER / page).write_text(_page_with_tables(page), encoding="utf-8")
        sys.stdout.write(f"wrote {_FOLDER / page}\n")
