"""Losses against the reference's values and gradients in float64, and where float32 makes the reference fail."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)

from nas_engine.domain.errors import TrainingError
from nas_engine.training.strategies.losses import (
    AdaptiveAlpha,
    DistillationLoss,
    FixedAlpha,
    KullbackLeibler,
    SoftAndHardTargets,
    SoftTargets,
    alpha_divergence,
    hardware_aware_loss,
    smoothed_cross_entropy,
)
from tests.support.reference import vectors

VECTORS = vectors("alphanet_losses")
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def name_of(case: dict[str, Any]) -> str:
    settings = [f"{key}={case[key]}" for key in ("alpha", "alpha_max", "iw_clip", "temperature") if key in case]
    return "-".join([case.get("case", "hazard"), *settings])


def double(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def student(case: dict[str, Any]) -> torch.Tensor:
    return double(case["student"]).requires_grad_()


def labels(case: dict[str, Any]) -> torch.Tensor:
    return torch.tensor(case.get("target") or [0] * len(case["student"]))


def assert_loss(loss: torch.Tensor, q_NK: torch.Tensor, expected: float, grad: Any) -> None:
    torch.testing.assert_close(loss.detach(), double(expected), **CLOSE)
    (found,) = torch.autograd.grad(loss, q_NK)
    torch.testing.assert_close(found, double(grad), **CLOSE)


@pytest.mark.parametrize("case", VECTORS["f_divergence"], ids=name_of)
def test_alpha_divergences_equal_the_reference(case: dict[str, Any]) -> None:
    q_NK, p_NK = student(case), double(case["teacher"])
    found = alpha_divergence(q_NK, p_NK, alpha=case["alpha"], clip=case["iw_clip"])
    torch.testing.assert_close(found.value_N, double(case["loss_value_per_sample"]), **CLOSE)
    torch.testing.assert_close(found.surrogate_N.detach(), double(case["surrogate_per_sample"]), **CLOSE)
    loss = FixedAlpha(alpha=case["alpha"], clip=case["iw_clip"])(q_NK, p_NK, labels(case))
    mean = sum(case["surrogate_per_sample"]) / len(case["surrogate_per_sample"])
    assert_loss(loss, q_NK, mean, case["grad_student"])


@pytest.mark.parametrize("case", VECTORS["adaptive"], ids=name_of)
def test_the_adaptive_divergence_equals_the_reference(case: dict[str, Any]) -> None:
    q_NK = student(case)
    loss = AdaptiveAlpha(alpha_min=case["alpha_min"], alpha_max=case["alpha_max"], clip=case["iw_clip"])
    assert_loss(loss(q_NK, double(case["teacher"]), labels(case)), q_NK, case["loss"], case["grad_student"])


@pytest.mark.parametrize("case", VECTORS["kl"], ids=name_of)
def test_the_soft_losses_equal_the_reference_code(case: dict[str, Any]) -> None:
    q_NK, temperature = student(case), case["temperature"]
    loss: DistillationLoss = SoftTargets(temperature=temperature)
    if case["target"] is not None:
        loss = SoftAndHardTargets(soft_weight=case["alpha_weight"], temperature=temperature)
    assert_loss(loss(q_NK, double(case["teacher"]), labels(case)), q_NK, case["loss"], case["grad_student"])


@pytest.mark.parametrize("case", VECTORS["ce_smooth"], ids=name_of)
def test_label_smoothing_equals_the_reference(case: dict[str, Any]) -> None:
    q_NK = student(case)
    loss = smoothed_cross_entropy(q_NK, labels(case), smoothing=case["eps"])
    assert_loss(loss, q_NK, case["loss"], case["grad_student"])


def test_kullback_leibler_is_equations_7_and_8() -> None:
    case = VECTORS["kl"][1]
    q_NK, p_NK, target_N = student(case), double(case["teacher"]), labels(case)
    for beta, temperature in ((0.9, 1.0), (0.9, 4.0), (0.0, 2.0), (1.0, 2.0)):
        p = torch.softmax(p_NK / temperature, dim=1)
        q = torch.softmax(q_NK / temperature, dim=1)
        divergence = (p * (p / q).log()).sum(dim=1).mean()
        hard = -torch.softmax(q_NK, dim=1).log()[range(len(target_N)), target_N].mean()
        expected = (1 - beta) * hard + beta * temperature**2 * divergence
        found = KullbackLeibler(beta=beta, temperature=temperature)(q_NK, p_NK, target_N)
        torch.testing.assert_close(found, expected, **CLOSE)


def test_kullback_leibler_and_soft_targets_have_one_gradient_without_hard_labels() -> None:
    case = VECTORS["kl"][0]
    q_NK, p_NK = student(case), double(case["teacher"])
    gradients = [
        torch.autograd.grad(loss(q_NK, p_NK, labels(case)), q_NK)[0]
        for loss in (SoftTargets(), KullbackLeibler(beta=1.0), FixedAlpha(alpha=1.0))
    ]
    torch.testing.assert_close(gradients[0], gradients[1], **CLOSE)
    torch.testing.assert_close(gradients[0], gradients[2], **CLOSE)


HAZARDS = [(hazard, alpha) for hazard in VECTORS["float32_hazards"] for alpha in (-1.0, 0.0, 0.5, 1.0, 2.0)]


@pytest.mark.parametrize(("hazard", "alpha"), HAZARDS)
def test_no_float32_underflow_gives_nan_or_infinity(hazard: dict[str, Any], alpha: float) -> None:
    q_NK = torch.tensor(hazard["student"], dtype=torch.float32, requires_grad=True)
    p_NK = torch.tensor(hazard["teacher"], dtype=torch.float32)
    found = alpha_divergence(q_NK, p_NK, alpha=alpha, clip=5.0)
    exact = alpha_divergence(q_NK.detach().double(), p_NK.double(), alpha=alpha, clip=5.0)
    torch.testing.assert_close(found.value_N, exact.value_N.float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.surrogate_N.detach(), exact.surrogate_N.float(), rtol=1e-4, atol=1e-5)
    for loss in (FixedAlpha(alpha=alpha, clip=5.0), AdaptiveAlpha(), SoftTargets(), KullbackLeibler()):
        value = loss(q_NK, p_NK, torch.tensor([1]))
        (gradient,) = torch.autograd.grad(value, q_NK)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


def test_the_hazards_that_the_reference_survives_keep_its_numbers() -> None:
    teacher_vanishes = VECTORS["float32_hazards"][1]
    q_NK, p_NK = (torch.tensor(teacher_vanishes[key]) for key in ("student", "teacher"))
    found = alpha_divergence(q_NK, p_NK, alpha=-1.0, clip=5.0)
    assert found.value_N.item() == pytest.approx(float(teacher_vanishes["loss"].strip("[]")), rel=1e-5)
    assert found.surrogate_N.item() == pytest.approx(float(teacher_vanishes["surrogate"].strip("[]")), rel=1e-5)


def test_a_vanished_teacher_probability_lets_the_true_larger_divergence_win() -> None:
    """The reference's value at alpha 1 is NaN here, so alpha_max is picked without a comparison."""
    hazard = VECTORS["float32_hazards"][2]
    q_NK = torch.tensor(hazard["student"], requires_grad=True)
    p_NK = torch.tensor(hazard["teacher"])
    low, high = (alpha_divergence(q_NK, p_NK, alpha=alpha, clip=5.0) for alpha in (-1.0, 1.0))
    assert high.value_N > low.value_N
    assert AdaptiveAlpha()(q_NK, p_NK, torch.tensor([0])) == high.surrogate_N


def test_the_larger_divergence_wins_per_image_and_ties_go_to_alpha_max() -> None:
    case = next(c for c in VECTORS["adaptive"] if c["case"] == "mild" and c["alpha_max"] == 1.0)
    q_NK, p_NK = double(case["student"]), double(case["teacher"])
    low, high = (alpha_divergence(q_NK, p_NK, alpha=alpha, clip=5.0) for alpha in (-1.0, 1.0))
    picked = ["alpha_min" if a > b else "alpha_max" for a, b in zip(low.value_N, high.value_N, strict=True)]
    assert picked == case["picked"]
    same = next(c for c in VECTORS["adaptive"] if c["case"] == "identical")
    q_NK = double(same["student"])
    assert AdaptiveAlpha()(q_NK, q_NK, labels(same)) == FixedAlpha(alpha=1.0, clip=5.0)(q_NK, q_NK, labels(same))


def test_an_alpha_of_zero_is_taken_and_not_replaced() -> None:
    case = VECTORS["f_divergence"][0]
    q_NK, p_NK = double(case["student"]), double(case["teacher"])
    both = AdaptiveAlpha(alpha_min=0.0, alpha_max=0.0)(q_NK, p_NK, labels(case))
    assert both == FixedAlpha(alpha=0.0, clip=5.0)(q_NK, p_NK, labels(case))


def test_the_gradient_of_the_surrogate_is_that_of_the_divergence_where_nothing_is_clipped() -> None:
    case = VECTORS["f_divergence"][0]
    q_NK, p_NK = student(case), double(case["teacher"])
    for alpha in (-1.0, 0.0, 0.5, 1.0, 2.0):
        q, p = torch.softmax(q_NK, dim=1), torch.softmax(p_NK, dim=1)
        divergence = {
            0.0: lambda q=q, p=p: (q * (q / p).log()).sum(dim=1),
            1.0: lambda q=q, p=p: (p * (p / q).log()).sum(dim=1),
        }.get(alpha, lambda q=q, p=p, a=alpha: ((p**a) * q ** (1 - a) - q).sum(dim=1) / (a * (a - 1)))()
        (expected,) = torch.autograd.grad(divergence.mean(), q_NK)
        loss = FixedAlpha(alpha=alpha, clip=1e12)(q_NK, p_NK, labels(case))
        torch.testing.assert_close(torch.autograd.grad(loss, q_NK)[0], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_taken_to_float32(dtype: torch.dtype) -> None:
    case = VECTORS["f_divergence"][0]
    q_NK, p_NK = (torch.tensor(case[key], dtype=dtype) for key in ("student", "teacher"))
    found = AdaptiveAlpha()(q_NK, p_NK, labels(case))
    assert found.dtype is torch.float32
    assert found == AdaptiveAlpha()(q_NK.float(), p_NK.float(), labels(case))


def test_no_gradient_reaches_the_teacher() -> None:
    case = VECTORS["kl"][1]
    p_NK = double(case["teacher"]).requires_grad_()
    for loss in (SoftTargets(), SoftAndHardTargets(), KullbackLeibler(), FixedAlpha(alpha=-1.0), AdaptiveAlpha()):
        q_NK = student(case)
        assert torch.autograd.grad(loss(q_NK, p_NK, labels(case)), p_NK, allow_unused=True) == (None,)


def test_the_hardware_aware_loss_adds_the_logarithm_of_the_cost() -> None:
    cost = torch.tensor(30.0, dtype=torch.float64, requires_grad=True)
    loss = hardware_aware_loss(double(2.0), cost, weight=0.15, log_base=15.0)
    assert loss.item() == pytest.approx(2.0 + 0.15 * math.log(30.0) / math.log(15.0))
    loss.backward()
    assert cost.grad is not None
    assert cost.grad.item() == pytest.approx(0.15 / (30.0 * math.log(15.0)))


def test_settings_out_of_range_are_refused_by_name() -> None:
    one = torch.tensor(1.0)
    for call, message in (
        (lambda: KullbackLeibler(beta=1.5), "beta is 1.5"),
        (lambda: SoftTargets(temperature=0.0), "temperature is 0.0"),
        (lambda: SoftAndHardTargets(soft_weight=-0.1), "soft_weight is -0.1"),
        (lambda: FixedAlpha(alpha=math.nan), "alpha is nan"),
        (lambda: FixedAlpha(alpha=1.0, clip=math.inf), "clip is inf"),
        (lambda: AdaptiveAlpha(alpha_min=2.0), "swap them"),
        (lambda: smoothed_cross_entropy(torch.zeros(1, 2), torch.tensor([0]), smoothing=2.0), "smoothing is 2.0"),
        (lambda: hardware_aware_loss(one, one, weight=0.1, log_base=1.0), "log_base is 1.0"),
        (lambda: hardware_aware_loss(one, torch.tensor(0.0), weight=0.1, log_base=15.0), "expected cost is 0.0"),
        (lambda: hardware_aware_loss(one, torch.tensor(math.nan), weight=0.1, log_base=15.0), "expected cost is nan"),
    ):
        with pytest.raises(TrainingError, match=message):
            call()


def test_label_smoothing_of_zero_is_plain_cross_entropy() -> None:
    case = VECTORS["ce_smooth"][0]
    logits_NK, target_N = double(case["student"]), labels(case)
    plain = F.cross_entropy(logits_NK, target_N)
    torch.testing.assert_close(smoothed_cross_entropy(logits_NK, target_N, smoothing=0.0), plain)
