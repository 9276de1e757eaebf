"""Derivation of a DenseNAS architecture from its architecture parameters: Viterbi over blocks, argmax of operators.

Source: Fang et al., DenseNAS (CVPR 2020), Sec. 3.4 and supplementary A.2, Algorithm 1, with two misprints of
the algorithm corrected as in the published code: the recursion multiplies P[j] (not P[i-1]) by p_ji, over
the predecessors i - M_i <= j <= i - 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nas_engine.domain.architecture import Architecture
from nas_engine.domain.errors import InvalidArchitectureError
from nas_engine.spaces.densenas.routing import Routing, RoutingPath, beta_name, head_name, stack_name
from nas_engine.spaces.densenas.routing_weights import Vector, checked_logits, log_softmax
from nas_engine.spaces.densenas.space import DenseSpace

# Two paths whose log probabilities differ by less than this are equally likely: more than the rounding of a
# sum over a path, far less than any difference that means something.
TIE_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class BlockPath:
    """The most likely block sequence from block 0 to the last one, and the logarithm of its probability."""

    blocks: tuple[int, ...]
    log_probability: float


def most_likely_path(successors: Sequence[Sequence[int]], log_probabilities: Sequence[Sequence[float]]) -> BlockPath:
    """Viterbi in log space; of equally likely predecessors the nearest wins, as in the reference.

    Args:
        successors: for every block but the last, the later blocks it leads to.
        log_probabilities: logarithms of the transition probabilities, in the same order; -inf is allowed.

    Raises:
        InvalidArchitectureError: a transition leads backwards or outside, a probability is NaN or above 1,
            or no path of positive probability reaches the last block.
    """
    last = len(successors)
    best = [0.0] + [-math.inf] * last
    origin: list[int | None] = [None] * (last + 1)
    for source, (targets, logs) in enumerate(zip(successors, log_probabilities, strict=True)):
        for target, log_p in zip(targets, logs, strict=True):
            if not source < target <= last or not log_p <= TIE_TOLERANCE:
                raise InvalidArchitectureError(
                    f"transition {source} -> {target} with log probability {log_p}: it must lead forward to at most "
                    f"{last}, with a probability of at most 1"
                )
            # Sources come in ascending order, so on a tie the later one is the nearer predecessor.
            if best[source] + log_p >= best[target] - TIE_TOLERANCE and best[source] + log_p > -math.inf:
                best[target], origin[target] = max(best[target], best[source] + log_p), source
    if origin[last] is None:
        raise InvalidArchitectureError(f"no path of positive probability leads from block 0 to block {last}")
    blocks = [last]
    while (previous := origin[blocks[-1]]) is not None:
        blocks.append(previous)
    return BlockPath(tuple(reversed(blocks)), best[last])


def derive_path(routing: Routing, logits: Mapping[str, Sequence[float] | Vector]) -> RoutingPath:
    """The network that the architecture parameters stand for.

    Blocks by Viterbi on softmax(beta), without the temperature used in training (reference); operators by
    the largest alpha, the first of equal ones.

    Raises:
        InvalidArchitectureError: logits are missing, misshapen or not finite.
    """
    values = checked_logits(routing, logits)
    inner = routing.blocks[:-1]
    blocks = most_likely_path(
        [[edge.target for edge in routing.outgoing(block.index)] for block in inner],
        [[float(p) for p in log_softmax(values[beta_name(block.index)])] for block in inner],
    ).blocks
    heads, stacks = list[int](), list[tuple[int, ...]]()
    for source, block in pairwise(blocks[:-1]):
        heads.append(int(np.argmax(values[head_name(routing.edge_between[source, block])])))
        layers = range(routing.blocks[block].num_layers)
        stacks.append(tuple(int(np.argmax(values[stack_name(block, layer)])) for layer in layers))
    return RoutingPath(blocks, tuple(heads), tuple(stacks))


def derive_architecture(space: DenseSpace, logits: Mapping[str, Sequence[float] | Vector]) -> Architecture:
    """The derived network as an architecture of its space. Raises as `derive_path`."""
    return space.architecture_of(derive_path(space.routing, logits))
