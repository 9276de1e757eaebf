"""One of several processes that train together: it joins the others, and speaks with the worker by lines.

The worker starts it with RANK and WORLD_SIZE. It writes one JSON object per line to standard output: ``progress`` (of
the first process), then ``end`` or ``error``. A line on standard input cancels it; when that input ends, the worker is
gone and the process ends at once, so that nobody trains for a worker that was killed.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist

from nas_engine.domain.errors import EngineError
from nas_engine.domain.host.host_lock import HostLock
from nas_engine.domain.json_value import JsonValue
from nas_engine.training.data.augmentation import Share
from nas_engine.training.loop import Hooks, Progress
from server.training.worker.order import CANCEL_LINE, ProcessOrder

O = TypeVar("O", bound=ProcessOrder)  # noqa: E741
EXIT_ERROR, EXIT_ORPHANED = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one of the processes works with.

    Attributes:
        device: its own GPU, or the CPU.
        share: its rank, and how many there are.
        hooks: progress told to the worker, its cancellation, and the host's timing lock.
        tell: writes a line to the worker.
    """

    device: torch.device
    share: Share
    hooks: Hooks
    tell: Callable[[JsonValue], None]


def take_part(order_file: str, kind: type[O], carry_out: Callable[[O, Part], JsonValue]) -> int:
    """Carry out this process's part of an order; returns the exit status.

    `carry_out` gives what the worker is told at the end. An EngineError of it is told, and ends the process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the worker tells us what to do
    tell = _own_output()
    cancelled = threading.Event()
    threading.Thread(target=_listen, args=(cancelled,), daemon=True).start()
    try:
        order = kind.model_validate_json(Path(order_file).read_text(encoding="utf-8"))
        share = Share(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
        device = _join(order, share)
        end = carry_out(order, Part(device=device, share=share, hooks=_hooks(order, share, tell, cancelled), tell=tell))
    except EngineError as error:
        tell({"error": str(error)})
        return EXIT_ERROR
    tell({"end": end})
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


def _join(order: ProcessOrder, share: Share) -> torch.device:
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


def _hooks(order: ProcessOrder, share: Share, tell: Callable[[JsonValue], None], cancelled: threading.Event) -> Hooks:
    def on_progress(progress: Progress) -> None:
        tell({"progress": asdict(progress)})

    # Only the first process waits for boards that time on this host: the others wait for it in the next all-reduce.
    # If each took the lock, one could hold it while it waits for another that waits for the lock.
    waits = order.host_lock is not None and share.rank == 0
    pause = HostLock(order.host_lock).working if waits and order.host_lock is not None else nullcontext
    return Hooks(on_progress=on_progress, cancelled=cancelled.is_set, pause=pause)
