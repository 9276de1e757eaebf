"""The AttentiveNAS space against the published implementation's numbers."""

from __future__ import annotations

from math import prod

import pytest

from nas_engine.domain.errors import InvalidArchitectureError, InvalidGenotypeError, InvalidSpaceError
from nas_engine.domain.layer_graph import (
    ONES,
    ZEROS,
    Activation,
    ActivationKind,
    BatchNorm,
    Conv2d,
    DropConnect,
    Dropout,
    Pool,
)
from nas_engine.domain.search_space import Form, GeneKind
from nas_engine.domain.views.complexity import complexity
from nas_engine.spaces.attentive.graph import make_divisible
from nas_engine.spaces.attentive.parameters import AttentiveParameters
from nas_engine.spaces.attentive.space import FIELDS, AttentiveSpace
from nas_engine.spaces.registry import create_space
from tests.support.reference import known_answers, vectors

SPACE = AttentiveSpace()
VECTORS = vectors("attentivenas_space")
PUBLISHED = [m for m in known_answers("attentivenas") if m["encoding"]]


def deployed(document: object) -> tuple[int, int]:
    cost = complexity(SPACE.graph(SPACE.parse(document), Form.DEPLOYED))
    return cost.macs, cost.params


def changed(**fields: object) -> dict:
    return {**SPACE.named["attentivenas-a1"].document, **fields}


@pytest.mark.parametrize("model", PUBLISHED, ids=lambda m: m["model"])
def test_published_models_have_the_measured_macs_and_params_to_the_unit(model: dict) -> None:
    assert deployed(model["encoding"]) == (
        round(model["measured_macs_M"] * 1e6),
        round(model["measured_params_M"] * 1e6),
    )


@pytest.mark.parametrize("row", VECTORS["random_subnets"], ids=lambda r: str(r["macs_M"]))
def test_random_reference_subnets_match_to_the_unit(row: dict) -> None:
    document = {field: row[field] for field in FIELDS}
    assert deployed(document) == (round(row["macs_M"] * 1e6), row["params_without_unused_identity_shortcuts"])


@pytest.mark.parametrize(
    ("name", "macs_M"),
    [  # reference/alphanet.md, to the printed digits
        ("attentivenas-a3", 356.518),
        ("attentivenas-a5", 490.520),
        ("alphanet-a5-base", 594.786),
        ("attentivenas-a6", 709.007),
        ("largest", 1939.336),
    ],
)
def test_models_without_a_vector_match_their_printed_macs(name: str, macs_M: float) -> None:
    assert round(deployed(name)[0] / 1e6, 3) == macs_M


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("AttentiveNAS-A0", "attentivenas-a0"),
        ("AttentiveNAS-A4", "attentivenas-a4"),
        ("AlphaNet-A2", "alphanet-a2"),
        ("AlphaNet-A5 (small)", "alphanet-a5-small"),
        ("AttentiveNAS space smallest", "smallest"),
    ],
)
def test_a_published_name_is_its_published_configuration(model: str, name: str) -> None:
    encoding = next(m["encoding"] for m in PUBLISHED if m["model"] == model)
    assert SPACE.parse(name) == SPACE.parse(encoding)


def test_smallest_and_largest_are_the_first_and_last_options_of_every_gene() -> None:
    assert SPACE.parse("smallest") == SPACE.decode([0] * 31)
    assert SPACE.parse("largest") == SPACE.decode([gene.num_choices - 1 for gene in SPACE.genes])


def test_the_encoding_has_31_genes_of_the_published_options_and_size() -> None:
    assert len(SPACE.genes) == VECTORS["encoding_length"]
    assert SPACE.size == VECTORS["search_space_size_stagewise_encoding"] == 440_301_256_704
    candidates = VECTORS["cfg_candidates"]
    expected = [candidates["resolution"], *(options for field in FIELDS[1:] for options in candidates[field])]
    assert [[int(label[1:]) for label in gene.options] for gene in SPACE.genes] == expected
    assert sum(gene.num_choices == 1 for gene in SPACE.genes) == 3
    structural = {gene.name.split(".")[-1] for gene in SPACE.genes if gene.kind is GeneKind.STRUCTURAL}
    assert structural == {"resolution", "depth"}
    assert SPACE.input_shapes == tuple((3, r, r) for r in candidates["resolution"])


@pytest.mark.parametrize(("value", "rounded"), VECTORS["make_divisible_8"].items())
def test_channel_rounding_equals_the_reference_table(value: str, rounded: int) -> None:
    assert make_divisible(int(value)) == rounded


def test_the_supernet_holds_the_published_weights_but_the_shortcuts_that_are_never_read() -> None:
    shapes = {ref.name: ref.full_shape for graph in SPACE.supernet_graphs() for ref in graph.weights.values()}
    reference = next(m for m in known_answers("attentivenas") if "supernet" in m["model"])
    # The reference allocates a shortcut convolution for every block; from the second of a stage on,
    # input and output widths are one gene, so it can never be read.
    p = AttentiveParameters()
    unread = sum((d[-1] - 1) * c[-1] ** 2 for d, c in zip(p.stage_depths, p.stage_channels, strict=True))
    assert sum(prod(shape) for shape in shapes.values()) == round(reference["measured_params_M"] * 1e6) - unread
    assert {name for name in shapes if "shortcut" in name} == {
        f"mb{stage}.block0.shortcut.conv.weight" for stage in range(1, 8)
    }


def test_small_kernels_are_the_centre_of_large_ones_and_widths_their_first_channels() -> None:
    graph = SPACE.graph(SPACE.parse("smallest"), Form.SUPERNET)
    ref = graph.weights["mb6.block0.depthwise.conv.weight"]
    assert ref.full_shape == (128 * 6, 1, 5, 5)
    centre = tuple(VECTORS["kernel_center_slice"]["5->3"])
    assert ref.slices == ((0, 112 * 6), (0, 1), centre, centre)
    gate = graph.weights["mb6.block0.se.reduce.weight"]
    assert (gate.shape, gate.full_shape) == ((168, 672, 1, 1), (192, 768, 1, 1))


def test_stochastic_depth_has_the_published_rate_on_identity_shortcuts_of_the_last_two_stages() -> None:
    expected = dict(enumerate(VECTORS["drop_connect"]["per_block"]))
    graph = SPACE.graph(SPACE.parse("largest"), Form.SUPERNET)
    blocks = list(dict.fromkeys(node.block for node in graph.nodes if node.block.startswith("mb")))
    assert len(blocks) == VECTORS["drop_connect"]["n_blocks"]
    found = {blocks.index(node.block): node.rate for node in graph.of_type(DropConnect)}
    # mb6.block0 strides and mb7.block0 widens: their shortcuts are no identities.
    assert found == pytest.approx({i: rate for i, rate in expected.items() if rate and i not in (27, 35)})
    assert [node.rate for node in graph.of_type(Dropout)] == [0.2]


def test_a_block_keeps_its_place_in_the_supernet_when_stages_before_it_are_shallow() -> None:
    architecture = SPACE.parse(changed(depth=[1, 3, 3, 3, 3, 4, 2]))
    graph = SPACE.graph(architecture, Form.SUPERNET)
    rates = {node.block: node.rate for node in graph.of_type(DropConnect)}
    assert rates["mb6.block1"] == pytest.approx(0.2 * 28 / 37)
    assert rates["mb7.block1"] == pytest.approx(0.2 * 36 / 37)


def test_every_block_has_a_shortcut_of_the_published_kind() -> None:
    graph = SPACE.graph(SPACE.parse("attentivenas-a0"), Form.DEPLOYED)
    pooled = {n.block: (n.kernel, n.stride, n.padding, n.shape[1]) for n in graph.of_type(Pool)}
    assert pooled == {f"mb{s}.block0": (2, 2, 0, size) for s, size in ((2, 48), (3, 24), (4, 12), (6, 6))}
    widened = {node.block for node in graph.of_type(Conv2d) if "shortcut" in node.name}
    assert widened == {f"mb{s}.block0" for s in (2, 3, 4, 5, 6, 7)}  # mb1 keeps 16 channels


def test_an_odd_size_is_padded_by_one_before_the_average_pool() -> None:
    small = AttentiveSpace(AttentiveParameters(resolutions=(36,)))
    graph = small.graph(small.decode([0] * 31), Form.DEPLOYED)
    pooled = [(node.padding, node.shape[1]) for node in graph.of_type(Pool)]
    assert pooled == [(0, 9), (1, 5), (1, 3), (1, 2)]


def test_the_head_is_the_efficient_one_and_every_activation_but_the_gates_is_swish() -> None:
    graph = SPACE.graph(SPACE.parse("attentivenas-a0"), Form.DEPLOYED)
    mix = next(node for node in graph.nodes if node.name == "head.mix.conv")
    assert isinstance(mix, Conv2d)
    assert (mix.shape, mix.weight.shape, mix.bias) == ((1792, 1, 1), (1792, 216 * 6, 1, 1), None)
    assert not [node for node in graph.of_type(BatchNorm) if "mix" in node.name]
    assert {n.kind for n in graph.of_type(Activation) if ".se." not in n.name} == {ActivationKind.SWISH}


def test_forms_differ_in_regularisation_momentum_and_fresh_values_only() -> None:
    architecture = SPACE.parse("attentivenas-a6")
    supernet, plain = (SPACE.graph(architecture, form) for form in (Form.SUPERNET, Form.DEPLOYED))
    kept = [node.name for node in supernet.nodes if not isinstance(node, (Dropout, DropConnect))]
    assert kept == [node.name for node in plain.nodes]
    assert {name: ref.slices for name, ref in supernet.weights.items()} == {
        name: ref.slices for name, ref in plain.weights.items()
    }
    assert {node.momentum for node in supernet.of_type(BatchNorm)} == {0.0}
    gammas = {node.weight.init for node in supernet.of_type(BatchNorm) if ".project." in node.name and node.weight}
    assert gammas == {ZEROS}
    assert {node.weight.init for node in plain.of_type(BatchNorm) if node.weight} == {ONES}


def test_an_object_is_checked_field_by_field_and_gene_by_gene() -> None:
    for document, message in (
        (changed(resolution=200), r"gene 0 \(resolution\) is 200: allowed are 192, 224, 256, 288"),
        (
            changed(width=[16, 16, 24, 32, 64, 116, 192, 216, 1984]),
            r"gene 6 \(mb5.width\) is 116: allowed are 112, 120",
        ),
        (changed(depth=[1, 3, 3, 3, 3, 9, 1]), r"gene 15 \(mb6.depth\) is 9"),
        (changed(kernel_size=[7, 3, 3, 5, 3, 5, 3]), r"gene 17 \(mb1.kernel_size\) is 7: allowed are 3, 5"),
        (changed(expand_ratio=[1, 4, 4, 4, 4, 4, 6]), r"gene 29 \(mb6.expand_ratio\) is 4: allowed are 6"),
        (changed(depth=[True, 3, 3, 3, 3, 3, 1]), r"gene 10 \(mb1.depth\) is True"),
        (changed(width=[16, 16]), "'width' is .* it is a list of 9 integers"),
        (changed(depth=3), "'depth' is 3: it is a list of 7 integers"),
        (changed(flops=1), "unknown field 'flops': an architecture has resolution, width"),
        ({"resolution": 224}, "field 'width' is missing"),
        (7, "give a published name"),
        ("alphanet-a5", "'alphanet-a5' is not a published model of attentivenas: known are"),
    ):
        with pytest.raises(InvalidArchitectureError, match=message):
            SPACE.parse(document)
    with pytest.raises(InvalidGenotypeError, match=r"gene 3 \(mb2.width\) is 2: allowed are 0=w24, 1=w32"):
        SPACE.decode([0, 0, 0, 2] + [0] * 27)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"resolutions": [224, 192]}, "from small to large"),
        ({"resolutions": [16]}, "at least 32"),
        ({"stage_kernels": [[3, 4]] * 7}, "odd"),
        ({"stage_expand_ratios": [[1, 4]] + [[6]] * 6}, r"\(1,\) alone"),
        ({"stage_depths": [[1]]}, r"as long as stage_channels \(7\)"),
        ({"stage_depths": [[0, 1]] * 7}, "positive options"),
        ({"stage_depths": [[1, 100_000]] * 7}, "96 blocks or fewer in all"),
        ({"drop_connect": 1.5}, r"in \[0, 1\)"),
        ({"width": 2}, "unknown space parameter 'width'"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_allowed(document: dict, message: str) -> None:
    with pytest.raises(InvalidSpaceError, match=message):
        create_space("attentivenas", document)


def test_a_small_image_variant_is_the_same_space_with_other_parameters() -> None:
    small = create_space(
        "attentivenas",
        {
            "num_classes": 10,
            "resolutions": [24, 32],
            "stem_stride": 1,
            "stem_channels": [8],
            "stage_channels": [[8], [12, 16], [24]],
            "stage_depths": [[1], [1, 2], [1, 2]],
            "stage_kernels": [[3], [3, 5], [3]],
            "stage_expand_ratios": [[1], [3, 4], [4]],
            "stage_strides": [1, 2, 2],
            "stage_squeeze_excite": [False, True, False],
            "head_channels": [64],
        },
    )
    assert not small.named
    assert (len(small.genes), small.size) == (1 + 5 + 9, 2**6)
    assert small.input_shapes == ((3, 24, 24), (3, 32, 32))
    for choice in (0, -1):
        graph = small.graph(small.decode([range(g.num_choices)[choice] for g in small.genes]), Form.DEPLOYED)
        assert graph is not None
        assert graph.output_shape == (10,)
