"""A world that is reached over a socket, for clients that are processes of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from tests.support.worlds.api_world import World


@contextmanager
def served(world: World) -> Iterator[str]:
    """The address of a world's application, served by a thread of this process."""
    server = uvicorn.Server(uvicorn.Config(world.process.app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, name="served world")
    thread.start()
    try:
        deadline_s = time.monotonic() + 60.0
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline_s, "the server has not started in a minute"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30.0)
