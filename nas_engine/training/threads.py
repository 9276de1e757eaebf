"""How many processor threads torch uses, thread by thread.

OpenMP's pool belongs to the thread that computes. As soon as a process has more pool threads than the machine has
cores, libgomp stops spinning at barriers and sleeps instead, which makes a step of many small operations take about
twice as long. So of all threads of a process one may compute on several cores, and every other is told to use one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def use_threads(number: int) -> None:
    """Compute on `number` cores in the calling thread; threads that first use torch afterwards start with the same."""
    torch.get_num_threads()  # the first question sets torch's own number: it must not come after ours
    torch.set_num_threads(number)


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Compute on `number` cores in the calling thread for a while; None leaves the number as it is."""
    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
