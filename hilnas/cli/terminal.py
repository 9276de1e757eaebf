"""The console that commands print to."""

from __future__ import annotations

from rich.console import Console

PIPE_WIDTH = 220  # columns where nobody redraws: a table in a log or a pipe must not be squeezed to 80


def make_console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough for every table where there is none."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=PIPE_WIDTH)
