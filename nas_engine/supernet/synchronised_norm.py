"""Batch normalisation over the batch of all processes: makes N processes equal one with N times the batch."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce whose gradient is the all-reduce of the gradients."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:  # noqa: ARG004 (torch passes it)
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        total = grad_outputs[0].clone()
        dist.all_reduce(total)
        return total


def synchronised_batch_norm(
    x_NCHW: torch.Tensor, gamma_C: torch.Tensor | None, beta_C: torch.Tensor | None, eps: float
) -> torch.Tensor:
    """Normalise by the mean and biased variance over all processes (equal batches on each).

    Without an initialised process group it is plain batch normalisation. Statistics are summed in
    float32, in two passes (mean, then squared deviations), which keeps them exact where
    E[x^2] - E[x]^2 would cancel.
    """
    processes = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    values = x_NCHW.float()
    dims = [d for d in range(values.dim()) if d != 1]
    shape = [1, -1] + [1] * (values.dim() - 2)
    mean_C = _total(values.mean(dims), processes) / processes
    centred = values - mean_C.view(shape)
    variance_C = _total(centred.square().mean(dims), processes) / processes
    normalised = centred * torch.rsqrt(variance_C + eps).view(shape)
    if gamma_C is not None:
        normalised = normalised * gamma_C.view(shape)
    if beta_C is not None:
        normalised = normalised + beta_C.view(shape)
    return normalised.to(x_NCHW.dtype)


def _total(x: torch.Tensor, processes: int) -> torch.Tensor:
    if processes == 1:
        return x
    return cast(torch.Tensor, _SumOverProcesses.apply(x))  # type: ignore[no-untyped-call]
