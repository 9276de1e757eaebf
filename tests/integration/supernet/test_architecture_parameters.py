"""Masked Adam and re-balancing of DenseNAS architecture parameters (torch as an array library, no training)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nas_engine.domain.errors import TrainingError
from nas_engine.spaces.densenas.parameters import DenseMbv2Parameters
from nas_engine.spaces.densenas.routing_weights import initial_logits, normalise, sample_operators, softmax
from nas_engine.training.strategies.architecture_parameters import ArchitectureParameters

CPU = torch.device("cpu")
ROUTING = DenseMbv2Parameters().routing()
SIZE = sum(size for _, size in ROUTING.coefficient_sizes())


def parameters(learning_rate: float = 3e-4, weight_decay: float = 1e-3) -> ArchitectureParameters:
    logits = {name: 0.5 * v / 1e-3 for name, v in initial_logits(ROUTING, np.random.default_rng(0)).items()}
    return ArchitectureParameters(ROUTING, logits, learning_rate=learning_rate, weight_decay=weight_decay)


def selection(seed: int, num_operators: int = 2) -> dict[str, tuple[int, ...]]:
    return sample_operators(ROUTING, np.random.default_rng(seed), num_operators=num_operators)


def test_dropped_operators_keep_value_and_probability_over_many_updates() -> None:
    own = parameters(learning_rate=0.1)
    rng = torch.Generator().manual_seed(0)
    for step in range(20):
        before, kept = own.logits(), selection(step)
        own.update(torch.randn(SIZE, generator=rng), kept)
        after = own.logits()
        for name, sampled in kept.items():
            dropped = [i for i in range(len(before[name])) if i not in sampled]
            np.testing.assert_array_equal(after[name][dropped], before[name][dropped])
            np.testing.assert_allclose(softmax(after[name])[dropped], softmax(before[name])[dropped], rtol=1e-12)
            assert not np.array_equal(after[name][list(sampled)], before[name][list(sampled)])


def test_betas_are_never_dropped_and_follow_torchs_own_adam() -> None:
    own = parameters(learning_rate=0.01)
    names = [name for name, _ in ROUTING.coefficient_sizes() if name.startswith("beta.")]
    reference = torch.nn.Parameter(torch.from_numpy(np.concatenate([own.logits()[n] for n in names])))
    adam = torch.optim.Adam([reference], lr=0.01, betas=(0.5, 0.999), weight_decay=1e-3)
    rng = torch.Generator().manual_seed(1)
    for step in range(15):
        gradient = torch.randn(SIZE, generator=rng, dtype=torch.float64)
        own.update(gradient, selection(step))
        reference.grad = gradient[: len(reference)].clone()
        adam.step()
    np.testing.assert_allclose(np.concatenate([own.logits()[n] for n in names]), reference.detach(), rtol=1e-10)


def test_sampled_operators_follow_torchs_own_adam_up_to_the_balancing_bias() -> None:
    own = parameters(learning_rate=0.05)
    everything: dict[str, tuple[int, ...]] = {}
    before = own.logits()["alpha.stack.4.0"]
    reference = torch.nn.Parameter(torch.from_numpy(before.copy()))
    adam = torch.optim.Adam([reference], lr=0.05, betas=(0.5, 0.999), weight_decay=1e-3)
    gradient = torch.randn(SIZE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    own.update(gradient, everything)
    start = 0
    for name, size in ROUTING.coefficient_sizes():
        if name == "alpha.stack.4.0":
            break
        start += size
    reference.grad = gradient[start : start + len(before)].clone()
    adam.step()
    shift = own.logits()["alpha.stack.4.0"] - reference.detach().numpy()
    np.testing.assert_allclose(shift, shift[0], rtol=1e-9)
    assert np.exp(own.logits()["alpha.stack.4.0"]).sum() == pytest.approx(np.exp(before).sum(), rel=1e-12)


def test_coefficients_equal_the_float64_ones_and_carry_gradients_to_sampled_operators_only() -> None:
    own, kept = parameters(), selection(3)
    leaf = own.leaf(CPU)
    weights = own.coefficients(leaf, kept, beta_temperature=0.9)
    expected = normalise(own.logits(), beta_temperature=0.9, selection=kept)
    assert weights.keys() == expected.keys()
    for name, values in weights.items():
        np.testing.assert_allclose(values.detach(), expected[name], rtol=1e-5, atol=1e-7)
    (gradient,) = torch.autograd.grad(sum(v.square().sum() for v in weights.values()), leaf)
    start = 0
    for name, size in ROUTING.coefficient_sizes():
        if name in kept:
            dropped = [start + i for i in range(size) if i not in kept[name]]
            assert gradient[dropped].abs().sum() == 0
        start += size


def test_state_survives_a_round_trip_and_damage_is_refused() -> None:
    own = parameters(learning_rate=0.1)
    own.update(torch.ones(SIZE), selection(4))
    stored = own.tensors()
    other = parameters(learning_rate=0.1)
    other.restore(stored)
    for again in (own, other):
        again.update(torch.ones(SIZE), selection(5))
    assert all(torch.equal(a, b) for a, b in zip(own.tensors().values(), other.tensors().values(), strict=True))
    for damaged in ({}, {**stored, "logits": stored["logits"][1:]}, {**stored, "logits": stored["logits"] * torch.nan}):
        with pytest.raises(TrainingError, match="finite logits"):
            other.restore(damaged)


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    own = parameters()
    before = own.logits()
    with pytest.raises(TrainingError, match="not finite"):
        own.update(torch.full((SIZE,), torch.nan), selection(6))
    assert all(np.array_equal(before[name], values) for name, values in own.logits().items())
