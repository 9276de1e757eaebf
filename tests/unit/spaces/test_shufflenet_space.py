"""The SPOS space against the published implementation's numbers."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from nas_engine.domain.errors import InvalidArchitectureError, InvalidGenotypeError, InvalidSpaceError
from nas_engine.domain.layer_graph import BatchNorm, Dropout
from nas_engine.domain.search_space import Form
from nas_engine.domain.views.complexity import complexity
from nas_engine.spaces.registry import create_space
from nas_engine.spaces.shufflenet import ShuffleNetParameters, ShuffleNetSpace
from tests.support.reference import known_answers, vectors

SPOS = ShuffleNetSpace()
PUBLISHED = [m for m in known_answers("spos_shufflenetv2_20x4") if m["encoding"]]
TABLE = vectors("spos_macs_table")


def deployed(space: ShuffleNetSpace, genotype: list[int]) -> tuple[int, int]:
    cost = complexity(space.graph(space.decode(genotype), Form.DEPLOYED))
    return cost.macs, cost.params


@pytest.mark.parametrize("model", PUBLISHED, ids=lambda m: m["model"])
def test_published_models_have_the_measured_macs_and_params_to_the_unit(model: dict) -> None:
    space = ShuffleNetSpace(ShuffleNetParameters(num_classes=100 if "100-class" in model["model"] else 1000))
    macs, params = deployed(space, model["encoding"])
    assert macs == round(model["measured_macs_M"] * 1e6)
    assert params == round(model["measured_params_M"] * 1e6)


@pytest.mark.parametrize("row", TABLE["random_archs"], ids=lambda r: str(r["macs"]))
def test_random_reference_architectures_match_to_the_unit(row: dict) -> None:
    assert deployed(SPOS, row["arch"]) == (row["macs"], row["params"])


@pytest.mark.parametrize("choice", range(4))
def test_macs_and_params_of_every_block_equal_the_reference_table(choice: int) -> None:
    cost = complexity(SPOS.graph(SPOS.decode([choice] * 20), Form.DEPLOYED))
    for index, gene in enumerate(SPOS.genes):
        layers = [layer for layer in cost.layers if layer.block == gene.name]
        assert sum(layer.macs for layer in layers) == TABLE["macs_per_layer_op"][index][choice]
        assert sum(layer.params for layer in layers) == TABLE["params_per_layer_op"][index][choice]


def test_the_extremes_of_the_space_are_the_published_ones() -> None:
    table = np.array(TABLE["macs_per_layer_op"])
    assert deployed(SPOS, list(table.argmin(axis=1)))[0] == TABLE["min_macs"]
    assert deployed(SPOS, list(table.argmax(axis=1)))[0] == TABLE["max_macs"]


def test_the_supernet_holds_the_published_number_of_weights() -> None:
    shapes = {ref.name: ref.full_shape for graph in SPOS.supernet_graphs() for ref in graph.weights.values()}
    supernet = next(m for m in known_answers("spos_shufflenetv2_20x4") if m["model"] == "SPOS supernet (weights)")
    assert sum(prod(shape) for shape in shapes.values()) == round(supernet["measured_params_M"] * 1e6)


def test_forms_differ_in_affine_and_dropout_only() -> None:
    architecture = SPOS.decode([0] * 20)
    supernet, plain = (SPOS.graph(architecture, form) for form in (Form.SUPERNET, Form.DEPLOYED))
    assert all(bn.weight is None for bn in supernet.of_type(BatchNorm))
    assert all(bn.weight is not None for bn in plain.of_type(BatchNorm))
    assert len(list(supernet.of_type(Dropout))) == 1
    assert not list(plain.of_type(Dropout))


def test_published_names_are_read_with_another_head_but_not_with_other_widths() -> None:
    assert "spos-searched" in ShuffleNetSpace(ShuffleNetParameters(num_classes=10)).named
    small = ShuffleNetSpace(ShuffleNetParameters(input_size=32, stem_stride=1))
    assert not small.named
    with pytest.raises(InvalidArchitectureError, match="spos-searched"):
        small.parse("spos-searched")


def test_a_wrong_gene_is_named_with_what_is_allowed() -> None:
    with pytest.raises(InvalidGenotypeError, match=r"gene 3 \(stage0.block3\) is 4: allowed are 0=shuffle3"):
        SPOS.decode([0, 0, 0, 4] + [0] * 16)
    with pytest.raises(InvalidGenotypeError, match="has 19 genes, this space has 20"):
        SPOS.decode([0] * 19)
    with pytest.raises(InvalidGenotypeError, match="gene 0"):
        SPOS.decode([True] * 20)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"num_classes": 1}, "num_classes is 1"),
        ({"stage_channels": [64, 162, 320, 640]}, "multiples of 4"),
        ({"stage_channels": [64, 160, 160, 640]}, "each above the one before"),
        ({"stem_channels": 64}, "above stem_channels"),
        ({"stage_repeats": [4, 4]}, "as long as stage_channels"),
        ({"input_size": 16}, "at least 32"),
        ({"depth": 3}, "unknown space parameter 'depth'"),
        ({"num_classes": "ten"}, "an integer"),
        ({"stage_repeats": 4}, "a list"),
        ({"stage_repeats": [4, 4, 1_000_000, 4]}, "96 blocks or fewer in all"),
        ({"stage_repeats": [1] * 257, "stage_channels": [64] * 257}, "a list of 256 or fewer"),
        ({"num_classes": 10**20}, "1,000,000 or less"),
        ({"input_size": 10**9}, "1,000,000 or less"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_allowed(document: dict, message: str) -> None:
    with pytest.raises(InvalidSpaceError, match=message):
        create_space("spos", document)


def test_an_unknown_space_is_refused_with_the_known_ids() -> None:
    with pytest.raises(InvalidSpaceError, match=r"unknown search space 'nope': known are spos"):
        create_space("nope")


def test_an_architecture_of_other_parameters_is_refused() -> None:
    other = ShuffleNetSpace(ShuffleNetParameters(num_classes=10)).decode([0] * 20)
    with pytest.raises(InvalidArchitectureError, match="was made with parameters"):
        SPOS.graph(other, Form.DEPLOYED)
