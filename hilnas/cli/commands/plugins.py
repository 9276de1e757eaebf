"""``hilnas plugins``: what packages bring to a server, and what settings it takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.table import Table

from hilnas.cli.options import JsonOption, ServerOption, TokenOption, connect, print_json
from hilnas.cli.runner import new_app
from hilnas.cli.terminal import make_console
from hilnas.client.errors import SpecFileError
from nas_engine.domain.text import did_you_mean
from server.fleet.schemas import RuntimeResource
from server.plugins.schemas import ProvidedResource

app = new_app("What packages bring to a server: spaces, algorithms, metrics, data sets, runtimes; and their settings.")
_console = make_console()
NameArgument = Annotated[str | None, typer.Argument(help="Show the settings of this one.", metavar="NAME")]


@app.command("list")
def list_plugins(as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None) -> None:
    """List what installed packages bring, and why any of it cannot be used."""
    with connect(server, token) as nas:
        found = list(nas.spaces.plugins())
    if as_json:
        print_json(found)
        return
    table = Table("door", "name", "package", "version", "problem")
    for plugin in found:
        table.add_row(plugin.door, plugin.name, plugin.package, plugin.version, plugin.problem or "-")
    _console.print(table)


@app.command()
def algorithms(
    name: NameArgument = None, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """List the algorithms a search may name, or the settings of one."""
    with connect(server, token) as nas:
        _show(nas.spaces.algorithms(), name, as_json)


@app.command()
def spaces(
    name: NameArgument = None, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """List the search spaces of the server, or the parameters of one."""
    with connect(server, token) as nas:
        if name is not None:
            found = nas.spaces.get(name)
            if as_json:
                print_json(found)
            else:
                _console.print(_settings_table(found.parameters_schema or {}))
            return
        known = list(nas.spaces.all())
    if as_json:
        print_json(known)
        return
    table = Table("name", "title", "package", "version")
    for space in known:
        table.add_row(space.id, space.title, space.package or "-", space.package_version or "-")
    _console.print(table)


@app.command()
def metrics(
    name: NameArgument = None, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """List the metrics objectives and constraints may name, or the settings of one."""
    with connect(server, token) as nas:
        _show(nas.spaces.metrics(), name, as_json)


@app.command()
def runtimes(
    name: NameArgument = None, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """List the inference engines that enrolled devices measure with, or what one takes as --runtime-settings."""
    with connect(server, token) as nas:
        _show(nas.devices.runtimes(), name, as_json)


@app.command()
def datasets(
    name: NameArgument = None, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """List the kinds of data sets the operator may register, or the settings of one."""
    with connect(server, token) as nas:
        _show(nas.spaces.dataset_kinds(), name, as_json)


def _show(kinds: Iterable[ProvidedResource | RuntimeResource], name: str | None, as_json: bool) -> None:
    known = list(kinds)
    found = [kind for kind in known if name in (None, kind.name)]
    if not found:
        names = [kind.name for kind in known]
        raise SpecFileError(f"the server has no {name!r}: it has {', '.join(names)}{did_you_mean(name or '', names)}")
    if as_json:
        print_json(found)
    elif name is None:
        table = Table("name", "title", "package", "version")
        for kind in found:
            table.add_row(kind.name, kind.title or "-", kind.package or "-", kind.version or "-")
        _console.print(table)
    else:
        _console.print(_settings_table(found[0].settings_schema or {}))


def _settings_table(schema: dict[str, Any]) -> Table:
    table = Table("setting", "type", "default", "meaning")
    required = schema.get("required", [])
    for setting, field in schema.get("properties", {}).items():
        options = field.get("anyOf", [field])
        types = " or ".join(str(option.get("type") or option.get("const") or "object") for option in options)
        default = "required" if setting in required else str(field.get("default", ""))
        table.add_row(setting, types, default, str(field.get("description", "")))
    return table
