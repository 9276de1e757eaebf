"""``hilnas presets``: the papers' recipes of searches and trainings, as this version of hilnas has them."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from hilnas.cli.completions import presets
from hilnas.cli.options import JsonOption, print_json
from hilnas.cli.runner import new_app
from hilnas.cli.shown import listings
from hilnas.client.documents import Document
from hilnas.client.errors import SpecFileError
from nas_engine.domain.text import did_you_mean

if TYPE_CHECKING:
    from nas_engine.settings.presets import TrainingPreset
    from server.searches.presets import SearchPreset

app = new_app("List and show the recipes of searches and trainings that `--preset` takes.")


class PresetKind(StrEnum):
    """What a preset starts."""

    SEARCH = "search"
    SUPERNET = "supernet"
    NETWORK = "network"


@app.command("list")
def list_presets(
    kind: Annotated[PresetKind | None, typer.Option(help="Of this kind alone.")] = None, as_json: JsonOption = False
) -> None:
    """List presets; those of a search go with `search create`, the others with `supernets train`, `networks train`."""
    found = [one for one in known_presets() if kind is None or one["kind"] == kind.value]
    listings.show(found, tuple((name, listings.member(name)) for name in ("name", "kind", "summary")), as_json=as_json)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of a preset.", autocompletion=presets)], as_json: JsonOption = False
) -> None:
    """Show a preset: where its numbers come from, what it needs, and its spec, which a file may start from."""
    found = {one["name"]: one for one in known_presets()}
    if name not in found:
        raise SpecFileError(f"unknown preset {name!r}: known are {', '.join(found)}{did_you_mean(name, found)}")
    if as_json:
        print_json(found[name])
        return
    import yaml

    preset = found[name]
    typer.echo(f"# {preset['kind']} {name}: {preset['summary']}\n# {preset['source']}")
    for need in preset["needs"]:
        typer.echo(f"# needs {need['pointer']}: {need['meaning']}")
    typer.echo(yaml.safe_dump(preset["spec"], sort_keys=False), nl=False)


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="Name of a preset.", autocompletion=presets)], _: JsonOption = True
) -> None:
    """Print a preset as JSON."""
    show(name, as_json=True)


def known_presets() -> list[Document]:
    """Every preset as a document."""
    # Reading the specs of all takes a second: only what shows presets waits for it.
    from nas_engine.settings.presets import TRAINING_PRESETS
    from nas_engine.settings.training import NetworkSpec
    from server.searches.presets import SEARCH_PRESETS

    found: list[Document] = []
    for search in SEARCH_PRESETS.values():
        needs = [{"pointer": pointer, "meaning": meaning} for pointer, meaning in search.needs]
        found.append({**_document(search), "kind": PresetKind.SEARCH.value, "needs": needs})
    for training in TRAINING_PRESETS.values():
        kind = PresetKind.NETWORK if isinstance(training.spec, NetworkSpec) else PresetKind.SUPERNET
        found.append({**_document(training), "kind": kind.value, "needs": []})
    return found


def _document(preset: SearchPreset | TrainingPreset) -> Document:
    spec = preset.spec.model_dump(mode="json")
    return {"name": preset.name, "summary": preset.summary, "source": preset.source, "spec": spec}
