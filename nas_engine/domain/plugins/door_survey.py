"""Look at what others declare in a process of its own, within a time: whatever an import does, it does not do it here.

The process that asks learns of each entry point what an examiner says of it, or why it cannot be used: it does not
import, ends its process, dies of a signal, or does not answer in time. A package that is named here may be imported.
Without installed entry points no process is started.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, cast

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.plugins.doors import (
    Brought,
    D,
    Declaration,
    Door,
    DoorEntry,
    DoorProblem,
    PluginError,
    Provider,
    described,
    entries,
    read_entry,
    usable_entries,
)

ANSWER_TIMEOUT_S = 30.0
"""Longest time one entry point may take to import and to be examined."""

IMPORT_TIMEOUT_S = 120.0
"""Longest time an implementation may take to import; torch alone takes seconds."""

START_TIMEOUT_S = 120.0
"""Longest time the process may take before it looks at the first one; generous, for hosts under load."""

HEAVY_MODULES = ("torch",)
"""What a declaration must not import: every process that reads it would hold it."""


@dataclass(frozen=True, slots=True)
class Described:
    """What the examiner said of one entry point."""

    name: str
    provider: Provider
    description: JsonValue


@dataclass(frozen=True, slots=True)
class Survey:
    """What a door's entry points are: those that can be used, by name, and the problems of the others."""

    door: Door
    found: Mapping[str, Described]
    problems: tuple[DoorProblem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """How the entry points of a door are looked at.

    Attributes:
        kind: type that each declaration must have.
        examiner: `package.module:function` of a declaration and `argument`, run in the other process; what it returns
            is the description, what it raises is a problem.
        argument: handed to the examiner.
        only: name of the one entry point to look at; None for all.
        shipped: names of what ships with hilnas.
    """

    door: Door
    kind: type[Declaration]
    examiner: str
    argument: JsonValue = None
    only: str | None = None
    shipped: tuple[str, ...] = ()


def survey(inspections: Sequence[Inspection], *, timeout_s: float = ANSWER_TIMEOUT_S) -> dict[Door, Survey]:
    """Examine the installed entry points of some doors, one after the other, in one process; each is given a time."""
    main = sys.modules["__main__"].__spec__
    if main is not None and main.name == __name__:  # this process is the one that looks at packages
        # A package that asks what is installed while it is looked at would have itself looked at without end.
        return {inspection.door: Survey(inspection.door, {}, _unexamined(inspection)) for inspection in inspections}
    faults: dict[Door, list[DoorProblem]] = {}
    found: dict[Door, dict[str, Described]] = {}
    waiting: list[tuple[DoorEntry, Inspection]] = []
    for inspection in inspections:
        usable, problems = usable_entries(inspection.door, inspection.shipped)
        faults[inspection.door], found[inspection.door] = list(problems), {}
        waiting += [(entry, inspection) for entry in usable if inspection.only in (None, entry.name)]
    while waiting:
        # The process ends with the first one that hangs or ends it: the rest are looked at by another.
        for entry, answer in _answers(waiting, timeout_s):
            waiting = waiting[1:]
            if isinstance(answer, DoorProblem):
                faults[entry.door].append(answer)
            else:
                found[entry.door][entry.name] = Described(entry.name, entry.provider, answer["description"])
    return {door: Survey(door, found[door], tuple(faults[door])) for door in found}


def _unexamined(inspection: Inspection) -> tuple[DoorProblem, ...]:
    usable, problems = usable_entries(inspection.door, inspection.shipped)
    message = "packages are being looked at: a declaration must not ask for what others bring"
    return (*problems, *(entry.problem(message) for entry in usable))


def _answers(
    waiting: Sequence[tuple[DoorEntry, Inspection]], timeout_s: float
) -> Iterator[tuple[DoorEntry, Mapping[str, JsonValue] | DoorProblem]]:
    """Ask one process about each in turn; it gives at least one answer, or a problem."""
    reader, writer = os.pipe()
    order: list[JsonValue] = [
        {
            "door": entry.door.value,
            "entry": [entry.name, entry.provider.package, entry.provider.version],
            "kind": f"{inspection.kind.__module__}:{inspection.kind.__qualname__}",
            "examiner": inspection.examiner,
            "argument": inspection.argument,
        }
        for entry, inspection in waiting
    ]
    # What packages print is kept apart from the answers; the last line of it tells why a process died.
    with tempfile.TemporaryFile() as said, os.fdopen(reader, "rb", buffering=0) as answers:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(writer), json.dumps(order)],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            pass_fds=(writer,),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            start_new_session=True,
        )
        os.close(writer)
        try:
            lines = _lines(answers, process, timeout_s)
            next(lines, None)  # it is ready
            for entry, _ in waiting:
                answer = next(lines, None)
                if answer is None:
                    yield entry, entry.problem(_end(process, said, timeout_s))
                    return
                problem = answer.get("problem")
                yield entry, answer if problem is None else entry.problem(str(problem))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _lines(answers: Any, process: subprocess.Popen[bytes], timeout_s: float) -> Iterator[Mapping[str, JsonValue]]:
    """Read its answers; ends where it has ended, or did not write the next one in time."""
    held, deadline_s = b"", time.monotonic() + START_TIMEOUT_S
    while True:
        line, newline, rest = held.partition(b"\n")
        if newline:
            held, deadline_s = rest, time.monotonic() + timeout_s
            yield cast("Mapping[str, JsonValue]", json.loads(line))
            continue
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            return
        # A process that it left behind may hold the pipe open: its own end is looked for too.
        if select.select([answers], [], [], min(left_s, 0.2))[0]:
            part = answers.read(65536)
            if not part:
                return
            held += part
        elif process.poll() is not None:
            return


def _end(process: subprocess.Popen[bytes], said: Any, timeout_s: float) -> str:
    """Say how a process ended that gave no answer."""
    try:
        status = process.wait(0.5)
    except subprocess.TimeoutExpired:
        return f"it did not import and answer within {timeout_s:g} s"
    said.seek(0)
    last = said.read()[-2000:].decode(errors="replace").strip().splitlines()[-1:]
    how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    return f"importing it ended the process with {how}" + (f": {last[0][:200]}" if last else "")


def called_in_process(
    door: Door,
    kind: type[Declaration],
    function: str,
    name: str,
    argument: JsonValue,
    *,
    shipped: Sequence[str] = (),
    timeout_s: float = ANSWER_TIMEOUT_S,
) -> JsonValue:
    """Ask one function about one installed declaration in a process of its own; return its answer. See `survey`.

    Raises:
        PluginError: there is none of that name, or it cannot be used, with the reason.
    """
    inspection = Inspection(
        door=door, kind=kind, examiner=function, argument=argument, only=name, shipped=tuple(shipped)
    )
    answer = survey([inspection], timeout_s=timeout_s)[door]
    if name in answer.found:
        return answer.found[name].description
    for problem in answer.problems:
        if problem.name == name:
            raise PluginError(str(problem))
    raise PluginError(f"no installed package brings {name!r} ({door.value})")


@cache
def resolved(door: Door, kind: type[D], found: Brought[D], timeout_s: float = IMPORT_TIMEOUT_S) -> Any:
    """Import what a package brings, once a process of its own has imported it unharmed.

    Raises:
        PluginError: it cannot be imported, or does not import in time.
    """
    called_in_process(
        door, kind, f"{__name__}:import_implementation", found.declaration.name, None, timeout_s=timeout_s
    )
    return found.declaration.resolve()


def import_implementation(declaration: Declaration, argument: JsonValue) -> JsonValue:
    """Import what a package brings; called in the process that looks at packages."""
    del argument
    declaration.resolve()
    return None


def main(writer: int, text: str) -> int:
    """Examine what the order names, and write a line about each. What packages do afterwards has no influence."""
    order = json.loads(text)
    tools = {place: _attribute(place) for asked in order for place in (asked["kind"], asked["examiner"])}
    installed = {
        (door.value, entry.name, entry.provider.package, entry.provider.version): entry
        for door in {Door(asked["door"]) for asked in order}
        for entry in entries(door)
    }
    with os.fdopen(writer, "w", encoding="utf-8") as answers:
        answers.write("{}\n")
        answers.flush()
        for asked in order:
            entry = installed[(asked["door"], *asked["entry"])]
            answer = _examined(entry, tools[asked["kind"]], tools[asked["examiner"]], asked["argument"])
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    os._exit(0)  # threads and exit handlers of packages are not waited for


def _examined(entry: DoorEntry, kind: type[Declaration], examiner: Any, argument: JsonValue) -> dict[str, JsonValue]:
    before = set(sys.modules)
    found = read_entry(entry, kind)
    if isinstance(found, DoorProblem):
        return {"problem": found.message}
    heavy = [module for module in HEAVY_MODULES if module in sys.modules and module not in before]
    if heavy:
        return {"problem": f"its declaration imports {', '.join(heavy)}: import that where the implementation is"}
    try:
        description = examiner(found, argument)
        json.dumps(description, allow_nan=False)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return {"problem": str(error) if isinstance(error, PluginError) else described(error)}
    return {"description": description}


def _attribute(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


if __name__ == "__main__":
    # Imported under its own name, so that values made here and values made by packages have the same classes.
    from nas_engine.domain.plugins import door_survey

    raise SystemExit(door_survey.main(int(sys.argv[1]), sys.argv[2]))
