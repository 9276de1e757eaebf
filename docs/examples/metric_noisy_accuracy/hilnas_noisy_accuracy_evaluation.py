"""Accuracy under noise of a sub-network that has its batch normalisation calibrated."""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt

import torch
from hilnas_noisy_accuracy import NoiseSettings
from torch import Tensor, nn


def noisy_top1(
    subnet: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], settings: NoiseSettings
) -> tuple[float, float]:
    """Classify noisy images; the uncertainty is the binomial standard error.

    Args:
        subnet: gives logits_NK of images_NCHW; in evaluation mode, without gradients.
        batches: normalised validation images_NCHW and labels_N, on the worker's device.
        settings: as the declaration types them.
    """
    rng = torch.Generator().manual_seed(settings.seed)  # no global seed: candidates are compared under one noise
    num_correct, num_images = 0, 0
    for images_NCHW, labels_N in batches:
        noise_NCHW = settings.standard_deviation * torch.randn(images_NCHW.shape, generator=rng)
        logits_NK = subnet(images_NCHW + noise_NCHW.to(images_NCHW.device))
        num_correct += int((logits_NK.argmax(1) == labels_N).sum())
        num_images += len(labels_N)
    top1 = num_correct / num_images
    return top1, sqrt(top1 * (1 - top1) / num_images)
