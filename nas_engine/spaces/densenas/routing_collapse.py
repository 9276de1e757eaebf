"""Search collapse: a differentiable search that drifts to all skips, or to the cheapest operator everywhere.

Users of the published code met both (JaminFong/DenseNAS issue 18, FNA issue 15). The report weighs every
layer by how likely a path is to visit its block, so layers that no derived network would have do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from nas_engine.spaces.densenas.routing import Routing, beta_name, head_name, stack_name
from nas_engine.spaces.densenas.routing_weights import Vector, softmax, visit_probabilities


class Collapse(Enum):
    """What a search has collapsed to."""

    NONE = "none"
    SKIPS = "skips"  # nearly every stack layer would be left out
    CHEAPEST = "cheapest"  # nearly every layer would take the first (smallest) operator


@dataclass(frozen=True, slots=True, kw_only=True)
class CollapseReport:
    """State of the operator choices, visit-weighted over the supernet.

    Attributes:
        collapse: the verdict.
        skip_share: share of stack layers whose likeliest operator is the skip; 0 without a skip.
        cheapest_share: share of layers with a choice (skipped ones apart) whose likeliest operator is the
            first, which the published operator lists put smallest; 0 where no layer has another.
        mean_entropy: of the operator distributions, relative to uniform ones; 1 at the start, 0 when decided.
    """

    collapse: Collapse
    skip_share: float
    cheapest_share: float
    mean_entropy: float


@dataclass(slots=True)
class _Shares:
    """Visit-weighted sums over the layers."""

    stack: float = 0.0
    skipped: float = 0.0
    chosen: float = 0.0
    cheapest: float = 0.0
    entropy: float = 0.0
    layers: float = 0.0


def collapse_report(routing: Routing, logits: Mapping[str, Vector], threshold: float = 0.9) -> CollapseReport:
    """Whether at least `threshold` of the layers have gone one way.

    A fresh supernet is not collapsed: its argmaxes are random.
    """
    visits, sums = visit_probabilities(routing, logits), _Shares()
    for block in routing.routing_blocks:
        for edge in routing.incoming(block.index):
            betas = softmax(logits[beta_name(edge.source)])
            taken = float(visits[edge.source] * betas[routing.outgoing(edge.source).index(edge)])
            _add(sums, logits[head_name(edge)], taken, skip=None)
        for layer in range(block.num_layers):
            values, weight = logits[stack_name(block.index, layer)], float(visits[block.index])
            sums.stack += weight
            sums.skipped += weight * (int(np.argmax(values)) == routing.skip)
            _add(sums, values, weight, skip=routing.skip)
    skip_share = sums.skipped / sums.stack if sums.stack else 0.0
    cheapest_share = sums.cheapest / sums.chosen if sums.chosen else 0.0
    verdict = Collapse.NONE
    if skip_share >= threshold:
        verdict = Collapse.SKIPS
    elif cheapest_share >= threshold:
        verdict = Collapse.CHEAPEST
    return CollapseReport(
        collapse=verdict,
        skip_share=skip_share,
        cheapest_share=cheapest_share,
        mean_entropy=sums.entropy / sums.layers if sums.layers else 0.0,
    )


def _add(sums: _Shares, values: Vector, weight: float, skip: int | None) -> None:
    """Count one layer; a layer with one operator (skips apart) has no cheapest one to collapse to."""
    if len(values) < 2:
        return
    weights = softmax(values)
    positive = weights[weights > 0]
    sums.layers += weight
    sums.entropy += weight * float(-(positive * np.log(positive)).sum()) / float(np.log(len(values)))
    likeliest, num_real = int(np.argmax(values)), len(values) - (skip is not None)
    if num_real > 1 and likeliest != skip:
        sums.chosen += weight
        sums.cheapest += weight * (likeliest == 0)
