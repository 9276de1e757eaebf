"""The reference of the command line lists every noun, verb, option, old spelling and exit status there is.

Regenerate the tables after a change with ``python -m tests.golden.test_commands_reference``.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from device_agent.cli import build_parser
from hilnas.cli.exit_status import MEANINGS, ExitStatus
from hilnas.cli.nouns import AGENT, NOUNS, OLD_SPELLINGS
from hilnas.cli.root import app

_FOLDER = Path(__file__).parents[2] / "docs" / "reference"
_EVERYWHERE = {"--server", "--token", "--help", "-h"}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _option(param: Any) -> str:
    """An argument as it is shown in usages, or the longest spelling of an option."""
    if param.param_type_name == "argument":
        shown = str(param.metavar or param.name.upper())
        return shown if param.required or shown.startswith("[") else f"[{shown}]"
    return str(max(param.opts, key=len))


def _verb(words: str, command: Any) -> str:
    shown = [_option(param) for param in command.params]
    arguments = [one for one in shown if not one.startswith("-")]
    options = [f"`{one}`" for one in shown if one.startswith("-") and one not in _EVERYWHERE]
    what = (command.help or "").partition("\n\n")[0]
    return f"| `{' '.join((words, *arguments))}` | {_cell(what)} | {' '.join(options)} |"


def _agent() -> list[str]:
    parser = build_parser()
    (command,) = (action for action in parser._actions if action.dest == "command")
    options = [
        f"`{max(action.option_strings, key=len)}`"
        for action in parser._actions
        if action.option_strings and action.dest != "help" and action.help != argparse.SUPPRESS
    ]
    what = {
        "run": "Dial in, measure, report. `run` may be left out.",
        "doctor": "Say what this board can do, with remedies.",
        "selftest": "Say whether it measures.",
    }
    assert set(command.choices or ()) == set(what)
    shown = {verb: " ".join(options) if verb == "run" else "those of `run`" for verb in what}
    return [f"| `hilnas agent {verb}` | {said} | {shown[verb]} |" for verb, said in what.items()]


def _verbs() -> str:
    root = get_command(app)
    lines: list[str] = []
    for name, noun in NOUNS.items():
        extra = "nothing" if name == "version" else f"`pip install 'hilnas[{noun.extra}]'`"
        lines += [f"## hilnas {name}", "", f"{noun.help} Needs {extra}.", ""]
        if name == "version":
            continue
        lines += ["| command | what it does | options |", "|---|---|---|"]
        if name == AGENT:
            lines += [*_agent(), ""]
            continue
        group = root.commands[name].load()  # type: ignore[attr-defined]
        assert isinstance(group, TyperGroup)
        lines += [_verb(f"hilnas {name} {verb}", command) for verb, command in group.commands.items()]
        lines.append("")
    return "\n".join(lines)


def _nouns() -> str:
    rows = [
        f"| `hilnas {name}` | {'none' if name == 'version' else f'`{noun.extra}`'} | {_cell(noun.help)} |"
        for name, noun in NOUNS.items()
    ]
    return "\n".join(("| noun | extra | what it is about |", "|---|---|---|", *rows, ""))


def _statuses() -> str:
    rows = [f"| {status.value} | {_cell(MEANINGS[status])} |" for status in ExitStatus]
    return "\n".join(("| status | meaning |", "|---|---|", *rows, ""))


def _old() -> str:
    rows = [f"| `hilnas {old}` | `hilnas {' '.join(words)}` |" for old, words in OLD_SPELLINGS.items()]
    return "\n".join(("| old spelling | the same as |", "|---|---|", *rows, ""))


_TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "cli.md": {"nouns": _nouns, "exit statuses": _statuses, "old spellings": _old},
    "commands.md": {"verbs": _verbs},
}


def _page(name: str) -> str:
    text = (_FOLDER / name).read_text(encoding="utf-8")
    for part, table in _TABLES[name].items():
        begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
        before, found, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        assert found, f"{name} has no place for its {part}"
        text = f"{before}{begin}\n\n{table()}\n{end}{after}"
    return text


@pytest.mark.parametrize("name", _TABLES)
def test_the_reference_lists_every_command_there_is(name: str) -> None:
    assert (_FOLDER / name).read_text(encoding="utf-8") == _page(name), (
        "the commands have changed: run `python -m tests.golden.test_commands_reference`"
    )


def test_every_verb_says_what_it_does_and_takes_json_where_it_shows_something() -> None:
    root = get_command(app)
    # They write files or streams, run on, or make something that has no JSON of its own.
    silent = {"export", "download", "events", "bundle", "run", "follow", "convert", "revoke"}
    lacking, mute = [], []
    for name in NOUNS:
        if name in (AGENT, "version"):
            continue
        for verb, command in root.commands[name].load().commands.items():  # type: ignore[attr-defined]
            spellings = {spelling for param in command.params for spelling in param.opts}
            if verb not in silent and (name, verb) != ("certs", "create") and "--json" not in spellings:
                lacking.append(f"{name} {verb}")
            if not command.help or not re.match(r"[A-Z]", command.help):
                mute.append(f"{name} {verb}")
    assert (lacking, mute) == ([], [])


if __name__ == "__main__":
    for page in _TABLES:
        (_FOLDER / page).write_text(_page(page), encoding="utf-8")
        sys.stdout.write(f"wrote {_FOLDER / page}\n")
