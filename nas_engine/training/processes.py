"""Data-parallel training over torch.distributed processes, without a DDP wrapper.

Several backward passes with one update leave parameters unused, which wrappers do not allow for. Every
process runs its backward passes on its share of the batch; then one all-reduce averages the
concatenated gradients of the name-sorted union. Weights that no process used keep a gradient of None.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NoReturn

import torch
import torch.distributed as dist

from nas_engine.training.data.augmentation import Share


def share_of_this_process() -> Share:
    """Rank and number of processes; (0, 1) outside torchrun."""
    if dist.is_available() and dist.is_initialized():
        return Share(dist.get_rank(), dist.get_world_size())
    return Share()


def leave(status: int) -> NoReturn:
    """End this process at once, with everything written.

    Python's own tear-down ends threads that come back to it by unwinding them; of a process group's, which are C++'s,
    that aborts the whole process after its work is done ("terminate called without an active exception").
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def average_gradients(weights: Mapping[str, torch.Tensor], share: Share) -> None:
    """Replace every gradient by its mean over the processes."""
    if share.num_processes == 1:
        return
    names = sorted(weights)
    device = weights[names[0]].device
    used = torch.tensor([weights[name].grad is not None for name in names], dtype=torch.uint8, device=device)
    dist.all_reduce(used, op=dist.ReduceOp.MAX)
    union = [weights[name] for name, flag in zip(names, used.tolist(), strict=True) if flag]
    if not union:
        return
    flat = torch.cat(
        [(torch.zeros_like(tensor) if tensor.grad is None else tensor.grad).reshape(-1) for tensor in union]
    )
    dist.all_reduce(flat)
    flat /= share.num_processes
    start = 0
    for tensor in union:
        part = flat[start : start + tensor.numel()].view(tensor.shape)
        start += tensor.numel()
        if tensor.grad is None:
            tensor.grad = torch.empty_like(tensor)
        tensor.grad.copy_(part)


def mean_over_processes(values: torch.Tensor, share: Share) -> torch.Tensor:
    """Mean of a small tensor over the processes."""
    if share.num_processes == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / share.num_processes


def agree(flag: bool, share: Share, device: torch.device) -> bool:
    """Whether any process says yes: all leave the loop at the same step, or none does."""
    if share.num_processes == 1:
        return flag
    vote = torch.tensor([int(flag)], device=device)
    dist.all_reduce(vote, op=dist.ReduceOp.MAX)
    return bool(vote.item())


def wait_for_all(share: Share) -> None:
    """Barrier, e.g. after the first process wrote a checkpoint."""
    if share.num_processes > 1:
        dist.barrier()
