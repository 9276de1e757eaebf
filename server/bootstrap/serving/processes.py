"""``hilnas server run --workers N``: processes of one server that share the addresses of REST and of agents.

Each of them is a whole API process over the same PostgreSQL database, as a server on another host would be; the system
spreads connections over them (SO_REUSEPORT). One that dies is started again, and what it held comes back by its lease.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections import deque
from contextlib import ExitStack
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType

import structlog

from server.bootstrap.logs import configure_logging
from server.bootstrap.serving.process import listen, serve_here, status_of, write_server_file
from server.bootstrap.settings import Settings

MAX_DEATHS, WITHIN_S = 5, 60.0
"""So many processes that die in so short a time are no accident: the server ends and says so."""

PAUSE_S = 2.0  # before the next try, where one does not start
_SLACK_S = 10.0  # for a process to end after its calls have
_log = structlog.get_logger("hilnas.server")


def run_processes(settings: Settings) -> None:
    """Serve in several processes until told to stop, or until they die one after the other.

    Raises:
        OSError: an address is taken, a process could not start (it has said why), or too many died.
    """
    with ExitStack() as stack:
        ports = [
            _hold(stack, host, port)
            for host, port in ((settings.http_host, settings.http_port), (settings.grpc_host, settings.grpc_port))
        ]
        shared = settings.model_copy(update={"http_port": ports[0], "grpc_port": ports[1]})
        running = _Processes(shared)
        stack.callback(running.end)
        running.start()
        write_server_file(stack, settings, *ports)
        _log.info("API processes serve", num=settings.api_processes)
        running.keep()


class _Processes:
    """The processes of one server; what is asked of this one by signals is passed on to them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._context = multiprocessing.get_context("spawn")  # threads and connections are not to be inherited
        self._alive: list[BaseProcess] = []
        self._deaths: deque[float] = deque(maxlen=MAX_DEATHS)
        self._told, self._tell = os.pipe()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def start(self) -> None:
        """Start all of them: the first one alone, which brings the database up to date and makes the first tokens."""
        while len(self._alive) < self._settings.api_processes and not self._stopped():
            self._add()

    def keep(self) -> None:
        """Start anew what dies, until a signal comes. Raises OSError where they die one after the other."""
        while not self._stopped():
            wait([self._told, *(one.sentinel for one in self._alive)])
            for one in [one for one in self._alive if one.exitcode is not None]:
                self._alive.remove(one)
                if not self._stopped():
                    _log.warning("an API process ended and is started anew", pid=one.pid, status=one.exitcode)
                    self._count_death(f"the last one with status {one.exitcode}")
            while len(self._alive) < self._settings.api_processes and not self._stopped():
                try:
                    self._add()
                except OSError as error:
                    self._count_death(str(error))
                    wait([self._told], PAUSE_S)

    def end(self) -> None:
        """Have all of them end: by a signal, and by force where that is not enough."""
        for one in self._alive:
            one.terminate()
        deadline = time.monotonic() + self._settings.shutdown_s + _SLACK_S
        for one in self._alive:
            one.join(max(0.0, deadline - time.monotonic()))
            if one.exitcode is None:
                _log.warning("an API process does not end and is killed", pid=one.pid)
                one.kill()
                one.join()

    def _stopped(self) -> bool:
        return bool(wait([self._told], 0))

    def _stop(self, _: int, __: FrameType | None) -> None:
        os.write(self._tell, b"x")

    def _add(self) -> None:
        """Start one and wait until it serves. Raises OSError where it does not."""
        receiver, sender = self._context.Pipe(duplex=False)
        one = self._context.Process(target=_serve, args=(self._settings, sender), name="hilnas-api")
        one.start()
        sender.close()
        with receiver:
            wait([receiver, self._told])
            try:
                if not self._stopped():
                    receiver.recv()
            except EOFError:
                one.join()
                raise OSError(f"an API process did not start (status {one.exitcode}): see what it logged") from None
        self._alive.append(one)

    def _count_death(self, last: str) -> None:
        """Raises OSError where too many died in too short a time."""
        self._deaths.append(time.monotonic())
        if len(self._deaths) == MAX_DEATHS and self._deaths[-1] - self._deaths[0] < WITHIN_S:
            raise OSError(f"{MAX_DEATHS} API processes ended within {WITHIN_S:.0f} s ({last}): see what they logged")


def _serve(settings: Settings, sender: Connection) -> None:
    """One of the processes: it says once that it serves, and ends with the one that started it."""

    def announce(_: ExitStack, __: int, ___: int) -> None:
        sender.send("serving")
        sender.close()

    configure_logging(settings.log_level, as_json=settings.log_json)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent,), name="parent", daemon=True).start()
    raise SystemExit(status_of(lambda: serve_here(settings, announce, shares_ports=True)))


def _end_with(parent: BaseProcess) -> None:
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _hold(stack: ExitStack, host: str, port: int) -> int:
    """Take a port for processes that share it; bound and never listening, it gets no connection.

    Raises:
        OSError: somebody else has it.
    """
    with listen(host, port) as probe:  # would be shared with another server, were it asked for as shared at once
        free = int(probe.getsockname()[1])
    held: socket.socket = stack.enter_context(listen(host, free, shared=True))
    return int(held.getsockname()[1])
