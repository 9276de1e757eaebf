"""``hilnas devices``: boards and what may be done with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from hilnas.cli.options import JsonOption, OwnerOption, ServerOption, TokenOption, connect, owner_name, print_json
from hilnas.cli.runner import new_app, run
from hilnas.cli.terminal import make_console
from nas_engine.domain.measuring.environment import DeviceClass
from server.fleet.device import ClassSource
from server.fleet.schemas import DeviceResource

app = new_app("List boards; drain, quarantine, resume, reserve them.")
MAX_QUEUE = 100
_VOUCHED_BY = {
    ClassSource.DECLARED: "nobody (declared)",
    ClassSource.ENROLLED: "its token",
    ClassSource.CONFIRMED: "an admin",
}
_console = make_console()
DeviceArgument = Annotated[str, typer.Argument(metavar="DEVICE", help="Id, dev_...")]
ReasonOption = Annotated[str, typer.Option(help="Shown with the board.")]


@app.command("list")
def list_devices(
    device_type: Annotated[str | None, typer.Option("--device-type", help="Of this type.")] = None,
    owner: OwnerOption = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """List boards, by name."""
    with connect(server, token) as nas:
        found = list(nas.devices.all(device_type=device_type, owner=owner))
    if as_json:
        print_json(found)
        return
    columns = "id", "name", "type", "class", "vouched by", "state", "online", "canary", "last seen", "owner", "reason"
    table = Table(*columns)
    for device in found:
        canary = "-" if device.last_canary_ratio is None else f"{device.last_canary_ratio:.3f}"
        online = "yes" if device.online else "no"
        seen = device.last_seen_at.isoformat(timespec="seconds")
        state = device.state.value if device.reserved_by is None else f"reserved by {device.reserved_by}"
        table.add_row(
            device.id,
            device.name,
            device.device_type,
            device.device_class.value,
            _VOUCHED_BY[device.class_source],
            state,
            online,
            canary,
            seen,
            owner_name(device.owner),
            "; ".join(filter(None, (device.reason, device.class_reason))),
        )
    _console.print(table)


@app.command()
def types(as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None) -> None:
    """List kinds of boards."""
    with connect(server, token) as nas:
        found = list(nas.devices.types())
    if as_json:
        print_json(found)
        return
    table = Table("type", "class", "devices", "online", "available")
    for kind in found:
        classes = ", ".join(kind.device_classes)
        table.add_row(kind.device_type, classes, str(kind.num_devices), str(kind.num_online), str(kind.num_available))
    _console.print(table)


@app.command()
def get(device_id: DeviceArgument, server: ServerOption = None, token: TokenOption = None) -> None:
    """Print a board as JSON."""
    with connect(server, token) as nas:
        print_json(nas.devices.get(device_id))


@app.command()
def queue(server: ServerOption = None, token: TokenOption = None) -> None:
    """List jobs that run and wait, with their places and likely ends."""
    with connect(server, token) as nas:
        found = [nas.jobs.get(job.id) for job in nas.jobs.all(states=("leased", "queued"), limit=MAX_QUEUE)]
    table = Table("job", "kind", "state", "device type", "holder", "place", "eta [s]", "devices", "attempt")
    for job in sorted(found, key=lambda job: (job.queue_position or 0, job.id)):
        table.add_row(
            job.id,
            job.kind.value,
            job.state.value,
            job.device_type or "-",
            job.lease_owner if job.queue_position is None and job.lease_owner else "-",
            "-" if job.queue_position is None else str(job.queue_position),
            "-" if job.eta_s is None else f"{job.eta_s:.0f}",
            "-" if job.num_takers is None else str(job.num_takers),
            f"{job.attempt} of {job.max_attempts}",
        )
    _console.print(table)
    for job in found:
        if job.waiting_for:
            _console.print(f"{job.id}: {job.waiting_for}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def drain(
    device_id: DeviceArgument, reason: ReasonOption = "", server: ServerOption = None, token: TokenOption = None
) -> None:
    """Let it finish what it has and give it nothing new."""
    _change(device_id, "drain", reason, server, token)


@app.command()
def resume(
    device_id: DeviceArgument, reason: ReasonOption = "", server: ServerOption = None, token: TokenOption = None
) -> None:
    """Give it jobs again."""
    _change(device_id, "resume", reason, server, token)


@app.command()
def quarantine(
    device_id: DeviceArgument, reason: ReasonOption = "", server: ServerOption = None, token: TokenOption = None
) -> None:
    """Give it nothing until it is resumed."""
    _change(device_id, "quarantine", reason, server, token)


@app.command()
def retire(
    device_id: DeviceArgument, reason: ReasonOption = "", server: ServerOption = None, token: TokenOption = None
) -> None:
    """Retire a board that will not come back; its measurements stay."""
    _change(device_id, "retire", reason, server, token)


@app.command()
def unretire(
    device_id: DeviceArgument, reason: ReasonOption = "", server: ServerOption = None, token: TokenOption = None
) -> None:
    """Take a retired board back (admins)."""
    _change(device_id, "unretire", reason, server, token)


@app.command()
def confirm(
    device_id: DeviceArgument,
    device_class: Annotated[
        DeviceClass | None, typer.Option("--class", help="What it counts as [default: as it does now].")
    ] = None,
    reason: ReasonOption = "",
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Vouch for the class of a board (admins): what a declared board measured is not reused before."""
    with connect(server, token) as nas:
        device = nas.devices.confirm(device_id, None if device_class is None else device_class.value, reason)
    typer.echo(f"{device.id}  {device.name}  {device.device_class.value}, {device.class_source.value}")


@app.command()
def reserve(
    device_id: DeviceArgument,
    reserved_by: Annotated[str, typer.Option("--for", help="Who needs it.")],
    minutes: Annotated[float, typer.Option(min=0.1, max=10_079, help="How long.")] = 60.0,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Keep jobs off it for a person who needs it."""
    with connect(server, token) as nas:
        _print(nas.devices.reserve(device_id, reserved_by, minutes * 60))


@app.command()
def release(device_id: DeviceArgument, server: ServerOption = None, token: TokenOption = None) -> None:
    """End a reservation before its time."""
    with connect(server, token) as nas:
        _print(nas.devices.release(device_id))


def main(argv: Sequence[str]) -> int:
    """Entry of ``hilnas devices``."""
    return run(app, "devices", argv)


def _change(device_id: str, verb: str, reason: str, server: str | None, token: str | None) -> None:
    with connect(server, token) as nas:
        _print(nas.devices.change(device_id, verb, reason))


def _print(device: DeviceResource) -> None:
    reserved = "" if device.reserved_until is None else f"  reserved until {device.reserved_until.isoformat()}"
    typer.echo(f"{device.id}  {device.name}  {device.state.value}{reserved}")
