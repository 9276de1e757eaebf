"""A training made to fit its device, or refused before it starts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from nas_engine.cost.training_plan import StepMemory, plan_training
from nas_engine.settings.training import TrainingSettings

S = TypeVar("S", bound=TrainingSettings)


def device_memory_bytes(device: torch.device) -> int:
    """All memory of a GPU, or of this machine."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@dataclass(frozen=True, slots=True)
class Fitted(Generic[S]):
    """Settings that fit a device, and blocks that the backward pass computes again so that they do."""

    settings: S
    recomputed: tuple[str, ...]


def fitted(settings: S, step: StepMemory, device: torch.device, *, num_processes: int = 1) -> Fitted[S]:
    """Choose the micro-batch of settings that ask for `auto`, and what is computed again where a pass does not fit.

    Args:
        step: what its passes need.
        num_processes: that train together; on the CPU they share the machine's memory.

    Raises:
        DeviceMemoryError: it does not fit; with the numbers, and what would.
    """
    memory_bytes = device_memory_bytes(device)
    if device.type != "cuda":
        memory_bytes //= num_processes
    plan = plan_training(
        settings, step, memory_bytes, num_processes=num_processes, is_mixed=device.type == "cuda"
    )  # fmt: skip
    plan.require()
    chosen = {"micro_batch": plan.micro_batch} if settings.micro_batch == "auto" else {}
    return Fitted(settings.model_copy(update=chosen), plan.recomputed)
