"""Processes in which packages live that are asked again and again, for whoever must not end with them.

Servers ask search spaces and metrics from the layer graph that others bring here: whatever such a package does in a
call, ending its process and faults of native code among it, ends a process of its own, which the next call starts anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

from nas_engine.domain.errors import EngineError, collected_warnings, warn
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.plugins.doors import (
    Brought,
    Declaration,
    Door,
    DoorProblem,
    PluginError,
    described,
    entries,
    read_entry,
)

START_TIMEOUT_S = 120.0
"""Longest time until such a process answers at all; generous, for hosts under load."""

REST_S = 60.0
"""For so long a question that was not answered in time is not asked again: each such call holds whoever asks."""

MEMORY_BYTES = 4 << 30
"""Address space that a package may take beyond what its process begins with."""

_apart = threading.Event()


def keep_apart() -> None:
    """Have this process ask what packages bring elsewhere from now on."""
    _apart.set()


def is_kept_apart() -> bool:
    """Whether this process must not run what packages bring."""
    return _apart.is_set()


class _Late(Exception):
    """A question was not answered in time."""


@dataclass(eq=False)
class ApartProcess:
    """The process that one declaration of a package lives in; one call at a time, started where there is none."""

    door: Door
    kind: type[Declaration]
    brought: Brought[Any]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _process: subprocess.Popen[bytes] | None = None
    _channel: socket.socket | None = None
    _unanswered: dict[str, float] = field(default_factory=dict)  # questions, and until when they are not asked

    def ask(self, what: str, function: str, argument: JsonValue, limit_s: float) -> JsonValue:
        """Call `function(declaration, argument)` there; `what` names the call in errors.

        Args:
            function: `package.module:function`.
            limit_s: longest time for the answer, and for calls before it to end.

        Raises:
            EngineError: as the function raised it.
            PluginError: it raised anything else, ended its process, or did not answer in time, now or lately.
        """
        order: dict[str, JsonValue] = {"function": function, "argument": argument, "limit_s": limit_s}
        question = hashlib.sha256(json.dumps(order, sort_keys=True).encode()).hexdigest()
        if (rest_s := self._unanswered.get(question, 0.0) - time.monotonic()) > 0:
            late = f"did not return within {limit_s:g} s"
            raise PluginError(f"{what} {late}, and is not asked the same for {math.ceil(rest_s)} s")
        if not self._lock.acquire(timeout=limit_s):
            raise PluginError(f"{what} waited {limit_s:g} s for calls before it: try again")
        try:
            answer = self._answer(what, order, limit_s)
        except _Late as late:
            now_s = time.monotonic()
            self._unanswered = {one: until_s for one, until_s in self._unanswered.items() if until_s > now_s}
            self._unanswered[question] = now_s + REST_S
            raise PluginError(str(late)) from late
        finally:
            self._lock.release()
        warnings = answer.get("warnings")
        for message in warnings if isinstance(warnings, list) else ():
            warn(str(message))
        if "error" in answer:
            raise _engine_error(str(answer["error"]), str(answer["message"]))
        if "problem" in answer:
            raise PluginError(f"{what} raised {answer['problem']}")
        return answer["value"]

    def end(self) -> None:
        """End the process; the next call starts another."""
        with self._lock:
            self._kill()

    def _answer(self, what: str, order: dict[str, JsonValue], limit_s: float) -> dict[str, JsonValue]:
        """Send one order; a process that did not answer it is ended."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        process, channel = self._process, self._channel
        assert process is not None
        assert channel is not None
        with contextlib.suppress(OSError):  # it has ended: said below
            channel.sendall(json.dumps(order).encode() + b"\n")
        line = _line(channel, limit_s)
        if line is not None:
            return dict(json.loads(line))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        status = process.poll()
        self._kill()
        if status is None:
            raise _Late(f"{what} did not return within {limit_s:g} s")
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        raise PluginError(f"{what} ended its process with {how}")

    def _start(self) -> None:
        self._kill()
        ours, theirs = socket.socketpair()
        who = self.brought.provider
        order = {
            "door": self.door.value,
            "entry": [self.brought.declaration.name, who.package, who.version],
            "kind": f"{self.kind.__module__}:{self.kind.__qualname__}",
        }
        with theirs:
            self._channel = ours
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno()), json.dumps(order)],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what packages print belongs into the log
                pass_fds=(theirs.fileno(),),
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                    "OPENBLAS_NUM_THREADS": "1",  # each thread reserves memory, which is bounded
                },
                start_new_session=True,
            )
        if _line(ours, START_TIMEOUT_S) is None:
            self._kill()
            raise PluginError(f"the process that is to hold it did not start within {START_TIMEOUT_S:g} s, or ended")

    def _kill(self) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = self._channel = None


@cache
def process_of(door: Door, kind: type[Declaration], brought: Brought[Any]) -> ApartProcess:
    """Find the process of a declaration; it starts with the first call."""
    return ApartProcess(door, kind, brought)


def _line(channel: socket.socket, limit_s: float) -> bytes | None:
    """Read one line; None where the other end closed, or did not write it in time."""
    held, deadline_s = bytearray(), time.monotonic() + limit_s
    while not held.endswith(b"\n"):
        left_s = deadline_s - time.monotonic()
        if left_s <= 0 or not select.select([channel], [], [], left_s)[0]:
            return None
        try:
            part = channel.recv(1 << 20)
        except OSError:
            return None
        if not part:
            return None
        held += part
    return bytes(held)


def _engine_error(name: str, message: str) -> EngineError:
    """Make the error of the engine that was raised there; of one that says more than its message, a plain one."""
    module, _, attribute = name.partition(":")
    kind = getattr(import_module(module), attribute)
    try:
        return kind(message) if issubclass(kind, EngineError) else PluginError(message)
    except TypeError:
        return PluginError(message)


def main(descriptor: int, text: str) -> int:
    """Answer orders about one declaration until whoever gives them is gone."""
    order = json.loads(text)
    kind = _attribute(order["kind"])
    (entry,) = (
        one
        for one in entries(Door(order["door"]))
        if [one.name, one.provider.package, one.provider.version] == order["entry"]
    )
    _bound_memory()
    declaration = read_entry(entry, kind)
    with socket.socket(fileno=descriptor) as channel, channel.makefile("rb") as orders:
        channel.sendall(b"{}\n")
        for line in orders:
            asked = json.loads(line)
            # The kernel ends this process then, whatever holds the interpreter, and whoever asked.
            signal.alarm(math.ceil(asked["limit_s"]) + 5)
            answer = _answered(declaration, asked)
            signal.alarm(0)
            channel.sendall(answer + b"\n")
    os._exit(0)  # threads and exit handlers of packages are not waited for


def _answered(declaration: Declaration | DoorProblem, asked: dict[str, Any]) -> bytes:
    if isinstance(declaration, DoorProblem):
        return json.dumps({"error": f"{PluginError.__module__}:PluginError", "message": declaration.message}).encode()
    try:
        with collected_warnings() as warnings:
            value = _attribute(asked["function"])(declaration, asked["argument"])
        return json.dumps({"value": value, "warnings": warnings}).encode()
    except EngineError as error:
        kind = next(kind for kind in type(error).__mro__ if kind.__module__.startswith("nas_engine."))
        said = {"error": f"{kind.__module__}:{kind.__qualname__}", "message": str(error)}
        return json.dumps(said).encode()
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: they are what the call did
        return json.dumps({"problem": described(error)}).encode()


def _bound_memory() -> None:
    """Have memory beyond the bound refused, so that the package fails and not its host."""
    with open("/proc/self/statm", encoding="ascii") as numbers:
        used = int(numbers.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = used + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _attribute(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


if __name__ == "__main__":
    # Imported under its own name, so that values made here and values made by packages have the same classes.
    from nas_engine.domain.plugins import apart

    raise SystemExit(apart.main(int(sys.argv[1]), sys.argv[2]))
