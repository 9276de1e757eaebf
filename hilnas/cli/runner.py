"""How every typer-based subcommand is run: exit statuses and error lines are the same for all."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

import typer

from hilnas.client.errors import HilnasError
from nas_engine.domain.errors import EngineError, EngineWarning

EXIT_FAILED = 1


def new_app(help_text: str) -> typer.Typer:
    """An empty group of commands with this project's settings."""
    return typer.Typer(
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",  # the other mode takes [brackets] in help texts for markup and swallows them
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run(app: typer.Typer, name: str, argv: Sequence[str]) -> int:
    """Run `app` as ``hilnas NAME ARGV`` and return the exit status.

    Wrong usage is 2 (typer's own); a failure that we foresaw is one line on stderr and 1; an interrupt is 130.
    A warning of the engine is one line on stderr.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", EngineWarning)
            warnings.showwarning = _show_warning
            app(args=list(argv), prog_name=f"hilnas {name}")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else EXIT_FAILED
    except (EngineError, HilnasError, OSError) as error:
        sys.stderr.write(f"hilnas {name}: {error}\n")
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 130
    return 0


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
