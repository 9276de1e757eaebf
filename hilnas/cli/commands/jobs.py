"""``hilnas jobs``: the work of workers and boards."""

from __future__ import annotations

from typing import Annotated

import typer

from hilnas.cli.completions import names_of
from hilnas.cli.options import (
    JsonOption,
    LimitOption,
    OwnerOption,
    ServerOption,
    TokenOption,
    connect,
    documents,
    print_json,
)
from hilnas.cli.runner import new_app
from hilnas.cli.shown import listings
from hilnas.cli.terminal import make_console
from hilnas.client.documents import Document
from hilnas.client.errors import HilnasError
from server.jobs.states import JobKind, JobState

app = new_app("List, follow and cancel the work of workers and boards.")
JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="Id (job_...), or a part of it.", autocompletion=names_of("jobs"))
]


@app.command("list")
def list_jobs(
    state: Annotated[list[JobState] | None, typer.Option(help="Any of these.")] = None,
    kind: Annotated[list[JobKind] | None, typer.Option(help="Any of these.")] = None,
    search: Annotated[
        str | None, typer.Option(help="Of this search, by name or id.", autocompletion=names_of("searches"))
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Held by this board, by name or id.", autocompletion=names_of("devices"))
    ] = None,
    owner: OwnerOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """List jobs, newest first."""
    states, kinds = [one.value for one in state or ()], [one.value for one in kind or ()]
    params = {"state": states, "kind": kinds, "search_id": search, "device_id": device}
    with documents(server, token) as nas:
        found = list(nas.items("jobs", params={**params, "owner": owner}, limit=limit))
    listings.show(found, _COLUMNS, as_json=as_json)


@app.command()
def show(
    job_id: JobArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """Show a job: what it does, its place in the queue, what it waits for, and what it gave."""
    with documents(server, token) as nas:
        found = nas.get("jobs", job_id)
    if as_json:
        print_json(found)
        return
    listings.show_one(found, _SHOWN)


@app.command()
def get(job_id: JobArgument, _: JsonOption = True, server: ServerOption = None, token: TokenOption = None) -> None:
    """Print a job as JSON."""
    show(job_id, True, server, token)


@app.command()
def follow(
    job_id: JobArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """Show what a job waits for until it ends."""
    from hilnas.cli.models.own_models import ended

    with connect(server, token) as nas:
        done = ended(nas, nas.jobs.get(job_id), make_console(stderr=as_json))
    print_json(done) if as_json else typer.echo(done.id)


@app.command()
def cancel(
    jobs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JOB...]", help="Ids, or parts of them.", autocompletion=names_of("jobs")),
    ] = None,
    owner: Annotated[
        str | None,
        typer.Option(
            "--owner",
            help="Everything of this principal that waits, by its name or id.",
            autocompletion=names_of("principals"),
        ),
    ] = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Cancel measurements of models of one's own; the jobs of a search, a training or a table end with it.

    What serves something else is refused, and named by the refusal; with `--owner` it is left alone.
    """
    if not jobs and owner is None:
        raise HilnasError("nothing to cancel: give jobs, or --owner for everything of a principal that waits")
    with documents(server, token) as nas:
        wanted = list(jobs or ())
        if owner is not None:
            waiting = nas.items("jobs", params={"state": [JobState.QUEUED.value], "owner": owner})
            wanted += [str(job["id"]) for job in waiting if _serves_itself(job)]
        found = [nas.act("jobs", job, verb="cancel") for job in wanted]
    if as_json:
        print_json(found)
        return
    for one in found:
        asked = "  (asked for)" if one["cancel_requested"] and one["finished_at"] is None else ""
        typer.echo(f"{one['id']}  {one['state']}{asked}")
    if not found:
        typer.echo(f"nothing of {owner} waits")


def _serves_itself(job: Document) -> bool:
    return not any(job.get(name) for name in ("search_id", "candidate_id", "supernet_id", "network_id"))


_COLUMNS: tuple[listings.Column, ...] = (
    ("id", listings.member("id")),
    ("kind", listings.member("kind")),
    ("state", listings.member("state")),
    ("phase", listings.member("phase")),
    ("device type", listings.member("device_type")),
    ("holder", listings.member("lease_owner")),
    ("attempt", lambda job: f"{job['attempt']} of {job['max_attempts']}"),
    ("failure", listings.member("failure_type")),
    ("queued", listings.time("created_at")),
    ("owner", listings.owner),
)
_SHOWN: tuple[listings.Column, ...] = (
    *_COLUMNS,
    ("serves", lambda job: _served(job)),
    ("place in queue", listings.member("queue_position")),
    ("about to go [s]", lambda job: "-" if job["eta_s"] is None else f"{job['eta_s']:.0f}"),
    ("waiting for", lambda job: job.get("waiting_for") or "-"),
    ("message", lambda job: job["failure_message"] or "-"),
    ("started", listings.time("started_at")),
    ("finished", listings.time("finished_at")),
)


def _served(job: Document) -> str:
    """What the job is for; its last is the nearest."""
    names = ("search_id", "supernet_id", "network_id", "candidate_id")
    return " ".join(str(job[name]) for name in names if job.get(name)) or "itself"
