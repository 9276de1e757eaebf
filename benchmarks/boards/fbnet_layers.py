"""FBNet's searchable layers: what each operator computes and moves in each (Wu et al. 2019, Table 1 and Fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas_engine.cost.prediction.choice_costs import ChoiceCosts
from nas_engine.domain.views.operator_totals import QUANTITIES, OperatorKind

FBNET_STAGES = (1, 4, 4, 4, 4, 4, 1)
"""Searchable layers per stage."""

CHANNELS = (16, 16, 24, 32, 64, 112, 184, 352)
"""Channels before the first stage and after each."""

SIDES = (112, 112, 56, 28, 14, 14, 7, 7)
"""Height and width before the first stage and after each."""


def choice_costs(options: Sequence[str]) -> ChoiceCosts:
    """What each layer's operator adds to a network's operator totals, as layer graphs say it of a product's spaces."""
    rows = []
    for stage, num_layers in enumerate(FBNET_STAGES):
        for layer in range(num_layers):
            first = layer == 0
            wide_in, wide_out = CHANNELS[stage + (not first)], CHANNELS[stage + 1]
            before, after = SIDES[stage + (not first)] ** 2, SIDES[stage + 1] ** 2
            rows += [_totals(option, wide_in, wide_out, before, after).ravel() for option in options]
    table = np.asarray(rows)
    return ChoiceCosts(table[:, table.std(axis=0) > 0.0])


def _totals(option: str, wide_in: int, wide_out: int, before: int, after: int) -> np.ndarray:  # type: ignore[type-arg]
    """Operator totals of one block between this many channels and pixels."""
    totals = np.zeros((len(OperatorKind), len(QUANTITIES)))
    places = {kind: place for place, kind in enumerate(OperatorKind)}
    keeps_shape = before == after and wide_in == wide_out

    def convolve(kind: OperatorKind, channels: tuple[int, int], pixels: tuple[int, int], per_output: float) -> None:
        weights = channels[1] * per_output
        moved = channels[0] * pixels[0] + channels[1] * pixels[1]
        totals[places[kind]] += (1, weights * pixels[1], moved, weights)

    if option == "skip":
        if not keeps_shape:
            convolve(OperatorKind.POINTWISE, (wide_in, wide_out), (before, after), wide_in)
        return totals
    kernel, wide = int(option[1]), int(option[4]) * wide_in
    groups = 2 if option.endswith("g2") else 1
    pointwise = OperatorKind.GROUPED if groups > 1 else OperatorKind.POINTWISE
    convolve(pointwise, (wide_in, wide), (before, before), wide_in / groups)
    convolve(OperatorKind.DEPTHWISE, (wide, wide), (before, after), kernel**2)
    convolve(pointwise, (wide, wide_out), (after, after), wide / groups)
    if keeps_shape:
        totals[places[OperatorKind.JOINING]] += (1, 0, 3 * wide_out * after, 0)
    return totals
