"""Derivation against the reference's vectors, ties included."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nas_engine.domain.errors import InvalidArchitectureError
from nas_engine.spaces.densenas.parameters import DenseMbv2Parameters, DenseResNetParameters
from nas_engine.spaces.densenas.routing_weights import one_hot_logits
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.densenas.viterbi import derive_architecture, most_likely_path
from tests.support.reference import vectors
from tests.unit.cost.test_chained_cost import TOYS, toy_logits, toy_space

CASES = vectors("densenas_chained_cost_viterbi")["viterbi"]
SPACES = (DenseSpace(DenseMbv2Parameters()), DenseSpace(DenseResNetParameters()))
IN_SPACE = [(s, name) for s in SPACES for name in s.named if name != "densenas-r3"]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"seed{c['seed']}{'-tie' if c['tie'] else ''}")
def test_the_most_likely_path_is_the_reference_one(case: dict) -> None:
    found = most_likely_path(case["out_id"], [np.log(row).tolist() for row in case["path_prob"]])
    assert list(found.blocks) == case["ref_path"]
    assert math.exp(found.log_probability) == pytest.approx(case["ref_path_prob"], rel=1e-12)


@pytest.mark.parametrize("case", TOYS, ids=lambda c: f"seed{c['seed']}")
def test_toy_supernets_derive_to_the_reference_network(case: dict) -> None:
    space = toy_space(case)
    architecture = derive_architecture(space, toy_logits(space.routing, case))
    assert space.net_config(architecture).as_json() == case["derived_arch"]
    path = space.path_of(architecture)
    assert path is not None
    assert list(path.blocks) == case["viterbi_block_index_path"]


@pytest.mark.parametrize(("space", "name"), IN_SPACE, ids=lambda v: v if isinstance(v, str) else "")
def test_one_hot_parameters_derive_to_exactly_their_network(space: DenseSpace, name: str) -> None:
    architecture = space.parse(name)
    path = space.path_of(architecture)
    assert path is not None
    assert derive_architecture(space, one_hot_logits(space.routing, path)) == architecture


def test_long_chains_do_not_underflow() -> None:
    length = 3000
    successors = [[i + 1, i + 2] if i + 2 <= length else [i + 1] for i in range(length)]
    logs = [[math.log(0.4), math.log(0.6)] if len(row) == 2 else [0.0] for row in successors]
    found = most_likely_path(successors, logs)
    assert found.log_probability == pytest.approx(length / 2 * math.log(0.6))


def test_a_path_through_an_impossible_transition_is_never_chosen() -> None:
    assert most_likely_path([[1, 2], [2]], [[-math.inf, -5.0], [0.0]]).blocks == (0, 2)


@pytest.mark.parametrize(
    ("successors", "logs", "message"),
    [
        ([[1], [2]], [[-math.inf], [0.0]], "no path of positive probability"),
        ([[1], [1]], [[0.0], [0.0]], "transition 1 -> 1"),
        ([[2], [2]], [[math.nan], [0.0]], "log probability nan"),
        ([[3], [2]], [[0.0], [0.0]], "at most 2"),
        ([[1], [2]], [[0.5], [0.0]], "probability of at most 1"),
    ],
)
def test_transitions_that_make_no_sense_are_refused(
    successors: list[list[int]], logs: list[list[float]], message: str
) -> None:
    with pytest.raises(InvalidArchitectureError, match=message):
        most_likely_path(successors, logs)


def test_non_finite_architecture_parameters_are_refused() -> None:
    space = SPACES[1]
    logits = {name: np.zeros(size) for name, size in space.routing.coefficient_sizes()}
    logits["beta.3"][0] = np.inf
    with pytest.raises(InvalidArchitectureError, match="beta.3"):
        derive_architecture(space, logits)
