"""Values of a routing's coefficients: normalisation, drop-path sampling and re-balancing, in float64.

Sources: Fang et al., DenseNAS (CVPR 2020), Sec. 3.2-3.4, and its supplementary material A.3 (dropping
paths, Eq. 1). A set of coefficients is a mapping from coefficient name (see `nas_engine.spaces.densenas.routing`)
to one vector; logits and normalised weights have the same names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.errors import InvalidArchitectureError
from nas_engine.spaces.densenas.routing import Routing, RoutingPath, beta_name, head_name, stack_name

Vector = NDArray[np.float64]
Coefficients = Mapping[str, Vector]
OperatorSelection = Mapping[str, tuple[int, ...]]
"""Sampled operators (sorted indices) by coefficient name; a name that is absent keeps all of them."""

INITIAL_LOGIT_STD = 1e-3  # reference: every architecture parameter starts as 1e-3 * N(0, 1)


def softmax(logits: Sequence[float] | Vector, temperature: float = 1.0) -> Vector:
    """Softmax of one vector; safe for logits of any size."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max())
    result: Vector = exponentials / exponentials.sum()
    return result


def log_softmax(logits: Sequence[float] | Vector) -> Vector:
    """Logarithm of the softmax, without underflow."""
    values = np.asarray(logits, dtype=np.float64)
    shifted = values - values.max()
    result: Vector = shifted - np.log(np.exp(shifted).sum())
    return result


def initial_logits(routing: Routing, rng: np.random.Generator) -> dict[str, Vector]:
    """Fresh architecture parameters."""
    return {name: INITIAL_LOGIT_STD * rng.standard_normal(size) for name, size in routing.coefficient_sizes()}


def checked_logits(routing: Routing, logits: Mapping[str, Sequence[float] | Vector]) -> dict[str, Vector]:
    """Logits as float64 vectors, complete and finite.

    Raises:
        InvalidArchitectureError: a vector is missing, has the wrong length, holds a non-finite number, or
            belongs to no coefficient of the routing.
    """
    expected = dict(routing.coefficient_sizes())
    unknown = sorted(set(logits) - set(expected))
    if unknown:
        raise InvalidArchitectureError(
            f"{unknown[0]!r} is no coefficient of this routing: its blocks end at {routing.end}"
        )
    checked: dict[str, Vector] = {}
    for name, size in expected.items():
        if name not in logits:
            raise InvalidArchitectureError(f"architecture parameter {name} is missing: it needs {size} values")
        values = np.asarray(logits[name], dtype=np.float64)
        if values.shape != (size,) or not np.isfinite(values).all():
            raise InvalidArchitectureError(f"architecture parameter {name} is {values}: it needs {size} finite values")
        checked[name] = values
    return checked


def normalise(
    logits: Mapping[str, Vector],
    *,
    beta_temperature: float = 1.0,
    selection: OperatorSelection | None = None,
) -> dict[str, Vector]:
    """Softmax of every vector; of the sampled operators only where there is a selection (others are 0).

    The temperature acts on the betas alone, as in the reference (its operator mixture never receives it).
    """
    weights: dict[str, Vector] = {}
    for name, values in logits.items():
        if name.startswith("beta."):
            weights[name] = softmax(values, beta_temperature)
        elif selection is None or name not in selection:
            weights[name] = softmax(values)
        else:
            kept = list(selection[name])
            weights[name] = np.zeros(len(values))
            weights[name][kept] = softmax(values[kept])
    return weights


def one_hot_logits(routing: Routing, path: RoutingPath, logit: float = 60.0) -> dict[str, Vector]:
    """Logits under which all probability mass lies on one network; blocks off the path stay uniform."""
    routing.validate(path)
    logits = {name: np.zeros(size) for name, size in routing.coefficient_sizes()}
    for source, target in pairwise(path.blocks):
        edge = routing.edge_between[source, target]
        logits[beta_name(source)][routing.outgoing(source).index(edge)] = logit
    for position, block in enumerate(path.blocks[1:-1]):
        edge = routing.edge_between[path.blocks[position], block]
        logits[head_name(edge)][path.heads[position]] = logit
        for layer, operator in enumerate(path.stacks[position]):
            logits[stack_name(block, layer)][operator] = logit
    return logits


def sample_operators(
    routing: Routing,
    rng: np.random.Generator,
    *,
    num_operators: int,
    logits: Mapping[str, Vector] | None = None,
) -> dict[str, tuple[int, ...]]:
    """Drop-path: `num_operators` distinct operators of every layer, the others are dropped.

    Drawn from softmax(alpha), or uniformly where `logits` is None (before architecture updates start).
    Betas are never dropped. A layer with no more operators than asked for keeps all of them.
    """
    selection: dict[str, tuple[int, ...]] = {}
    for name, size in routing.coefficient_sizes():
        if name.startswith("beta."):
            continue
        if num_operators >= size:
            selection[name] = tuple(range(size))
            continue
        probability: Vector | None = None
        if logits is not None:
            # Underflowed probabilities are lifted just above zero, so that a draw without replacement always succeeds.
            lifted = np.maximum(softmax(logits[name]), np.finfo(np.float64).tiny)
            probability = lifted / lifted.sum()
        drawn = rng.choice(size, size=num_operators, replace=False, p=probability)
        selection[name] = tuple(sorted(int(index) for index in drawn))
    return selection


def rebalancing_bias(old: Sequence[float] | Vector, updated: Sequence[float] | Vector) -> float:
    """Eq. 1: ``ln(sum exp(old) / sum exp(updated))`` over the sampled operators of one layer."""
    return _log_sum_exp(np.asarray(old, dtype=np.float64)) - _log_sum_exp(np.asarray(updated, dtype=np.float64))


def rebalance(old: Vector, updated: Vector, sampled: Sequence[int]) -> Vector:
    """The layer's logits after an update of the sampled ones.

    Sampled logits take their updated value plus the bias of Eq. 1, all others keep their old value: the
    probability of every unsampled operator is unchanged.
    """
    kept = list(sampled)
    balanced = np.array(old, dtype=np.float64)
    balanced[kept] = updated[kept] + rebalancing_bias(old[kept], updated[kept])
    return balanced


def visit_probabilities(routing: Routing, logits: Mapping[str, Vector]) -> Vector:
    """Probability that a path drawn edge by edge from softmax(beta) visits each block."""
    visits = np.zeros(len(routing.blocks))
    visits[0] = 1.0
    for block in routing.blocks[:-1]:
        weights = softmax(logits[beta_name(block.index)])
        for weight, edge in zip(weights, routing.outgoing(block.index), strict=True):
            visits[edge.target] += visits[block.index] * weight
    return visits


def _log_sum_exp(values: Vector) -> float:
    top = values.max()
    return float(top + np.log(np.exp(values - top).sum()))
