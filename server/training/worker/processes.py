"""Training in several processes on this host, as torchrun starts them; one that dies ends them all.

What each of them does is `server.training.worker.part`.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from nas_engine.domain.errors import TrainingError
from nas_engine.settings.training import TrainingSettings
from nas_engine.training.loop import Progress, StopReason
from server.training.worker.order import CANCEL_LINE, ProcessOrder, TrainingOrder
from server.training.worker.run import RunEnd

POLL_S = 0.2
CANCEL_GRACE_S = 60.0  # after that they are killed; the last checkpoint is what is left
MAX_SHOWN = 300
Told = Mapping[str, Any]
"""One line of a process: `progress`, of the first one alone, `end` or `error`, and what goes with it."""


def num_processes_on(device: torch.device, settings: TrainingSettings) -> int:
    """How many processes train on a device of this host.

    Raises:
        TrainingError: this worker has not as many GPUs, or the batch does not divide over them.
    """
    wanted = settings.num_processes
    if device.type != "cuda":
        if isinstance(wanted, str):
            raise TrainingError(f"num_processes is {wanted}, this worker trains on the CPU: give a number")
        return wanted
    num_gpus = torch.cuda.device_count()
    number = num_gpus if isinstance(wanted, str) else wanted
    if number > num_gpus:
        raise TrainingError(f"num_processes is {number}, this worker has {num_gpus} GPUs: each process needs its own")
    if settings.batch_size % number:
        raise TrainingError(f"batch_size {settings.batch_size} does not divide over {number} GPUs: change it")
    return number


def train_in_processes(
    order: TrainingOrder,
    num_processes: int,
    *,
    on_progress: Callable[[Progress], None],
    stopped: Callable[[], bool],
    grace_s: float = CANCEL_GRACE_S,
) -> RunEnd:
    """Train in `num_processes` processes, and wait for them; arguments and errors as of `perform_in_processes`."""
    step = 0

    def told(line: Told) -> None:
        nonlocal step
        step = int(line["progress"]["step"])
        on_progress(Progress(**line["progress"]))

    end = perform_in_processes(order, num_processes, on_progress=told, stopped=stopped, grace_s=grace_s)
    if end is None:
        return RunEnd(StopReason.CANCELLED, step, {})
    return RunEnd(StopReason(end["ending"]), int(end["steps"]), end["statistics"])


def perform_in_processes(
    order: ProcessOrder,
    num_processes: int,
    *,
    on_progress: Callable[[Told], None],
    stopped: Callable[[], bool],
    grace_s: float = CANCEL_GRACE_S,
) -> Told | None:
    """Have `num_processes` processes carry out an order together, and wait for them.

    Args:
        order: its `CHILD` is what they run.
        on_progress: given each line of progress of the first process.
        stopped: has them stop at a step they agree on, and write a checkpoint.
        grace_s: how long they may take for that.

    Returns:
        What the first process ended with; None where they were killed, since they did not stop in time.

    Raises:
        TrainingError: a process failed; the others are killed.
    """
    order.rendezvous.unlink(missing_ok=True)
    order_file = order.folder / "order.json"
    order_file.write_text(order.model_dump_json(), encoding="utf-8")
    group = _Group(order, order_file, num_processes)
    try:
        return _follow(group, on_progress, stopped, grace_s)
    finally:
        group.kill()
        order.rendezvous.unlink(missing_ok=True)


def _follow(
    group: _Group, on_progress: Callable[[Told], None], stopped: Callable[[], bool], grace_s: float
) -> Told | None:
    end: Told | None = None
    kill_at_s = None
    errors: list[str] = []
    while True:  # ends with the processes, or when their time to stop is up
        running = group.running()
        for rank, line in group.lines(POLL_S):
            match line:
                case {"progress": dict()}:
                    on_progress(line)
                case {"end": dict(told)} if rank == 0:
                    end = told
                case {"error": str(message)}:
                    errors.append(message)
                case _:
                    pass
        if failed := group.failures():
            raise TrainingError(errors[0] if errors else failed[0])
        if not running:
            if end is None:
                raise TrainingError("the training processes ended without a word: see the worker's log")
            return end
        if stopped():
            if kill_at_s is None:
                group.cancel()
                kill_at_s = time.monotonic() + grace_s
            elif time.monotonic() >= kill_at_s:
                return None


class _Group:
    """The processes, and the lines they write."""

    def __init__(self, order: ProcessOrder, order_file: Path, num_processes: int) -> None:
        self._folder = order.folder
        self._lines: queue.Queue[tuple[int, Told]] = queue.Queue()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._readers: list[threading.Thread] = []
        for rank in range(num_processes):
            self._start(order, order_file, rank, num_processes)

    def running(self) -> bool:
        """Whether any still runs, or has lines that were not read."""
        return any(process.poll() is None for process in self._processes) or any(r.is_alive() for r in self._readers)

    def lines(self, timeout_s: float) -> list[tuple[int, Told]]:
        """What was written since the last call; waits for the first line."""
        found: list[tuple[int, Told]] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._lines.get(timeout=timeout_s))
            while True:  # ends with the queue
                found.append(self._lines.get_nowait())
        return found

    def failures(self) -> list[str]:
        """What is wrong with those that ended badly, once everything they wrote was read."""
        return [
            f"training process {rank} {self._cause(rank, process.returncode)}"
            for rank, process in enumerate(self._processes)
            if process.poll() and not self._readers[rank].is_alive() and self._lines.empty()
        ]

    def cancel(self) -> None:
        """Ask all to stop."""
        for process in self._processes:
            assert process.stdin is not None
            with contextlib.suppress(OSError):  # it has ended already
                process.stdin.write(CANCEL_LINE)
                process.stdin.flush()

    def kill(self) -> None:
        """End whatever still runs."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()

    def _start(self, order: ProcessOrder, order_file: Path, rank: int, num_processes: int) -> None:
        with self._log(rank).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", order.CHILD, str(order_file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(rank, num_processes, order.num_threads),
            )
        self._processes.append(process)
        reader = threading.Thread(target=self._read, args=(rank, process), daemon=True)
        self._readers.append(reader)
        reader.start()

    def _read(self, rank: int, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError):  # closed by `kill`
            for line in process.stdout:
                with contextlib.suppress(json.JSONDecodeError):  # the last line of a killed process
                    self._lines.put((rank, json.loads(line)))

    def _cause(self, rank: int, status: int) -> str:
        if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        written = self._log(rank).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"ended with {status}: {written[-1][:MAX_SHOWN] if written else 'it wrote nothing'}"

    def _log(self, rank: int) -> Path:
        return self._folder / f"process-{rank}.log"


def _environment(rank: int, num_processes: int, num_threads: int) -> dict[str, str]:
    variables = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(num_processes),
        "OMP_NUM_THREADS": str(num_threads),
    }
    # All of them are on this host: no other interface is needed, and none is opened.
    loopback = {} if "GLOO_SOCKET_IFNAME" in os.environ or sys.platform != "linux" else {"GLOO_SOCKET_IFNAME": "lo"}
    return os.environ | loopback | variables
