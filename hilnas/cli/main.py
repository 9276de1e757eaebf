"""The ``hilnas`` command. Only the standard library is imported here: `root` loads typer, and each noun its own needs.

A board has the ``agent`` extra alone, a laptop the ``client`` extra: what is not installed is named together
with the command that installs it.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import cast

from hilnas.cli.exit_status import ExitStatus
from hilnas.cli.missing import COMPLETION_VARIABLE, is_ours, missing
from hilnas.cli.nouns import AGENT, NOUNS

_WITHOUT_TYPER = "version"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    try:
        return _run(argv)
    except KeyboardInterrupt:  # while it was still being loaded, or at the end of it
        return ExitStatus.INTERRUPTED


def _run(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments and COMPLETION_VARIABLE not in os.environ else ""
    if name == "--version":
        name = _WITHOUT_TYPER
    elif name == "help":  # as of the first release
        name, arguments = "--help", ["--help"]
    try:
        if name in {AGENT, _WITHOUT_TYPER}:
            module = importlib.import_module(NOUNS[name].module)
            return cast("Callable[[Sequence[str]], int]", module.main)(arguments[1:])
        from hilnas.cli.root import run
    except ModuleNotFoundError as error:
        if is_ours(error):
            raise
        if name in {"", "-h", "--help"}:
            sys.stdout.write(_usage())
            return ExitStatus.DONE if name else ExitStatus.USAGE
        return missing(name, error)
    return run(arguments)


def _usage() -> str:
    """What there is, where typer is not installed."""
    width = max(map(len, NOUNS)) + 2
    listed = "\n".join(f"  {name:<{width}}{noun.help}" for name, noun in NOUNS.items())
    needed = "All but 'agent' and 'version' need: pip install 'hilnas[client]'"
    return f"Usage: hilnas NOUN VERB ...\n\n{listed}\n\n{needed}\n"


if __name__ == "__main__":
    sys.exit(main())
