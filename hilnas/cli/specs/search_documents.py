"""What ``hilnas search create`` sends: a preset, a spec file, options; the later ones win."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hilnas.cli.specs.spec_files import read_spec_file
from hilnas.client.client import Hilnas
from hilnas.client.errors import SpecFileError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.text import did_you_mean
from server.core.ids import is_id
from server.searches.presets import SEARCH_PRESETS, TABLE_PLACE


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """Options that replace single places of a spec; None leaves them.

    Attributes:
        device_type: ``/device/device_type``; a preset's own device, its data type and batch are then left out.
        latency_table: ``/algorithm/latency_table``, its id or name.
        supernet: ``/supernet``, the id or name of a trained one.
    """

    device_type: str | None = None
    latency_table: str | None = None
    supernet: str | None = None


def search_document(file: Path | None, preset: str | None, options: SearchOptions) -> dict[str, JsonValue]:
    """The spec to be sent.

    Raises:
        SpecFileError: the file cannot be read, there is no such preset, or something it needs is missing.
    """
    if file is None and preset is None:
        raise SpecFileError("nothing to search: give a spec file, or --preset; `hilnas presets list` names them")
    document = {} if preset is None else _preset(preset)
    if options.device_type is not None:
        document.pop("device", None)
    document.update({} if file is None else read_spec_file(file))
    if options.supernet is not None:
        document["supernet"] = options.supernet
    if options.device_type is not None:
        document["device"] = _with(document.get("device"), "device_type", options.device_type)
    if options.latency_table is not None:
        document["algorithm"] = _with(document.get("algorithm"), "latency_table", options.latency_table)
    elif preset is not None and file is None and any(place == TABLE_PLACE for place, _ in SEARCH_PRESETS[preset].needs):
        raise SpecFileError(f"preset {preset} needs --latency-table: `hilnas tables create` measures one")
    return document


def with_ids(nas: Hilnas, spec: dict[str, JsonValue], options: SearchOptions) -> dict[str, JsonValue]:
    """The spec with the ids of what options named, since specs take ids alone.

    Raises:
        NotFoundError: there is no such supernet or table.
    """
    found = dict(spec)
    if options.supernet is not None and not is_id(options.supernet):
        found["supernet"] = nas.supernets.get(options.supernet).id
    if options.latency_table is not None and not is_id(options.latency_table):
        table = nas.latency_tables.get(options.latency_table)
        found["algorithm"] = _with(found.get("algorithm"), "latency_table", table.id)
    return found


def _preset(name: str) -> dict[str, JsonValue]:
    if name not in SEARCH_PRESETS:
        known = ", ".join(SEARCH_PRESETS)
        raise SpecFileError(f"unknown preset {name!r}: known are {known}{did_you_mean(name, SEARCH_PRESETS)}")
    document: dict[str, JsonValue] = SEARCH_PRESETS[name].spec.model_dump(mode="json")
    return document


def _with(part: JsonValue, key: str, value: str) -> JsonValue:
    return {**(part if isinstance(part, dict) else {}), key: value}
