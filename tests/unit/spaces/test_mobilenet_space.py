"""The SCARLET spaces against the published implementation's numbers."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import pytest

from nas_engine.domain.errors import InvalidArchitectureError, InvalidGenotypeError, InvalidSpaceError
from nas_engine.domain.layer_graph import Activation, ActivationKind, Add, BatchNorm, Conv2d, LayerGraph, Pool
from nas_engine.domain.search_space import Form
from nas_engine.domain.views.complexity import complexity
from nas_engine.spaces.mobilenet import S1, S2, MobileNetSpace
from nas_engine.spaces.registry import create_space
from tests.support.reference import known_answers, vectors

SCARLET_S1, SCARLET_S2 = MobileNetSpace(S1), MobileNetSpace(S2)
SKIP_S1, SKIP_S2 = 6, 12
TABLE = vectors("scarlet_macs_table")


def deployed(space: MobileNetSpace, document: object) -> tuple[int, int]:
    cost = complexity(space.graph(space.parse(document), Form.DEPLOYED))
    return cost.macs, cost.params


@pytest.mark.parametrize(
    ("space", "key", "model"),
    [(SCARLET_S1, "s1_indices", m) for m in known_answers("scarlet_S1_19x7")]
    + [(SCARLET_S2, "s2_indices_our_order", m) for m in known_answers("scarlet_S2_19x13")],
    ids=lambda value: value["model"] if isinstance(value, dict) else "",
)
def test_published_models_have_the_measured_macs_and_params_to_the_unit(
    space: MobileNetSpace, key: str, model: dict
) -> None:
    assert deployed(space, model["encoding"][key]) == (
        round(model["measured_macs_M"] * 1e6),
        round(model["measured_params_M"] * 1e6),
    )


@pytest.mark.parametrize(
    ("space", "name", "macs", "params"),
    [
        # reference/scarlet.md to the printed digits; parameters as other re-implementations count them.
        (SCARLET_S1, "fairnas-a", 388.12, 4651352),
        (SCARLET_S1, "fairnas-b", 345.30, 4506272),
        (SCARLET_S1, "fairnas-c", 321.02, 4397864),
        (SCARLET_S2, "scarlet-b", 326.85, 6531556),
    ],
)
def test_models_without_a_vector_match_their_printed_figures(
    space: MobileNetSpace, name: str, macs: float, params: int
) -> None:
    found = deployed(space, name)
    assert round(found[0] / 1e6, 2) == macs
    assert found[1] == params


@pytest.mark.parametrize("letter", "AC")
def test_the_published_configurations_decode_to_their_kernels_widths_strides_and_gates(letter: str) -> None:
    published = TABLE["scarlet"][letter]
    graph = SCARLET_S2.graph(SCARLET_S2.parse(f"SCARLET-{letter}"), Form.DEPLOYED)
    for gene, config in zip(SCARLET_S2.genes, published["config"], strict=True):
        layers = [node for node in graph.of_type(Conv2d) if node.block == gene.name]
        nodes = {node.name.removesuffix(".merged").split(".")[-2]: node for node in layers}
        if config == "identity":
            assert not nodes
            continue
        expand, out, kernel, stride, gate = config
        assert nodes["expand"].shape[0] == expand * graph.nodes[nodes["expand"].inputs[0]].shape[0]
        assert (nodes["depthwise"].weight.shape[2], nodes["depthwise"].stride) == (kernel, stride)
        assert nodes["project"].shape[0] == out
        assert ("se" in nodes) == gate
    assert deployed(SCARLET_S2, f"scarlet-{letter.lower()}") == (published["macs"], published["params"])


@pytest.mark.parametrize("choice", range(12))
def test_macs_and_params_of_every_layer_equal_the_reference_table(choice: int) -> None:
    cost = complexity(SCARLET_S2.graph(SCARLET_S2.decode([choice] * 19), Form.DEPLOYED))
    for index, gene in enumerate(SCARLET_S2.genes):
        layers = [layer for layer in cost.layers if layer.block == gene.name]
        assert sum(layer.macs for layer in layers) == TABLE["macs_per_layer_choice"][index][choice]
        assert sum(layer.params for layer in layers) == TABLE["params_per_layer_choice"][index][choice]
    fixed = {block: [layer for layer in cost.layers if layer.block == block] for block in ("stem", "tail", "head")}
    for block, macs, params in (
        ("stem", "stem_sep_macs", "stem_sep_params"),
        ("tail", "tail_conv_macs_320", "tail_conv_params_320"),
        ("head", "fc_macs", "fc_params"),
    ):
        assert sum(layer.macs for layer in fixed[block]) == TABLE[macs]
        assert sum(layer.params for layer in fixed[block]) == TABLE[params]


@pytest.mark.parametrize("space", [SCARLET_S1, SCARLET_S2], ids=["S1", "S2"])
def test_the_all_identity_model_keeps_16_channels_and_only_subsamples(space: MobileNetSpace) -> None:
    graph = space.graph(space.parse("all-identity"), Form.DEPLOYED)
    assert complexity(graph).macs == TABLE["all_identity"]["macs"] == 23_156_736
    assert [(node.kernel, node.stride, node.shape[0]) for node in graph.of_type(Pool)] == [(1, 2, 16)] * 4


def test_all_k7e6_with_and_without_gates_match_the_table() -> None:
    assert deployed(SCARLET_S2, "all-k7e6")[0] == TABLE["all_k7e6"]["macs"]
    assert deployed(SCARLET_S2, "all-k7e6-se")[0] == TABLE["all_k7e6_se"]["macs"]


def test_the_sizes_are_the_published_ones_and_the_choices_stand_in_the_published_order() -> None:
    assert (SCARLET_S1.size, SCARLET_S2.size) == (7**19, 13**19)
    assert SCARLET_S1.genes[0].options == ("e3k3", "e3k5", "e3k7", "e6k3", "e6k5", "e6k7", "skip")
    assert list(SCARLET_S2.genes[0].options[:12]) == [
        label.lower() for label in TABLE["choices_listing"] if label.lower() not in ("identity", "skip")
    ]


def activations(graph: LayerGraph) -> set[ActivationKind]:
    return {node.kind for node in graph.of_type(Activation) if node.block.startswith("stage")}


def test_s1_uses_relu6_and_s2_hswish() -> None:
    relu6, hswish = (s.graph(s.parse("all-k7e6"), Form.DEPLOYED) for s in (SCARLET_S1, SCARLET_S2))
    assert activations(relu6) == {ActivationKind.RELU6}
    assert activations(hswish) == {ActivationKind.HSWISH}


def test_a_skip_is_a_purely_linear_layer_of_the_supernet_and_absent_when_deployed() -> None:
    architecture = SCARLET_S1.parse("all-identity")
    supernet, plain = (SCARLET_S1.graph(architecture, form) for form in (Form.SUPERNET, Form.DEPLOYED))
    layers = [node for node in supernet.of_type(Conv2d) if node.operator == "skip"]
    assert [node.shape[0] for node in layers] == TABLE["channels"]
    assert [node.stride for node in layers] == TABLE["strides"]
    assert all(node.weight.shape[2:] == (1, 1) and node.bias is None and node.groups == 1 for node in layers)
    assert not [n for n in supernet.nodes if isinstance(n, (BatchNorm, Activation, Add)) and n.operator == "skip"]
    assert not [n for n in plain.nodes if n.operator == "skip" and not isinstance(n, Pool)]


def test_supernet_graphs_hold_every_weight_of_a_random_architecture() -> None:
    rng = np.random.default_rng(0)
    held: dict[str, tuple[int, ...]] = {}
    for graph in SCARLET_S2.supernet_graphs():
        held |= {ref.name: ref.full_shape for ref in graph.weights.values()}
    graph = SCARLET_S2.graph(SCARLET_S2.decode(rng.integers(13, size=19)), Form.SUPERNET)
    assert all(held[ref.name] == ref.full_shape for ref in graph.weights.values())
    # 12 bottlenecks and one stabilizer in each of 19 layers, and what stands outside the choices.
    channels = [16, *TABLE["channels"]]
    stabilizers = sum(a * b for a, b in pairwise(channels))
    bottlenecks = sum(TABLE["params_per_layer_choice"][layer][choice] for layer in range(19) for choice in range(12))
    fixed = TABLE["stem_sep_params"] + TABLE["tail_conv_params_320"] + TABLE["fc_params"]
    assert sum(prod(shape) for shape in held.values()) == bottlenecks + stabilizers + fixed


def test_labels_a_genotype_and_a_published_name_are_one_architecture() -> None:
    genotype: Any = SCARLET_S2.named["scarlet-c"].document
    labels = [SCARLET_S2.genes[0].options[choice] for choice in genotype]
    assert SCARLET_S2.parse("scarlet-c") == SCARLET_S2.parse(list(genotype)) == SCARLET_S2.parse(labels)


def test_a_wrong_gene_is_named_with_what_is_allowed() -> None:
    with pytest.raises(InvalidGenotypeError, match=r"gene 2 \(stage1.layer0\) is 7: allowed are 0=e3k3, .*6=skip"):
        SCARLET_S1.decode([0, 0, 7] + [0] * 16)
    with pytest.raises(InvalidGenotypeError, match="has 18 genes, this space has 19"):
        SCARLET_S2.decode([0] * 18)
    with pytest.raises(InvalidArchitectureError, match=r"gene 1 \(stage0.layer1\) is 'e9k3': allowed are e3k3"):
        SCARLET_S1.parse(["e3k3", "e9k3"] + ["skip"] * 17)
    with pytest.raises(InvalidArchitectureError, match=r"gene 1 .* is 'e3k3_se': allowed are e3k3"):
        SCARLET_S1.parse(["e3k3", "e3k3_se"] + ["skip"] * 17)
    with pytest.raises(InvalidGenotypeError, match="has 2 genes, this space has 19"):
        SCARLET_S1.parse(["e3k3", "skip"])
    with pytest.raises(InvalidArchitectureError, match="'scarlet-z' is not a published model of scarlet-s2: known are"):
        SCARLET_S2.parse("scarlet-z")
    with pytest.raises(InvalidArchitectureError, match="give a published name"):
        SCARLET_S2.parse({"layers": []})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"num_classes": 1}, "num_classes is 1"),
        ({"stage_channels": [16, 8, 8, 8, 8, 8]}, "never smaller"),
        ({"stage_repeats": [4, 4]}, "as long as stage_channels"),
        ({"stage_strides": [2, 2, 3, 1, 1, 1]}, "1 or 2 each"),
        ({"stage_repeats": [2, 4, 4, 4, 400, 1]}, "96 blocks or fewer in all"),
        ({"input_size": 16}, "at least 32"),
        ({"widths": [1]}, "unknown space parameter 'widths': known are"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_allowed(document: dict, message: str) -> None:
    with pytest.raises(InvalidSpaceError, match=message):
        create_space("scarlet-s2", document)


def test_a_small_image_variant_is_the_same_space_with_other_parameters() -> None:
    small = create_space(
        "scarlet-s1",
        {
            "input_size": 32,
            "stem_stride": 1,
            "num_classes": 10,
            "stem_channels": 8,
            "first_channels": 8,
            "stage_channels": [12, 16, 24],
            "stage_repeats": [2, 2, 2],
            "stage_strides": [1, 2, 2],
            "tail_channels": 64,
        },
    )
    assert (len(small.genes), small.size, small.input_shapes) == (6, 7**6, ((3, 32, 32),))
    assert not small.named
    graph = small.graph(small.decode([0, 6, 6, 5, 3, 6]), Form.DEPLOYED)
    assert graph is not None
    assert graph.output_shape == (10,)


def test_another_number_of_classes_keeps_the_published_names_and_changes_the_head_only() -> None:
    ten = create_space("scarlet-s2", {"num_classes": 10})
    assert "scarlet-a" in ten.named
    graph = ten.graph(ten.parse("scarlet-a"), Form.DEPLOYED)
    assert graph is not None
    assert complexity(graph).macs == TABLE["scarlet"]["A"]["macs"] - 990 * 1280
