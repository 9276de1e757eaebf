"""Collapse of a differentiable search: recognised, and not seen where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from nas_engine.spaces.densenas.parameters import DenseMbv2Parameters, DenseResNetParameters
from nas_engine.spaces.densenas.routing import Routing
from nas_engine.spaces.densenas.routing_collapse import Collapse, collapse_report
from nas_engine.spaces.densenas.routing_weights import Vector, initial_logits, one_hot_logits
from nas_engine.spaces.densenas.space import DenseSpace

MBV2 = DenseMbv2Parameters().routing()
RESNET = DenseResNetParameters().routing()


def leaning(routing: Routing, operator: int, size: int) -> dict[str, Vector]:
    """Logits that prefer one operator in every layer of that many operators."""
    logits = {name: np.zeros(length) for name, length in routing.coefficient_sizes()}
    for name, values in logits.items():
        if not name.startswith("beta") and len(values) == size:
            values[operator] = 3.0
    return logits


@pytest.mark.parametrize("routing", [MBV2, RESNET], ids=["mbv2", "resnet"])
def test_a_fresh_search_is_not_collapsed(routing: Routing) -> None:
    report = collapse_report(routing, initial_logits(routing, np.random.default_rng(0)))
    assert report.collapse is Collapse.NONE
    assert report.mean_entropy == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(("routing", "size"), [(MBV2, 7), (RESNET, 2)], ids=["mbv2", "resnet"])
def test_skips_everywhere_are_a_collapse(routing: Routing, size: int) -> None:
    report = collapse_report(routing, leaning(routing, size - 1, size))
    assert report.collapse is Collapse.SKIPS
    assert report.skip_share == pytest.approx(1.0)


def test_the_smallest_operator_everywhere_is_a_collapse() -> None:
    logits = leaning(MBV2, 0, 7) | {k: v for k, v in leaning(MBV2, 0, 6).items() if "head" in k}
    report = collapse_report(MBV2, logits)
    assert report.collapse is Collapse.CHEAPEST
    assert report.skip_share == 0.0
    assert report.mean_entropy < 0.5


def test_a_space_with_one_real_operator_cannot_collapse_to_the_cheapest() -> None:
    report = collapse_report(RESNET, leaning(RESNET, 0, 2))
    assert report.collapse is Collapse.NONE
    assert report.cheapest_share == 0.0


def test_layers_that_no_path_reaches_do_not_count() -> None:
    space = DenseSpace(DenseMbv2Parameters())
    path = space.path_of(space.parse("densenas-c"))
    assert path is not None
    # Off the path every argmax is the first operator (all logits equal); on it the published choices stand.
    report = collapse_report(MBV2, one_hot_logits(MBV2, path))
    assert report.collapse is Collapse.NONE
    # Six blocks with three stack layers each lie on the path; C leaves out 3 + 2 + 1 + 1 of the 18.
    assert report.skip_share == pytest.approx(7 / 18)
    chosen = [*(h for h in path.heads), *(o for stack in path.stacks for o in stack if o != 6)]
    assert report.cheapest_share == pytest.approx(sum(o == 0 for o in chosen) / len(chosen))
