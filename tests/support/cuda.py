"""What tests of the CUDA path share: they run where a GPU is, name it, and are skipped by name where there is none."""

from __future__ import annotations

import sys

import pytest
import torch

CUDA = torch.device("cuda")
NEEDS_CUDA = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]
NEEDS_TWO_GPUS = pytest.mark.skipif(
    torch.cuda.device_count() < 2, reason=f"2 GPUs are needed, this machine has {torch.cuda.device_count()}"
)
NEEDS_GPU_WITHOUT_BFLOAT16 = pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False),
    reason="a GPU without bfloat16 is needed: mixed arithmetic takes float16 there",
)


def say_the_device() -> None:
    """Print which GPU a test runs on."""
    sys.stdout.write(f"{torch.cuda.get_device_name()}\n")
