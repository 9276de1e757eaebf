"""Losses of supernet training: label smoothing, distillation, alpha-divergences, hardware-aware search.

Everything is computed from log-probabilities, so probabilities that underflow in float32 give neither
NaN nor infinity. Half-precision logits are taken to float32. Teachers are always detached.

Shapes: N images, K classes. q is the student, p the teacher, w = p/q.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)

from nas_engine.domain.errors import TrainingError

# |alpha| or |alpha - 1| below this takes the limit's formula (AlphaNet, loss_ops.py).
LIMIT_TOLERANCE = 1e-3


class DistillationLoss(Protocol):
    """What a student learns from: a frozen value that is called once per student."""

    def __call__(self, student_NK: torch.Tensor, teacher_NK: torch.Tensor, labels_N: torch.Tensor, /) -> torch.Tensor:
        """The scalar to back-propagate; gradients reach the student only."""


@dataclass(frozen=True, slots=True)
class AlphaDivergence:
    """One alpha-divergence per image.

    Attributes:
        value_N: the divergence; compares two alphas, carries no gradient.
        surrogate_N: what is back-propagated; its gradient is the divergence's, its number may be negative.
    """

    value_N: torch.Tensor  # noqa: N815 (shape suffix)
    surrogate_N: torch.Tensor  # noqa: N815


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftTargets:
    """Cross-entropy with the teacher's probabilities, without hard labels.

    What AlphaNet's and AttentiveNAS's training code runs for in-place distillation; it differs from
    KL by the teacher's entropy, which has no gradient.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_positive("temperature", self.temperature)

    def __call__(self, student_NK: torch.Tensor, teacher_NK: torch.Tensor, _labels_N: torch.Tensor) -> torch.Tensor:
        """Labels are not used."""
        return _soft_cross_entropy(student_NK, teacher_NK, self.temperature).mean()


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftAndHardTargets:
    """The reference's soft loss when it is given labels: a T^2 soft + (1 - a) hard.

    As in that code the hard cross-entropy is also taken at temperature T, unlike Eq. 8.
    """

    soft_weight: float = 0.9
    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_share("soft_weight", self.soft_weight)
        _check_positive("temperature", self.temperature)

    def __call__(self, student_NK: torch.Tensor, teacher_NK: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
        """Weighted sum of both terms."""
        soft = _soft_cross_entropy(student_NK, teacher_NK, self.temperature).mean()
        hard = F.cross_entropy(_float(student_NK) / self.temperature, labels_N)
        return self.soft_weight * self.temperature**2 * soft + (1.0 - self.soft_weight) * hard


@dataclass(frozen=True, slots=True, kw_only=True)
class KullbackLeibler:
    """(1 - beta) CE + beta T^2 KL(p_T || q_T): AlphaNet's supplementary material, Eq. 7 and 8 (beta 0.9)."""

    beta: float = 0.9
    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_share("beta", self.beta)
        _check_positive("temperature", self.temperature)

    def __call__(self, student_NK: torch.Tensor, teacher_NK: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
        """Hard cross-entropy at temperature 1, divergence at T."""
        t = self.temperature
        log_p_NK = F.log_softmax(_float(teacher_NK).detach() / t, dim=1)
        negative_entropy = (log_p_NK.exp() * log_p_NK).sum(dim=1).mean()
        divergence = negative_entropy + _soft_cross_entropy(student_NK, teacher_NK, t).mean()
        hard = F.cross_entropy(_float(student_NK), labels_N)
        return (1.0 - self.beta) * hard + self.beta * t**2 * divergence


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedAlpha:
    """One alpha-divergence; 1 is KL(p || q), 0 is KL(q || p), -1 the chi-square divergence of q from p, halved."""

    alpha: float
    clip: float = 1e3

    def __post_init__(self) -> None:
        _check_finite("alpha", self.alpha)
        _check_positive("clip", self.clip)

    def __call__(self, student_NK: torch.Tensor, teacher_NK: torch.Tensor, _labels_N: torch.Tensor) -> torch.Tensor:
        """Labels are not used."""
        return alpha_divergence(student_NK, teacher_NK, alpha=self.alpha, clip=self.clip).surrogate_N.mean()


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveAlpha:
    """Per image the surrogate of whichever alpha has the larger divergence (AlphaNet, Algorithm 1).

    alpha_min wins only when strictly larger, as in the reference. Unlike there, an alpha of 0 is taken.
    """

    alpha_min: float = -1.0
    alpha_max: float = 1.0
    clip: float = 5.0

    def __post_init__(self) -> None:
        _check_finite("alpha_min", self.alpha_min)
        _check_finite("alpha_max", self.alpha_max)
        _check_positive("clip", self.clip)
        if self.alpha_min > self.alpha_max:
            raise TrainingError(f"alpha_min {self.alpha_min} is above alpha_max {self.alpha_max}: swap them")

    def __call__(self, student_NK: torch.Tensor, teacher_NK: torch.Tensor, _labels_N: torch.Tensor) -> torch.Tensor:
        """Labels are not used."""
        low = alpha_divergence(student_NK, teacher_NK, alpha=self.alpha_min, clip=self.clip)
        high = alpha_divergence(student_NK, teacher_NK, alpha=self.alpha_max, clip=self.clip)
        return torch.where(low.value_N > high.value_N, low.surrogate_N, high.surrogate_N).mean()


def alpha_divergence(
    student_NK: torch.Tensor, teacher_NK: torch.Tensor, *, alpha: float, clip: float
) -> AlphaDivergence:
    """Alpha-divergence of the student q from the teacher p with clipped importance weights.

    value = sum_i q_i (f(w_i) - f(1)), surrogate = -sum_i q_i rho(w_i) log q_i with q_i and rho detached;
    f = w^a / (a (a-1)), rho = w^a / a + 1 / (a (a-1)), w^a clipped to [0, clip]. Limits: a = 1:
    f = w log w, rho = w, not clipped; a = 0: f = -log w, rho = log w - 1, w clipped to [0, clip].
    Source: AlphaNet (arXiv 2102.07954), section 3, and its published loss.

    Args:
        student_NK, teacher_NK: logits.
        alpha: any finite number.
        clip: upper bound of the importance weights, > 0.
    """
    log_q_NK = F.log_softmax(_float(student_NK), dim=1)
    log_p_NK = F.log_softmax(_float(teacher_NK).detach(), dim=1)
    fixed_log_q_NK = log_q_NK.detach()
    q_NK, log_w_NK = fixed_log_q_NK.exp(), log_p_NK - fixed_log_q_NK
    if abs(alpha - 1.0) < LIMIT_TOLERANCE:
        p_NK = log_p_NK.exp()
        value_NK, weight_NK = p_NK * log_w_NK, p_NK  # q w = p: nothing is divided by a vanishing q
    elif abs(alpha) < LIMIT_TOLERANCE:
        clipped_NK = log_w_NK.clamp(max=math.log(clip))
        value_NK, weight_NK = -q_NK * clipped_NK, q_NK * (clipped_NK - 1.0)
    else:
        base = 1.0 / (alpha * (alpha - 1.0))
        power_NK = (alpha * log_w_NK).clamp(max=math.log(clip)).exp()
        value_NK, weight_NK = q_NK * (power_NK - 1.0) * base, q_NK * (power_NK / alpha + base)
    return AlphaDivergence(value_NK.sum(dim=1), -(weight_NK * log_q_NK).sum(dim=1))


def smoothed_cross_entropy(logits_NK: torch.Tensor, labels_N: torch.Tensor, *, smoothing: float) -> torch.Tensor:
    """Mean cross-entropy against (1 - e) one-hot + e/K.

    Raises:
        TrainingError: `smoothing` is outside [0, 1].
    """
    _check_share("smoothing", smoothing)
    return F.cross_entropy(_float(logits_NK), labels_N, label_smoothing=smoothing)


def hardware_aware_loss(
    cross_entropy: torch.Tensor, cost: torch.Tensor, *, weight: float, log_base: float
) -> torch.Tensor:
    """CE + lambda log_tau(cost): DenseNAS' search loss (supplementary material; lambda 0.15, tau 15 for ms).

    Args:
        cross_entropy: scalar.
        cost: scalar, differentiable, > 0: expected latency or MACs of the relaxed network.
        weight: lambda >= 0.
        log_base: tau > 1, in the unit of `cost`.

    Raises:
        TrainingError: a setting is out of range, or the cost is not a positive finite number.
    """
    _check_finite("weight", weight)
    _check_finite("log_base", log_base)
    if weight < 0 or log_base <= 1:
        raise TrainingError(f"weight is {weight} and log_base is {log_base}: they must be >= 0 and > 1")
    reached = float(cost.detach())
    if not (math.isfinite(reached) and reached > 0):
        raise TrainingError(f"the expected cost is {reached}: it must be positive; check the latency table")
    return cross_entropy + weight * torch.log(cost) / math.log(log_base)


def _soft_cross_entropy(student_NK: torch.Tensor, teacher_NK: torch.Tensor, temperature: float) -> torch.Tensor:
    """Per image, (N,)."""
    p_NK = F.softmax(_float(teacher_NK).detach() / temperature, dim=1)
    return -(p_NK * F.log_softmax(_float(student_NK) / temperature, dim=1)).sum(dim=1)


def _float(logits_NK: torch.Tensor) -> torch.Tensor:
    """At least float32: half precision rounds log-probabilities away."""
    return logits_NK if logits_NK.dtype is torch.float64 else logits_NK.float()


def _check_finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise TrainingError(f"{name} is {value}: it must be a finite number")


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise TrainingError(f"{name} is {value}: it must be finite and above 0")


def _check_share(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise TrainingError(f"{name} is {value}: it must lie between 0 and 1")
