"""The tree of commands, ``hilnas NOUN VERB``: a noun is loaded when it is typed. And how every command ends."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from typing import Any, TextIO

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from hilnas.cli.exit_status import ExitStatus
from hilnas.cli.missing import COMPLETION_VARIABLE, is_ours, missing
from hilnas.cli.nouns import AGENT, NOUNS, OLD_SPELLINGS
from hilnas.cli.runner import SETTINGS
from hilnas.client.errors import HilnasError, ServerUnreachableError
from nas_engine.domain.errors import EngineError, EngineWarning
from nas_engine.domain.text import near_words

_HELP = """Find the most accurate architecture at each latency, measured on your board.

The server is found by `--server`, `HILNAS_URL` or the `server.json` in `HILNAS_HOME`; the token by `--token`,
`HILNAS_TOKEN` or the `admin.token` there. `hilnas NOUN --help` lists verbs, `hilnas NOUN VERB --help` options.
"""


class _Unloaded(TyperCommand):
    """A noun, or an old spelling of a noun and verb, that was not loaded yet."""

    def __init__(self, name: str, words: tuple[str, ...], help_text: str, *, hidden: bool = False) -> None:
        super().__init__(name, help=help_text, hidden=hidden)
        self._words = words

    def load(self) -> Any:
        """Import its module; the command of it."""
        noun, *verb = self._words
        if noun == AGENT:  # reached by completion and help alone: `main` runs it without typer
            return self
        group = get_group(importlib.import_module(NOUNS[noun].module).app)
        return group.commands[verb[0]] if verb else group


class Nouns(TyperGroup):
    """All nouns; listing and completing them loads none."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "subcommand_metavar": "NOUN VERB ..."})
        for name, noun in NOUNS.items():
            self.add_command(_Unloaded(name, (name,), noun.help))
        for old, words in OLD_SPELLINGS.items():
            self.add_command(_Unloaded(old, words, f"The same as `hilnas {' '.join(words)}`.", hidden=True))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Load what was typed; ``train plan`` is the plan of a training, not the training of a file named `plan`."""
        args = ["supernets", *args[1:]] if args[:2] == ["train", "plan"] else args
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, _Unloaded) else command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run it; of the options that an unknown one may stand for, those are named that are really near."""
        try:
            return super().invoke(ctx)
        except Exception as error:  # typer keeps the class that it raises for itself
            if possible := getattr(error, "possibilities", None):
                near = near_words(str(getattr(error, "option_name", "")), possible) or possible
                meant = f"{getattr(error, 'message', '')}. Did you mean {' or '.join(near)}?"
                vars(error).update(possibilities=None, message=meant)
            raise


app = typer.Typer(
    cls=Nouns,
    help=_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings=dict(SETTINGS),
)


@app.callback()
def _hilnas() -> None:
    pass


def run(arguments: Sequence[str]) -> int:
    """Run ``hilnas ARGUMENTS`` and return the exit status, one of `ExitStatus`.

    A failure that we foresaw is one line on standard error, and so is a warning of the engine.
    """
    name = arguments[0] if arguments else ""
    command = get_command(app)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", EngineWarning)
            warnings.showwarning = _show_warning
            command.main(args=list(arguments), prog_name="hilnas", complete_var=COMPLETION_VARIABLE)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else ExitStatus.DONE if stop.code is None else ExitStatus.FAILED
    except ServerUnreachableError as error:
        sys.stderr.write(f"hilnas {name}: {error}\n")
        return ExitStatus.UNREACHABLE
    except (EngineError, HilnasError, OSError) as error:
        sys.stderr.write(f"hilnas {name}: {error}\n")
        return ExitStatus.FAILED
    except ModuleNotFoundError as error:
        if is_ours(error):
            raise
        return missing(name, error)
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    return ExitStatus.DONE


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    out = file or sys.stderr
    if issubclass(category, EngineWarning):
        out.write(f"warning: {message}\n")
    else:
        out.write(warnings.formatwarning(message, category, filename, lineno, line))
