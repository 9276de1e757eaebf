"""``hilnas latencies``: latencies of many networks on many device types, without a board."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilnas.cli.completions import names_of
from hilnas.cli.options import JsonOption, ServerOption, TokenOption, connect, documents, print_json
from hilnas.cli.runner import new_app
from hilnas.cli.shown import listings
from hilnas.client.documents import Document
from nas_engine.domain.uncertainty import Interval, number_text

if TYPE_CHECKING:
    from hilnas.client.transport import Params

app = new_app("Ask for latencies of many networks without a board; list hardware keys and predictors.")
DeviceTypesOption = Annotated[
    list[str],
    typer.Option(
        "--device-type", help="On this device type; may be repeated.", autocompletion=names_of("device-types")
    ),
]
DeviceTypeOption = Annotated[
    str | None, typer.Option("--device-type", help="Of this device type.", autocompletion=names_of("device-types"))
]
RuntimeOption = Annotated[str | None, typer.Option("--runtime", help="Under this inference engine.")]


@app.command()
def query(
    device_type: DeviceTypesOption,
    arch_id: Annotated[
        list[str] | None, typer.Option("--arch-id", help="Architecture by its whole id; may be repeated.")
    ] = None,
    genotype: Annotated[
        list[str] | None, typer.Option("--genotype", help="Architecture of --space, as 0,2,1,...; may be repeated.")
    ] = None,
    space: Annotated[
        str | None,
        typer.Option("--space", help="Search space of the genotypes.", autocompletion=names_of("search-spaces")),
    ] = None,
    parameters: Annotated[str, typer.Option("--parameters", help="Parameters of the space, as JSON.")] = "{}",
    model: Annotated[
        list[str] | None, typer.Option("--model", help="SHA-256 of an uploaded ONNX model; may be repeated.")
    ] = None,
    hardware_key: Annotated[str | None, typer.Option("--hardware-key", help="Under this hardware key alone.")] = None,
    runtime: RuntimeOption = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="In this arithmetic: fp32, fp16 or w8a8.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="With so many images per inference.")] = None,
    same_structure: Annotated[
        bool, typer.Option("--same-structure", help="Take measurements of other architectures that are alike too.")
    ] = False,
    queue_missing: Annotated[
        bool, typer.Option("--queue-missing", help="Have measured what is neither measured nor estimated.")
    ] = False,
    queue_estimated: Annotated[
        bool, typer.Option("--queue-estimated", help="Have measured what is estimated, too.")
    ] = False,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Ask what networks take: measured, simulated, estimated, or to be measured; asks no board."""
    narrowed = {"hardware_key": hardware_key, "runtime": runtime, "dtype": dtype, "batch": batch}
    given = {name: value for name, value in narrowed.items() if value is not None}
    architectures: list[dict[str, Any]] = [{"arch_id": one} for one in arch_id or ()]
    if genotype and space is None:
        raise typer.BadParameter("genotypes are of a space: name it with --space", param_hint="--genotype")
    for text in genotype or ():
        of_space = {"id": space, "parameters": _parameters(parameters)}
        architectures.append({"space": of_space, "genotype": _genotype(text)})
    with connect(server, token) as nas:
        found = nas.latencies.query(
            architectures=architectures,
            models=model or (),
            devices=[{"device_type": one, **given} for one in device_type],
            same_structure=same_structure,
            queue_missing=queue_missing,
            queue_estimated=queue_estimated,
        )
    document = found.model_dump(mode="json")
    if as_json:
        print_json(document)
        return
    listings.show(document["answers"], _ANSWERS, as_json=False)


@app.command()
def hardware(
    device_type: DeviceTypeOption = None,
    runtime: RuntimeOption = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """List hardware keys: runtimes, versions, clocks, cores, and the device types that offer each now."""
    filters: Params = {"device_type": device_type, "runtime": runtime}
    with documents(server, token) as nas:
        found = list(nas.items("hardware-keys", params=filters))
    listings.show(found, _HARDWARE, as_json=as_json, empty="Nothing was measured or ordered yet.")


@app.command()
def predictors(
    device_type: DeviceTypeOption = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """List predictors, fitted to architectures or made of latency tables: what they stand on, and how often their
    intervals held on networks left out.
    """
    with documents(server, token) as nas:
        found = list(nas.items("latency-predictors", params={"device_type": device_type}))
    listings.show(found, _PREDICTORS, as_json=as_json, empty="No architecture was measured yet.")


def _parameters(text: str) -> Any:
    import json

    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint="--parameters") from error


def _genotype(text: str) -> list[int]:
    try:
        return [int(gene) for gene in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: write choices as 0,2,1", param_hint="--genotype") from error


def _latency(one: Document) -> str:
    if one["latency_us"] is None:
        return "-"
    return number_text(Interval(one["latency_us"], one["low_us"], one["high_us"]))


def _stands_on(one: Document) -> str:
    if one["measurement"] is not None:
        others = f"; {len(one['others'])} other hardware keys" if one["is_ambiguous"] else ""
        flagged = "" if one["measurement"]["validity"] == "valid" else f" ({one['measurement']['validity']})"
        return f"{one['measurement']['measurement_id']}{flagged}{others}"
    if one["estimate"] is not None:
        said = one["estimate"]
        held = "" if said["coverage"] is None else f", {said['coverage']:.0%} of {said['num_left_out']} left out held"
        table = f"{said['num_operators']} operators of {said['source_id']}, "
        on = f"{table if said['method'] == 'table' else ''}{said['num_networks']} networks"
        return f"{said['method']}: {on}{held}{'; stale' if said['is_stale'] else ''}"
    return str(one["reason"])


def _versions(one: Document) -> str:
    return ", ".join(f"{name} {version}" for name, version in one["hardware"]["runtime_versions"].items()) or "-"


def _part(name: str) -> Any:
    return lambda one: str(one["hardware"][name])


def _coverage(one: Document) -> str:
    quality = one["quality"]
    return "-" if quality is None else f"{quality['coverage']:.0%} of {quality['num_left_out']}"


_ANSWERS: tuple[listings.Column, ...] = (
    ("network", lambda one: str(one["arch_id"] or one["model_sha256"])[:12]),
    ("device type", listings.member("device_type")),
    ("answer", listings.member("kind")),
    ("latency [us]", _latency),
    ("stands on", _stands_on),
    ("hardware key", lambda one: "-" if one["hardware_key"] is None else str(one["hardware_key"])[:12]),
    ("job", lambda one: one["job_id"] or one["not_queued"] or "-"),
)
_HARDWARE: tuple[listings.Column, ...] = (
    ("hardware key", lambda one: str(one["hardware_key"])[:12]),
    ("device types now", lambda one: ", ".join(one["device_types"]) or "-"),
    ("board", _part("board_model")),
    ("class", _part("device_class")),
    ("runtime", _part("runtime")),
    ("versions", _versions),
    ("data type", _part("dtype")),
    ("batch", _part("batch")),
    ("clocks", _part("clocks_profile")),
    ("cores", _part("core_mask")),
)
_PREDICTORS: tuple[listings.Column, ...] = (
    ("id", listings.member("id")),
    ("device type", listings.member("device_type")),
    ("space", listings.member("space_id")),
    ("hardware key", lambda one: str(one["hardware_key"])[:12]),
    ("made of", lambda one: one["table_id"] or "architectures"),
    ("operators", lambda one: one["num_operators"] or "-"),
    ("networks", listings.member("num_fitted")),
    ("new since", lambda one: f"{one['num_new']} of {one['refit_after']}"),
    ("90 % held for", _coverage),
    ("trouble", lambda one: one["trouble"] or "-"),
)
