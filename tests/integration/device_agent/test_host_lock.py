"""The timing lock that everything on a host shares."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path

import pytest

from nas_engine.domain.host.host_lock import HostBusyError, HostLock


def _hold(
    path: str, mode: str, ready: multiprocessing.synchronize.Event, release: multiprocessing.synchronize.Event
) -> None:
    lock = HostLock(Path(path))
    with lock.timing() if mode == "timing" else lock.working():
        ready.set()
        release.wait(120.0)


@pytest.mark.parametrize(
    ("held", "wanted", "allowed"),
    [
        ("timing", "timing", False),
        ("timing", "working", False),
        ("working", "timing", False),
        ("working", "working", True),
    ],
)
def test_timing_excludes_everybody_and_work_excludes_only_timing(
    tmp_path: Path, held: str, wanted: str, allowed: bool
) -> None:
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(tmp_path / "lock"), held, ready, release))
    holder.start()
    try:
        assert ready.wait(120.0)
        lock = HostLock(tmp_path / "lock")
        take = lock.timing if wanted == "timing" else lock.working
        if allowed:
            with take(0.05):
                pass
        else:
            with pytest.raises(HostBusyError, match="lock"), take(0.05):
                pass
    finally:
        release.set()
        holder.join(120.0)
    with lock.timing(60.0):
        pass


def test_a_stream_of_short_steps_does_not_starve_a_timer(tmp_path: Path) -> None:
    path, stop = tmp_path / "lock", threading.Event()

    def work() -> None:
        lock = HostLock(path)
        while not stop.is_set():
            with lock.working(120.0):
                stop.wait(0.005)

    workers = [threading.Thread(target=work) for _ in range(3)]  # flock belongs to the open file, so threads count
    for worker in workers:
        worker.start()
    try:
        for _ in range(5):
            with HostLock(path).timing(120.0):
                pass
    finally:
        stop.set()
        for worker in workers:
            worker.join()
