"""``hilnas spaces``: look at search spaces and their architectures on this machine, without server and torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hilnas.cli.completions import names_of
from hilnas.cli.local import spaces as local_spaces
from hilnas.cli.options import JsonOption, ServerOption, TokenOption
from hilnas.cli.runner import new_app
from hilnas.cli.terminal import make_console
from nas_engine.domain.architecture import Architecture
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.search_space import SearchSpace
from nas_engine.spaces.registry import create_space, space_ids
from nas_engine.spaces.tables.space import TableSpace

app = new_app("Look at search spaces and their architectures: on this machine, without server and torch.")
_console = make_console()

SpaceArgument = Annotated[
    str,
    typer.Argument(
        help="Space id, see 'hilnas spaces list', or a file with a table of results.",
        metavar="SPACE",
        autocompletion=names_of("search-spaces"),
    ),
]
ClassesOption = Annotated[int | None, typer.Option("--num-classes", help="Outputs of the classifier [default: 1000].")]
SettingOption = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", help="A parameter of the space, e.g. -p stem_stride=1.", metavar="NAME=JSON"),
]


@app.command("list")
def list_spaces(as_json: JsonOption = False) -> None:
    """List every search space."""
    spaces = [create_space(space_id) for space_id in space_ids()]
    if as_json:
        _print_json([_space_document(space) for space in spaces])
        return
    table = Table("space", "genes", "genotypes", "input", "published models")
    for space in spaces:
        shapes = " ".join(f"{height}x{width}" for _, height, width in space.input_shapes)
        table.add_row(
            space.space_id, str(len(space.genes)), f"{float(space.size):.3g}", shapes, ", ".join(space.named) or "-"
        )
    _console.print(table)


@app.command()
def show(
    space_id: SpaceArgument,
    num_classes: ClassesOption = None,
    parameter: SettingOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a space: parameters, genes, published models."""
    space = local_spaces.open_space(space_id, num_classes, parameter or ())
    if as_json:
        genes: list[JsonValue] = [
            {"name": gene.name, "group": gene.group, "kind": gene.kind.value, "options": list(gene.options)}
            for gene in space.genes
        ]
        _print_json({**_space_document(space), "parameters": dict(space.parameters), "genes": genes})
        return
    _console.print(f"[bold]{space.space_id}[/]  {space.size:,} genotypes", highlight=False)
    if isinstance(space, TableSpace):
        labels = ", ".join(metric.name for metric in space.metrics)
        _console.print(f"{len(space.rows):,} rows of {labels}: {space.name}", highlight=False)
    _console.print_json(json.dumps(dict(space.parameters)))
    table = Table("#", "gene", "group", "choices")
    for index, gene in enumerate(space.genes):
        choices = "  ".join(f"{i}={option}" for i, option in enumerate(gene.options))
        table.add_row(str(index), gene.name, gene.group, choices)
    _console.print(table)
    for model in space.named.values():
        _console.print(f"[bold]{model.name}[/]  {model.source}", highlight=False)


@app.command()
def decode(
    space_id: SpaceArgument,
    architecture: Annotated[
        str,
        typer.Option(
            "--architecture", "-a", help="Published name, genotype (JSON list), or the space's own form (text or JSON)."
        ),
    ],
    num_classes: ClassesOption = None,
    parameter: SettingOption = None,
    as_json: JsonOption = False,
    onnx: Annotated[Path | None, typer.Option(help="Write the network with seeded random weights.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Write a picture of the architecture.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random weights.", min=0)] = 0,
) -> None:
    """Decode one architecture: MACs, parameters, input; and export or draw it."""
    space = local_spaces.open_space(space_id, num_classes, parameter or ())
    found = local_spaces.read_architecture(space, architecture)
    if onnx is not None:
        onnx.write_bytes(local_spaces.export_with_random_weights(space, found, seed))
    if svg is not None:
        svg.write_text(local_spaces.draw(space, found, architecture), encoding="utf-8")
    document = local_spaces.document_of(space, found)
    if onnx is not None:
        document["exported_weights"] = "random (latency only)"
    if as_json:
        _print_json(document)
        return
    table = Table(show_header=False)
    for name, value in document.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else json.dumps(value))
    _console.print(table)


@app.command()
def sample(
    space_id: SpaceArgument,
    num: Annotated[int, typer.Option("--num", "-n", help="How many.", min=1, max=10_000)] = 1,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal architectures.", min=0)] = 0,
    num_classes: ClassesOption = None,
    parameter: SettingOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw architectures uniformly, gene by gene."""
    space = local_spaces.open_space(space_id, num_classes, parameter or ())
    drawn = local_spaces.sample(space, num, seed)
    if as_json:
        _print_json([local_spaces.document_of(space, architecture) for architecture in drawn])
        return
    columns = [metric.name for metric in space.metrics] if isinstance(space, TableSpace) else ["MACs", "params"]
    table = Table("genotype", *columns)
    for architecture in drawn:
        table.add_row(*_row(space, architecture))
    _console.print(table)


@app.command()
def register(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Table of results: .json, .csv or .npz.")],
    space_id: Annotated[str, typer.Option("--id", help="Name of the new space, as search specs will use it.")],
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COLUMN",
            help="Read the column NAME of a .csv as COLUMN (gene1, top1, macs, ...); NAME= leaves it out. "
            "May be repeated.",
        ),
    ] = None,
    genes_from: Annotated[int, typer.Option(min=0, max=1, help="What the file counts choices from.")] = 0,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Upload a table of results and make it a search space of a server."""
    # Imported here: looking at a space must not need what asking a server needs.
    from hilnas.cli.commands.space_tables import register_table

    register_table(
        file, space_id, columns=column or (), genes_from=genes_from, as_json=as_json, server=server, token=token
    )


@app.command("tables")
def list_tables(as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None) -> None:
    """List the tables of results that are search spaces of a server."""
    from hilnas.cli.commands.space_tables import list_registered

    list_registered(as_json=as_json, server=server, token=token)


def _row(space: SearchSpace, architecture: Architecture) -> tuple[str, ...]:
    if isinstance(space, TableSpace):
        row = local_spaces.document_of(space, architecture)
        return json.dumps(row["genotype"]), *(f"{row[metric.name]:,}" for metric in space.metrics)
    found = local_spaces.describe(space, architecture)
    return json.dumps(found.genotype), f"{found.macs:,}", f"{found.params:,}"


def _print_json(document: JsonValue) -> None:
    typer.echo(json.dumps(document, allow_nan=False))


def _space_document(space: SearchSpace) -> dict[str, JsonValue]:
    document: dict[str, JsonValue] = {
        "id": space.space_id,
        "num_genes": len(space.genes),
        "size": space.size,
        "num_classes": space.num_classes,
        "input_shapes": [list(shape) for shape in space.input_shapes],
        "named": [{"name": model.name, "source": model.source} for model in space.named.values()],
    }
    if isinstance(space, TableSpace):
        columns = [metric.name for metric in space.metrics]
        document.update({"table": space.name, "num_rows": len(space.rows), "columns": columns})
    return document
