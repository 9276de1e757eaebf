"""``hilnas devices``: boards and what may be done with them."""

from __future__ import annotations

from typing import Annotated

import typer

from hilnas.cli.commands import device_sharing
from hilnas.cli.commands.device_sharing import DeviceArgument
from hilnas.cli.completions import names_of
from hilnas.cli.options import JsonOption, OwnerOption, ServerOption, TokenOption, documents, print_json
from hilnas.cli.runner import new_app
from hilnas.cli.shown import listings
from hilnas.client.documents import Document
from hilnas.client.errors import HilnasError
from nas_engine.domain.measuring.environment import DeviceClass
from nas_engine.domain.uncertainty import value_text

app = new_app("List boards; drain, resume, reserve, share them.")
MAX_QUEUE = 100
_VOUCHED_BY = {"declared": "nobody (declared)", "enrolled": "its token", "confirmed": "an admin"}
ReasonOption = Annotated[str, typer.Option(help="Shown with the board.")]


@app.command("list")
def list_devices(
    device_type: Annotated[
        str | None, typer.Option("--device-type", help="Of this type.", autocompletion=names_of("device-types"))
    ] = None,
    owner: OwnerOption = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """List boards, by name."""
    with documents(server, token) as nas:
        found = list(nas.items("devices", params={"device_type": device_type, "owner": owner}))
    empty = "" if device_type or owner else "No board has enrolled yet: 'hilnas agent' on one does."
    listings.show(found, _COLUMNS, as_json=as_json, empty=empty)


@app.command()
def types(as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None) -> None:
    """List kinds of boards."""
    with documents(server, token) as nas:
        found = list(nas.items("device-types"))
    columns = (
        ("type", listings.member("device_type")),
        ("class", listings.member("device_classes")),
        ("devices", listings.member("num_devices")),
        ("online", listings.member("num_online")),
        ("available", listings.member("num_available")),
    )
    listings.show(found, columns, as_json=as_json)


@app.command()
def show(
    device_id: DeviceArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """Show a board, and what it does now."""
    with documents(server, token) as nas:
        found = nas.get("devices", device_id)
    if as_json:
        print_json(found)
        return
    listings.show_one(found, (*_COLUMNS, *_SHOWN))


@app.command()
def get(
    device_id: DeviceArgument, _: JsonOption = True, server: ServerOption = None, token: TokenOption = None
) -> None:
    """Print a board as JSON."""
    show(device_id, True, server, token)


@app.command()
def queue(
    device: Annotated[
        str | None,
        typer.Argument(
            metavar="[DEVICE]",
            help="Of what this board holds or may take; by name or id.",
            autocompletion=names_of("devices"),
        ),
    ] = None,
    device_type: Annotated[
        str | None,
        typer.Option("--device-type", help="Of boards of this type.", autocompletion=names_of("device-types")),
    ] = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """List jobs that run and wait, with their places and likely ends."""
    with documents(server, token) as nas:
        names = {str(one["id"]): str(one["name"]) for one in nas.items("devices")}
        board = None if device is None else nas.get("devices", device)
        listed = nas.items("jobs", params={"state": ["leased", "queued"]}, limit=MAX_QUEUE)
        kind = device_type if board is None else str(board["device_type"])
        of_kind = [job for job in listed if kind is None or job["device_type"] == kind]
        ids = [str(job["id"]) for job in of_kind if board is None or job["lease_owner"] in (None, board["id"])]
        found = sorted((nas.get("jobs", id) for id in ids), key=lambda job: (job["queue_position"] or 0, job["id"]))
    if as_json:
        print_json(found)
        return
    columns = (
        ("job", listings.member("id")),
        ("kind", listings.member("kind")),
        ("state", listings.member("state")),
        ("device type", listings.member("device_type")),
        ("holder", lambda job: _holder(job, names)),
        ("place", listings.member("queue_position")),
        ("about to go [s]", lambda job: "-" if job["eta_s"] is None else f"{job['eta_s']:.0f}"),
        ("devices", listings.member("num_takers")),
        ("attempt", lambda job: f"{job['attempt']} of {job['max_attempts']}"),
        ("owner", listings.owner),
    )
    listings.show(found, columns, as_json=False, empty="Nothing runs or waits.")
    for job in found:
        if job.get("waiting_for"):
            typer.echo(f"{job['id']}: {job['waiting_for']}")


@app.command()
def canaries(
    device_id: DeviceArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """List the canary runs of a board, newest first: the same model again and again tells whether the board changed."""
    with documents(server, token) as nas:
        found = list(nas.items("devices", device_id, "canaries", limit=MAX_QUEUE))
    columns = (
        ("taken", listings.time("taken_at")),
        ("median [us]", lambda one: value_text(one["median_us"], digits=4)),
        ("against baseline [%]", lambda one: _against(one["ratio"])),
        ("passed", listings.member("passed")),
        ("reason", listings.member("reason")),
    )
    listings.show(found, columns, as_json=as_json)


@app.command()
def label(
    device_id: DeviceArgument,
    labels: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE...]", help="All that it has then; none take all away.")
    ] = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Replace the labels of a board, by which searches may select it."""
    pairs = [text.partition("=") for text in labels or ()]
    if wrong := next((f"{key}{equals}{value}" for key, equals, value in pairs if not (key and equals)), None):
        raise HilnasError(f"label {wrong!r}: write KEY=VALUE")
    with documents(server, token) as nas:
        _print(
            nas.put("devices", device_id, "labels", body={"labels": {key: value for key, _, value in pairs}}), as_json
        )


@app.command()
def drain(
    device_id: DeviceArgument,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Let it finish what it has and give it nothing new."""
    _change(device_id, "drain", reason, as_json, server, token)


@app.command()
def resume(
    device_id: DeviceArgument,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Give it jobs again."""
    _change(device_id, "resume", reason, as_json, server, token)


@app.command()
def quarantine(
    device_id: DeviceArgument,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Give it nothing until it is resumed."""
    _change(device_id, "quarantine", reason, as_json, server, token)


@app.command()
def retire(
    device_id: DeviceArgument,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Retire a board that will not come back; its measurements stay."""
    _change(device_id, "retire", reason, as_json, server, token)


@app.command()
def unretire(
    device_id: DeviceArgument,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Take a retired board back (admins)."""
    _change(device_id, "unretire", reason, as_json, server, token)


@app.command()
def confirm(
    device_id: DeviceArgument,
    device_class: Annotated[
        DeviceClass | None, typer.Option("--class", help="What it counts as [default: as it does now].")
    ] = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Vouch for the class of a board (admins): what a declared board measured is not reused before."""
    with documents(server, token) as nas:
        body = {"device_class": None if device_class is None else device_class.value, "reason": reason}
        device = nas.act("devices", device_id, verb="confirm", body=body)
    _print(device, as_json, f"{device['device_class']}, {device['class_source']}")


@app.command()
def reserve(
    device_id: DeviceArgument,
    reserved_by: Annotated[str, typer.Option("--for", help="Who needs it.")],
    minutes: Annotated[float, typer.Option(min=0.1, max=10_079, help="How long.")] = 60.0,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Keep jobs off it for a person who needs it."""
    with documents(server, token) as nas:
        body = {"reserved_by": reserved_by, "duration_s": minutes * 60}
        _print(nas.act("devices", device_id, verb="reserve", body=body), as_json)


@app.command()
def release(
    device_id: DeviceArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """End a reservation before its time."""
    with documents(server, token) as nas:
        _print(nas.act("devices", device_id, verb="release"), as_json)


app.command()(device_sharing.share)
app.command()(device_sharing.give)


def _change(device_id: str, verb: str, reason: str, as_json: bool, server: str | None, token: str | None) -> None:
    with documents(server, token) as nas:
        _print(nas.act("devices", device_id, verb=verb, body={"reason": reason}), as_json)


def _print(device: Document, as_json: bool, how: str = "") -> None:
    """Print a changed board: as JSON, or its state in a line."""
    if as_json:
        print_json(device)
        return
    until = device["reserved_until"]
    reserved = "" if until is None else f"  reserved until {listings.time_text(until)}"
    typer.echo(f"{device['id']}  {device['name']}  {how or device['state']}{reserved}")


def _against(ratio: float | None) -> str:
    """How much longer a canary took than the baseline, percent; it is one median, of which no interval is known."""
    return "-" if ratio is None else value_text(round(100.0 * (ratio - 1.0), 1), signed=True)


def _holder(job: Document, names: dict[str, str]) -> str:
    """Name of the board or worker that has it."""
    if job["queue_position"] is not None or not job["lease_owner"]:
        return "-"
    return names.get(job["lease_owner"], str(job["lease_owner"]))


_COLUMNS: tuple[listings.Column, ...] = (
    ("id", listings.member("id")),
    ("name", listings.member("name")),
    ("type", listings.member("device_type")),
    ("class", listings.member("device_class")),
    ("vouched by", lambda one: _VOUCHED_BY.get(one["class_source"], str(one["class_source"]))),
    ("state", lambda one: f"reserved by {one['reserved_by']}" if one["reserved_by"] else str(one["state"])),
    ("online", listings.member("online")),
    ("canary against baseline [%]", lambda one: _against(one["last_canary_ratio"])),
    ("last seen", listings.time("last_seen_at")),
    ("owner", listings.owner),
    ("reason", lambda one: "; ".join(filter(None, (one["reason"], one["class_reason"])))),
)
_SHOWN: tuple[listings.Column, ...] = (
    ("does", lambda one: ", ".join(f"{job['kind']} {job['id']}" for job in one["current_jobs"]) or "nothing"),
    ("busy in 24 h [%]", lambda one: f"{100 * one['utilisation_24h']:.0f}"),
    ("labels", lambda one: ", ".join(f"{key}={value}" for key, value in one["labels"].items()) or "-"),
    ("agent", listings.member("agent_version")),
    ("shared with", device_sharing.rules_text),
    ("enrolled", listings.time("enrolled_at")),
    ("reserved until", listings.time("reserved_until")),
)
