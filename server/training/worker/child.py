"""One of several processes that train together: ``python -m server.training.worker.child ORDER.json``.

The worker starts it with RANK and WORLD_SIZE. It writes one JSON object per line to standard output: ``progress`` (of
the first process), then ``end`` or ``error``. A line on standard input cancels it; when that input ends, the worker is
gone and the process ends at once, so that nobody trains for a worker that was killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist

from nas_engine.domain.errors import EngineError
from nas_engine.domain.host.host_lock import HostLock
from nas_engine.domain.json_value import JsonValue
from nas_engine.training.data.augmentation import Share
from nas_engine.training.loop import Hooks, Progress
from nas_engine.training.processes import leave
from server.training.worker.order import CANCEL_LINE, TrainingOrder
from server.training.worker.run import perform

EXIT_ERROR, EXIT_ORPHANED = 1, 2


def main(order_file: str) -> int:
    """Train this process's part; returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the worker tells us what to do
    tell = _own_output()
    cancelled = threading.Event()
    threading.Thread(target=_listen, args=(cancelled,), daemon=True).start()
    try:
        order = TrainingOrder.model_validate_json(Path(order_file).read_text(encoding="utf-8"))
        share = Share(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
        device = _join(order, share)
        end = perform(order.run(), device, _hooks(order, share, tell, cancelled), share)
    except EngineError as error:
        tell({"error": str(error)})
        return EXIT_ERROR
    tell({"end": {"ending": end.ending.value, "steps": end.steps, "statistics": dict(end.statistics)}})
    dist.destroy_process_group()
    return 0


def _own_output() -> Callable[[JsonValue], None]:
    """Writes lines to what was standard output; whatever libraries print goes to standard error."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)

    def tell(document: JsonValue) -> None:
        lines.write(json.dumps(document) + "\n")

    return tell


def _listen(cancelled: threading.Event) -> None:
    # Not through sys.stdin: a thread that waits in a buffered reader aborts the interpreter when that ends.
    while os.read(0, len(CANCEL_LINE)):
        cancelled.set()
    os._exit(EXIT_ORPHANED)


def _join(order: TrainingOrder, share: Share) -> torch.device:
    """The device of this process; returns once all have met."""
    torch.set_num_threads(order.num_threads)
    on_cuda = order.device == "cuda"
    device = torch.device("cuda", share.rank) if on_cuda else torch.device("cpu")
    if on_cuda:
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if on_cuda else "gloo",
        init_method=f"file://{order.rendezvous}",
        rank=share.rank,
        world_size=share.num_processes,
    )
    return device


def _hooks(order: TrainingOrder, share: Share, tell: Callable[[JsonValue], None], cancelled: threading.Event) -> Hooks:
    def on_progress(progress: Progress) -> None:
        tell({"progress": asdict(progress)})

    # Only the first process waits for boards that time on this host: the others wait for it in the next all-reduce.
    # If each took the lock, one could hold it while it waits for another that waits for the lock.
    waits = order.host_lock is not None and share.rank == 0
    pause = HostLock(order.host_lock).working if waits and order.host_lock is not None else nullcontext
    return Hooks(on_progress=on_progress, cancelled=cancelled.is_set, pause=pause)


if __name__ == "__main__":
    leave(main(sys.argv[1]))
