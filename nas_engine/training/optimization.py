"""Optimiser, gradient clipping and mixed-precision arithmetic of the training loop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch

from nas_engine.domain.errors import TrainingError
from nas_engine.domain.layer_graph import WeightRole
from nas_engine.settings.training import OptimizerKind, OptimizerSettings, Precision, Schedule
from nas_engine.supernet.weights import WeightStore

NOT_BN_OR_BIAS = frozenset({WeightRole.CONV, WeightRole.FC})


def decayed_roles(settings: OptimizerSettings) -> frozenset[WeightRole]:
    """Roles of the weights that are decayed: neither batch normalisation nor biases in SPOS, SCARLET and AlphaNet."""
    return frozenset(WeightRole) if settings.decay_all else NOT_BN_OR_BIAS


def learning_rate_at(settings: OptimizerSettings, step: int, num_steps: int) -> float:
    """Learning rate that update `step` (from 0) is made with.

    SPOS advances its schedule before each update, so the first is made at 1 - 1/num_steps of the peak and the last
    at 0; AlphaNet's cosine starts at the peak, and is not delayed by the warm-up.
    """
    warm = 1.0
    if step < settings.warmup_steps:
        done = step / settings.warmup_steps
        warm = 0.001 * (1.0 - done) + done
    match settings.schedule:
        case Schedule.LINEAR:
            return settings.learning_rate * (warm * (1.0 - (step + 1) / num_steps))
        case Schedule.COSINE:
            falling = 0.5 * (1.0 + math.cos(math.pi * step / num_steps))
            share = settings.final_share + (1.0 - settings.final_share) * falling
            return settings.learning_rate * (warm * share)
        case Schedule.CONSTANT:
            return settings.learning_rate * warm


def make_optimizer(weights: WeightStore, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Optimiser over all weights, in two groups: with weight decay and without."""
    decayed, free = weights.groups(decayed_roles(settings))
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    match settings.kind:
        case OptimizerKind.SGD:
            return torch.optim.SGD(
                groups, lr=settings.learning_rate, momentum=settings.momentum, nesterov=settings.nesterov, foreach=True
            )
        case OptimizerKind.ADAMW:
            return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(settings.momentum, 0.999), foreach=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Learning rate of the next update."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def clip_gradients(weights: WeightStore, settings: OptimizerSettings) -> None:
    """Clamp elements, then limit the total norm, as far as the settings ask."""
    used = [tensor for tensor in weights.values() if tensor.grad is not None]
    if settings.gradient_clip_value is not None:
        torch.nn.utils.clip_grad_value_(used, settings.gradient_clip_value)
    if settings.gradient_clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(used, settings.gradient_clip_norm)


class Arithmetic:
    """Plain float32, or autocast with loss scaling where the GPU has no bfloat16."""

    def __init__(self, precision: Precision, device: torch.device) -> None:
        """Raises TrainingError: mixed precision is asked for on the CPU, where depthwise layers get slower."""
        if precision is Precision.MIXED and device.type != "cuda":
            raise TrainingError(f"mixed precision is for CUDA, the device is {device.type}: use float32 or auto")
        self._mixed = device.type == "cuda" and precision is not Precision.FLOAT32
        self._type = torch.float16
        # Before Ampere torch emulates it, in float32's time: float16 is what such GPUs compute with.
        if self._mixed and torch.cuda.is_bf16_supported(including_emulation=False):
            self._type = torch.bfloat16
        scaled = self._mixed and self._type is torch.float16
        self._scaler = torch.amp.GradScaler("cuda") if scaled else None

    def autocast(self) -> AbstractContextManager[None]:
        """Around forward passes and losses."""
        if not self._mixed:
            return nullcontext()
        return torch.autocast("cuda", dtype=self._type)

    def backward(self, loss: torch.Tensor) -> None:
        """Accumulate the gradients of a loss, scaled where float16 needs it."""
        torch.autograd.backward(loss if self._scaler is None else self._scaler.scale(loss))

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring gradients back to their true size, after they were averaged over processes."""
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)

    def update(self, optimizer: torch.optim.Optimizer) -> None:
        """One optimiser step (left out by the scaler where a scaled gradient overflowed)."""
        if self._scaler is None:
            optimizer.step()
            return
        self._scaler.step(optimizer)
        self._scaler.update()

    def state(self) -> Mapping[str, float]:
        """The scaler's numbers."""
        return {} if self._scaler is None else {k: float(v) for k, v in self._scaler.state_dict().items()}

    def restore(self, state: Mapping[str, float]) -> None:
        """Take over `state`."""
        if self._scaler is not None and state:
            integral = {"growth_interval", "_growth_tracker"}
            self._scaler.load_state_dict({k: int(v) if k in integral else v for k, v in state.items()})
