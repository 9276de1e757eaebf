"""The ``hilnas`` command. Only the standard library is imported here; each subcommand loads its own needs.

A board has the ``agent`` extra alone, a laptop the ``client`` extra: what is not installed is named together
with the command that installs it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast


@dataclass(frozen=True, slots=True)
class _Command:
    """One subcommand.

    Attributes:
        module: has ``main(argv) -> int | None``.
        extra: the extra of this package that brings what the module needs.
        help: one line.
    """

    module: str
    extra: str
    help: str


COMMANDS = {
    "server": _Command("hilnas.cli.commands.server", "server", "run the API and the agents' endpoint"),
    "worker": _Command("server.bootstrap.worker", "server,engine", "run the process that searches and trains"),
    "agent": _Command("device_agent.cli", "agent", "run on a board: dial in, measure, report"),
    "demo": _Command("server.bootstrap.demo.main", "demo", "run the whole product on this machine"),
    "search": _Command("hilnas.cli.commands.search", "client", "create, follow and read searches"),
    "train": _Command("hilnas.cli.commands.train", "client", "train a supernet, or one network"),
    "retrain": _Command("hilnas.cli.commands.retrain", "client", "train a candidate stand-alone; fetch the files"),
    "candidates": _Command(
        "hilnas.cli.commands.candidates", "client", "fetch a candidate's model or its evidence; explain its latency"
    ),
    "verify": _Command("hilnas.cli.commands.verify", "client", "check an evidence bundle; measure it again"),
    "ranking": _Command(
        "hilnas.cli.commands.ranking", "client", "compare a supernet's order with stand-alone training"
    ),
    "spaces": _Command("hilnas.cli.commands.spaces", "client,engine", "list, show, decode and sample search spaces"),
    "plugins": _Command("hilnas.cli.commands.plugins", "client", "list what packages bring, and algorithms' settings"),
    "devices": _Command("hilnas.cli.commands.devices", "client", "list boards; drain, quarantine, resume them"),
    "workers": _Command("hilnas.cli.commands.workers", "client", "list workers: whether they live, what they do"),
    "measurements": _Command("hilnas.cli.commands.measurements", "client", "query measured latencies"),
    "tables": _Command("hilnas.cli.commands.tables", "client", "measure a space's operators; report how they add up"),
    "measure": _Command("hilnas.cli.commands.measure", "client", "measure a model of one's own on a board"),
    "convert": _Command("hilnas.cli.commands.convert", "client,engine", "convert one ONNX file for RKNN boards"),
    "artifacts": _Command("hilnas.cli.commands.artifacts", "client", "check the stored files against their digests"),
    "images": _Command("hilnas.cli.commands.images", "client,engine", "pack labelled images that boards classify"),
    "datasets": _Command("hilnas.cli.commands.datasets", "client,engine", "check a data set on this machine"),
    "certs": _Command("hilnas.cli.commands.certs", "server", "make certificates for the agents' endpoint"),
    "tokens": _Command("hilnas.cli.commands.tokens", "client", "make, list and revoke access tokens"),
    "version": _Command("hilnas.cli.commands.version", "client", "print the version"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        sys.stdout.write(_usage())
        return 0 if arguments else 2
    name, rest = arguments[0], arguments[1:]
    if name == "--version":
        name = "version"
    command = COMMANDS.get(name)
    if command is None:
        sys.stderr.write(f"hilnas: there is no command {name!r}\n\n{_usage()}")
        return 2
    return _run(name, command, rest)


def _run(name: str, command: _Command, arguments: list[str]) -> int:
    try:
        module = importlib.import_module(command.module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"server", "nas_engine", "device_agent", "hilnas"}:
            raise
        sys.stderr.write(
            f"hilnas {name}: the package {error.name!r} is not installed here.\n"
            f"Install what this command needs:  pip install 'hilnas[{command.extra}]'\n"
        )
        return 3
    entry = cast("Callable[[Sequence[str]], int | None]", module.main)
    return entry(arguments) or 0


def _usage() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = (f"  {name:<{width}}{command.help}" for name, command in COMMANDS.items())
    return (
        "usage: hilnas COMMAND ...\n\n"
        + "\n".join(lines)
        + "\n\n'hilnas COMMAND --help' tells more. The server is found at HILNAS_URL (http://127.0.0.1:8080), the\n"
        "token in HILNAS_TOKEN.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
