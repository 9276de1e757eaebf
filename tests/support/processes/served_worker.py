"""A real API process, and a real worker on its database in a thread of the test: everything goes over REST."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hilnas.client.client import Hilnas
from server.bootstrap import worker
from server.bootstrap.settings import Settings
from tests.support.processes.api_process import RunningServer, running_server
from tests.support.samples.datasets import write_registry

TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Served:
    """Where they are."""

    server: RunningServer
    nas: Hilnas

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for what the worker brings about."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline_s, f"did not happen in {TIMEOUT_S} s: {what}"
            time.sleep(0.1)


@contextmanager
def served_worker(folder: Path, **settings: Any) -> Iterator[Served]:
    """Both, with the data sets ``stripes`` and ``bands``."""
    folder.mkdir(parents=True, exist_ok=True)
    datasets = write_registry(folder, {"stripes": 3, "bands": 2})
    home = folder / "home"
    with running_server(home, "--datasets-file", str(datasets)) as server:
        process = worker.build(Settings(home=home, datasets_file=datasets, worker_device="cpu", **settings))
        process.wakeups.start()
        thread = threading.Thread(target=process.worker.run)
        thread.start()
        try:
            with server.sdk() as nas:
                yield Served(server, nas)
        finally:
            process.worker.stop()
            thread.join(60.0)
            if process.rknn is not None:
                process.rknn.close()
            process.wakeups.close()
            process.engine.dispose()
