"""``hilnas search what-if``: a finished search's front on a board that it was not measured on."""

from __future__ import annotations

from typing import Annotated

import typer

from hilnas.cli.completions import names_of
from hilnas.cli.options import JsonOption, ServerOption, TokenOption, connect, print_json
from hilnas.cli.terminal import make_console
from hilnas.cli.verbs import About
from hilnas.client.errors import HilnasError

_ABOUT = About("searches", "search", "srch")
SearchArgument = Annotated[
    str, typer.Argument(metavar=_ABOUT.metavar, help=_ABOUT.help, autocompletion=_ABOUT.complete)
]
_console = make_console()


def what_if(
    search_id: SearchArgument,
    device_type: Annotated[
        str | None,
        typer.Option(help="Board to carry the front over to; absent: show.", autocompletion=names_of("device-types")),
    ] = None,
    runtime: Annotated[str | None, typer.Option(help="Inference engine on the board.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Arithmetic on the board: fp32 or fp16.")] = None,
    measurements: Annotated[int, typer.Option(min=10, max=20, help="Candidates that are measured there.")] = 16,
    what_if_id: Annotated[str | None, typer.Option("--id", help="Which one to show [default: the newest].")] = None,
    measure_next: Annotated[bool, typer.Option("--measure-next", help="Have those measured that settle it.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Stop it.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait until it ends.")] = False,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Estimate the front on a board that the search did not measure on, from 10 to 20 measurements there."""
    from hilnas.cli.shown.what_ifs import what_if_view

    given = {"device_type": device_type, "runtime": runtime, "dtype": dtype}
    device = {name: value for name, value in given.items() if value is not None}
    if device and device_type is None:
        raise typer.BadParameter("--runtime and --dtype narrow a board: name it", param_hint="--device-type")
    with connect(server, token) as nas:
        if device:
            found = nas.searches.what_if(search_id, device, num_measurements=measurements)
        else:
            newest = what_if_id or next((one.id for one in nas.searches.what_ifs(search_id, limit=1)), None)
            if newest is None:
                raise HilnasError(f"nothing of {search_id} was carried over to another board: name a --device-type")
            found = nas.searches.get_what_if(search_id, newest)
        if measure_next:
            found = found.measure_more()
        if cancel:
            found = found.cancel()
        if follow:
            found = found.wait(check=False)
    print_json(found) if as_json else _console.print(what_if_view(found))
