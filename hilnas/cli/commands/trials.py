"""``hilnas trials``: evaluate candidates of a search outside, from a shell."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Annotated

import typer

from hilnas.cli.completions import names_of
from hilnas.cli.options import JsonOption, LimitOption, ServerOption, TokenOption, connect, documents, print_json
from hilnas.cli.runner import new_app
from hilnas.cli.shown import listings
from hilnas.client.documents import Document
from hilnas.client.errors import HilnasError
from server.jobs.states import JobState
from server.searches.trials.schemas import DEFAULT_LEASE_S
from server.searches.trials.trial import Fault

app = new_app("Evaluate candidates of a search outside: ask for trials, tell what came of them.")
SearchArgument = Annotated[
    str, typer.Argument(metavar="SEARCH", help="Id, name, or a part of the id.", autocompletion=names_of("searches"))
]
EvaluatorOption = Annotated[
    str | None, typer.Option("--evaluator", help="Name of the evaluator; absent: that of this machine.")
]


@app.command("list")
def list_trials(
    search: SearchArgument,
    state: Annotated[list[JobState] | None, typer.Option(help="Any of these.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """List the trials of a search, newest first: who holds which, and what was told."""
    params = {"state": [one.value for one in state or ()]}
    with documents(server, token) as nas:
        found = list(nas.items("searches", search, "trials", params=params, limit=limit))
    listings.show(found, _COLUMNS, as_json=as_json)


@app.command()
def ask(
    search: SearchArgument,
    num_trials: Annotated[int, typer.Option("-n", "--num-trials", min=0, max=100, help="How many to hold.")] = 1,
    evaluator: EvaluatorOption = None,
    lease_s: Annotated[float, typer.Option(help="Seconds after which what was not told goes to another.")] = (
        DEFAULT_LEASE_S
    ),
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Take trials; whoever comes back under its name is given what it holds. With --json also graph and model."""
    with connect(server, token) as nas:
        held = nas.trials.ask(search, num_trials, evaluator=_name(evaluator), lease_s=lease_s, wait=False)
    if as_json:
        print_json(held)
        return
    listings.show([one.model_dump(mode="json") for one in held], _COLUMNS, as_json=False)


@app.command()
def tell(
    search: SearchArgument,
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="Id of a trial that the evaluator holds.")],
    metrics: Annotated[
        list[str] | None,
        typer.Argument(metavar="[METRIC=VALUE[,STANDARD_ERROR]...]", help="Every metric that it wants."),
    ] = None,
    failed: Annotated[str | None, typer.Option(help="Why it could not be evaluated.")] = None,
    fault: Annotated[Fault, typer.Option(help="Whose fault that is.")] = Fault.EVALUATOR,
    give_back: Annotated[bool, typer.Option("--give-back", help="Return it unevaluated.")] = False,
    evaluator: EvaluatorOption = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """End a trial: with its metrics, with --failed, or with --give-back."""
    if sum((bool(metrics), failed is not None, give_back)) != 1:
        raise HilnasError("a trial ends in one way: give its metrics, --failed or --give-back")
    values = dict(_value(text) for text in metrics or ())
    with connect(server, token) as nas:
        held = nas.trials.ask(search, 0, evaluator=_name(evaluator), wait=False)
        mine = next((one for one in held if one.id == trial or one.id.endswith(trial)), None)
        if mine is None:
            holds = ", ".join(one.id for one in held) or "none"
            raise HilnasError(f"{_name(evaluator)} does not hold trial {trial}: it holds {holds} of this search")
        if failed is not None:
            ended = mine.fail(failed, fault=fault)
        else:
            ended = mine.give_back() if give_back else mine.tell(**values)
    print_json(ended) if as_json else typer.echo(f"{ended.id}  {ended.state.value}")


def _name(evaluator: str | None) -> str:
    return socket.gethostname()[:40] if evaluator is None else evaluator


def _value(text: str) -> tuple[str, float | tuple[float, float]]:
    """Read ``energy_mj=1.2`` or ``energy_mj=1.2,0.1``."""
    name, _, said = text.partition("=")
    try:
        numbers = tuple(map(float, said.split(",")))
    except ValueError:
        numbers = ()
    match numbers:
        case (value,):
            return name, value
        case (value, error):
            return name, (value, error)
        case _:
            raise HilnasError(f"{text!r} is no metric: write NAME=VALUE or NAME=VALUE,STANDARD_ERROR")


def _told(trial: Document) -> str:
    """What was told of a trial, metric by metric."""
    values = trial.get("values")
    if not isinstance(values, Mapping):
        return "-"
    units = {one["name"]: one["unit"] for one in trial["metrics"]}
    return ", ".join(f"{name} {one['value']:g} {units.get(name, '')}".rstrip() for name, one in values.items())


_COLUMNS: tuple[listings.Column, ...] = (
    ("trial", listings.member("id")),
    ("candidate", listings.member("candidate")),
    ("state", listings.member("state")),
    ("evaluator", listings.member("evaluator")),
    ("attempt", lambda trial: f"{trial['attempt']} of {trial['max_attempts']}"),
    ("wants", lambda trial: ", ".join(f"{one['name']} [{one['unit']}]" for one in trial["metrics"])),
    ("told", _told),
    ("failure", lambda trial: trial["failure_message"] or "-"),
)
