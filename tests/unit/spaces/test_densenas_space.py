"""The DenseNAS spaces against the published implementation's numbers."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from nas_engine.domain.errors import InvalidArchitectureError, InvalidGenotypeError, InvalidSpaceError
from nas_engine.domain.layer_graph import Activation, ActivationKind, BatchNorm, Init, InitKind, WeightedSum
from nas_engine.domain.search_space import Form
from nas_engine.domain.views.complexity import complexity
from nas_engine.spaces.densenas.parameters import DenseMbv2Parameters, DenseParameters, DenseResNetParameters
from nas_engine.spaces.densenas.routing_weights import sample_operators
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.registry import create_space
from tests.support.reference import known_answers, vectors

MBV2 = DenseSpace(DenseMbv2Parameters())
RESNET = DenseSpace(DenseResNetParameters())
SPACES = {"mbv2": MBV2, "resnet": RESNET}
KNOWN = [
    (space, model)
    for space, label in (
        (MBV2, "densenas_mbv2"),
        (RESNET, "densenas_resnet"),
        (RESNET, "densenas_resnet (bottleneck of R2)"),
    )
    for model in known_answers(label)
]
SMALL = DenseMbv2Parameters(
    num_classes=10,
    input_size=32,
    stem_stride=1,
    stem_channels=8,
    block_channels=(8, 12, 16, 24, 32),
    downsamplings=(0, 1, 1, 2, 2),
    stages=(0, 1, 1, 2, 2, 3),
    num_layers=(0, 1, 1, 1, 0),
    max_connections=2,
    last_channels=64,
)


def deployed_cost(space: DenseSpace, document: str) -> tuple[int, int]:
    cost = complexity(space.graph(space.parse(document), Form.DEPLOYED))
    return cost.macs, cost.params


@pytest.mark.parametrize(("space", "model"), KNOWN, ids=lambda v: v["model"] if isinstance(v, dict) else "")
def test_published_net_configs_have_the_measured_macs_and_params_to_the_unit(space: DenseSpace, model: dict) -> None:
    macs, params = deployed_cost(space, model["encoding"])
    assert macs == round(model["measured_macs_M"] * 1e6)
    assert params == round(model["measured_params_M"] * 1e6)


@pytest.mark.parametrize(
    ("space", "name", "macs_m", "params_m"),
    [(MBV2, "densenas-b", 313.58, 5.58), (RESNET, "densenas-r2", 3059.34, 19.47), (MBV2, "DenseNAS-A", 251.33, 4.77)],
)
def test_named_models_have_the_measured_macs_and_params(
    space: DenseSpace, name: str, macs_m: float, params_m: float
) -> None:
    macs, params = deployed_cost(space, name)
    assert round(macs / 1e6, 2) == macs_m
    assert round(params / 1e6, 2) == params_m


@pytest.mark.parametrize("name", SPACES)
def test_the_supernet_holds_the_published_number_of_weights(name: str) -> None:
    parameters: DenseParameters = (DenseMbv2Parameters if name == "mbv2" else DenseResNetParameters)(num_classes=100)
    (graph,) = DenseSpace(parameters).supernet_graphs()
    total = sum(prod(ref.full_shape) for ref in graph.weights.values())
    assert total == vectors("densenas_space_graph")[name]["supernet_params"]


def test_all_published_paths_but_the_bottlenecks_are_genotypes_of_their_space() -> None:
    for space in SPACES.values():
        for name in space.named:
            architecture = space.parse(name)
            genotype = space.genotype_of(architecture)
            if name == "densenas-r3":
                assert genotype is None
                assert "bottle_neck is none of basic_block" in str(space.why_outside(architecture))
            else:
                assert genotype is not None
                assert space.decode(genotype) == architecture
                assert space.why_outside(architecture) is None


def test_a_net_config_outside_the_space_decodes_and_says_what_is_outside() -> None:
    text = str(MBV2.named["densenas-a"].document)
    cases = {
        text.replace("72", "80"): "entry 4 goes to width 80 with stride 2: allowed are width 56",
        text.replace("1984", "1280"): "it ends with 1280 channels, the space with 1984",
        text.replace("mbconv_k5_t6", "mbconv_k5_t4"): "head operator mbconv_k5_t4 is none of",
        text.replace("[[16, 16], 'mbconv_k3_t1', [], 0, 1]|", ""): "starts with",
        text.replace("['mbconv_k3_t3'], 1", "['mbconv_k3_t3', 'mbconv_k3_t3', 'mbconv_k3_t3', 'mbconv_k3_t3'], 4"): (
            "4 stack layers, the block has up to 3"
        ),
    }
    for outside, reason in cases.items():
        architecture = MBV2.parse(outside)
        graph = MBV2.graph(architecture, Form.DEPLOYED)
        assert complexity(graph).macs > 0
        assert MBV2.genotype_of(architecture) is None
        assert reason in str(MBV2.why_outside(architecture))
        assert MBV2.net_config(architecture).text() == outside
        with pytest.raises(InvalidArchitectureError, match="no path of the supernet"):
            MBV2.graph(architecture, Form.SUPERNET)


def test_weights_of_a_network_outside_the_space_cannot_be_mistaken_for_shared_ones() -> None:
    (supernet,) = RESNET.supernet_graphs()
    r3 = RESNET.graph(RESNET.parse("densenas-r3"), Form.DEPLOYED)
    assert not set(r3.weights) & set(supernet.weights)


def test_a_path_inside_the_space_inherits_its_convolutions_from_the_supernet() -> None:
    (supernet,) = MBV2.supernet_graphs()
    for form in Form:
        graph = MBV2.graph(MBV2.parse("densenas-c"), form)
        shared = {name: ref for name, ref in graph.weights.items() if not name.endswith(("bn.weight", "bn.bias"))}
        assert all(supernet.weights[name] == ref for name, ref in shared.items())


def test_genes_of_unvisited_blocks_are_zeroed_and_skips_stand_last() -> None:
    rng = np.random.default_rng(0)
    genotype = [int(rng.integers(gene.num_choices)) for gene in MBV2.genes]
    positions = {gene.name: index for index, gene in enumerate(MBV2.genes)}
    genotype[positions["block1.layer0"]], genotype[positions["block1.layer1"]] = 6, 2
    canonical = MBV2.canonical(genotype)
    visited = MBV2.path_of_genotype(genotype).blocks
    for gene, value in zip(MBV2.genes, canonical, strict=True):
        if int(gene.group.removeprefix("block")) not in visited:
            assert value == 0
    assert canonical[positions["block1.layer0"]] == 2
    assert MBV2.canonical(canonical) == canonical
    assert MBV2.decode(genotype) == MBV2.decode(canonical)


def test_search_form_batch_norms_have_weights_only_where_the_reference_forgot() -> None:
    affine = {
        name: [n.name for n in space.graph(space.parse(first), Form.SUPERNET).of_type(BatchNorm) if n.weight]
        for (name, space), first in zip(SPACES.items(), ("densenas-a", "densenas-r1"), strict=True)
    }
    assert affine == {"mbv2": ["block0.mbconv_k3_t1.project.bn"], "resnet": ["stem.bn"]}
    for space, first, eps in ((MBV2, "densenas-a", 1e-3), (RESNET, "densenas-r3", 1e-5)):
        norms = list(space.graph(space.parse(first), Form.DEPLOYED).of_type(BatchNorm))
        assert all(norm.weight is not None and norm.eps == eps for norm in norms)


def test_the_stem_of_a_derived_resnet_clips_at_six_as_published() -> None:
    architecture = RESNET.parse("densenas-r1")
    kinds = [next(RESNET.graph(architecture, form).of_type(Activation)).kind for form in (Form.SUPERNET, Form.DEPLOYED)]
    assert kinds == [ActivationKind.RELU, ActivationKind.RELU6]


def test_a_derived_resnet_has_no_1x1_convolution_before_its_classifier() -> None:
    architecture = RESNET.parse("densenas-r1")
    assert any(n.startswith("ending") for n in RESNET.graph(architecture, Form.SUPERNET).weights)
    assert not any(n.startswith("ending") for n in RESNET.graph(architecture, Form.DEPLOYED).weights)


def test_convolutions_are_drawn_with_two_over_fan_out_where_groups_divide() -> None:
    weights = MBV2.graph(MBV2.parse("densenas-a"), Form.DEPLOYED).weights
    stem, depthwise = weights["stem.conv.weight"], weights["block1.head.0-1.mbconv_k3_t3.depthwise.conv.weight"]
    assert stem.init == Init(InitKind.NORMAL, pytest.approx((2 / (9 * 16)) ** 0.5))
    assert depthwise.init == Init(InitKind.NORMAL, pytest.approx((2 / 9) ** 0.5))


def test_a_selection_keeps_only_the_sampled_operators_of_each_layer() -> None:
    space = DenseSpace(SMALL)
    rng = np.random.default_rng(0)
    one = space.supernet_graph(sample_operators(space.routing, rng, num_operators=1))
    two = space.supernet_graph(sample_operators(space.routing, rng, num_operators=2))
    joins = list(one.of_type(WeightedSum))
    assert {node.operator for node in joins} == {"join"}
    assert len(joins) == len(space.routing.blocks) - 1
    mixtures = [node for node in two.of_type(WeightedSum) if node.operator == "mixture"]
    assert len(mixtures) == sum(1 for name, _ in space.routing.coefficient_sizes() if name.startswith("alpha"))
    assert all(len(node.inputs) == 2 for node in mixtures)
    (whole,) = space.supernet_graphs()
    assert all(whole.weights[name] == ref for graph in (one, two) for name, ref in graph.weights.items())


def test_every_coefficient_of_the_supernet_graph_is_one_of_the_routing() -> None:
    for space in SPACES.values():
        (graph,) = space.supernet_graphs()
        used = {(ref.name, ref.index) for node in graph.of_type(WeightedSum) for ref in node.coefficients}
        expected = {(name, i) for name, size in space.routing.coefficient_sizes() for i in range(size)}
        single = {name for name, size in expected if len(space.routing.head_operators) == 1 and "head" in name}
        assert used == {(name, i) for name, i in expected if name not in single}


def test_a_small_image_variant_is_the_same_space_with_other_parameters() -> None:
    parameters = {
        "num_classes": 10,
        "input_size": 32,
        "stem_stride": 1,
        "stem_channels": 8,
        "block_channels": [8, 12, 16, 24, 32],
        "downsamplings": [0, 1, 1, 2, 2],
        "stages": [0, 1, 1, 2, 2, 3],
        "num_layers": [0, 1, 1, 1, 0],
        "max_connections": 2,
        "last_channels": 64,
    }
    space = create_space("densenas-mbv2", parameters)
    assert space.parameters == DenseSpace(SMALL).parameters
    assert space.named == {}
    graph = space.graph(space.decode([0] * len(space.genes)), Form.DEPLOYED)
    assert graph is not None
    assert graph.input_shape == (3, 32, 32)
    assert graph.output_shape == (10,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block_channels": [16, 24]}, "downsamplings .*it must be 2 values"),
        ({"block_channels": [16]}, "block_channels .*of 2 to"),
        ({"stages": [0] * 17}, "stages .*it must be 18 values"),
        ({"num_layers": [1] * 17}, "num_layers .*0 for the input block"),
        ({"num_layers": [0, 65] + [0] * 15}, "num_layers .*64 or less"),
        ({"downsamplings": [0] * 16 + [-1]}, "downsamplings .*0 or more"),
        ({"downsamplings": [1] * 17}, "downsamplings .*ascending from 0"),
        ({"input_size": 16}, "input_size is 16: it must be at least 32"),
        ({"input_size": 32, "stages": [0, 1] + [5] * 16}, "block 1 .*connects to no later block"),
        ({"max_connections": 0}, "max_connections is 0"),
        ({"block_channels": [16, 24, 32, 32, *range(48, 61)]}, "different for blocks of one feature size"),
        ({"head_operators": ["basic_block"]}, "head_operators .*mbconv"),
        ({"head_operators": []}, "head_operators .*one or more"),
        ({"stack_operators": ["skip_connect", "skip_connect"]}, "stack_operators .*each once"),
        ({"stem_stride": 3}, "stem_stride is 3"),
        ({"num_classes": 1}, "num_classes is 1"),
    ],
)
def test_parameters_are_checked_before_any_graph_is_made(changes: dict, message: str) -> None:
    with pytest.raises(InvalidSpaceError, match=message):
        create_space("densenas-mbv2", changes)


@pytest.mark.parametrize(
    ("document", "error", "message"),
    [
        ("densenas-z", InvalidArchitectureError, "known are densenas-a, densenas-b, densenas-c"),
        ([0, 1], InvalidGenotypeError, "genotype has 2 genes, this space has 72"),
        ([9] * 72, InvalidGenotypeError, r"gene 0 \(block0.next\) is 9: allowed are 0=block1"),
        ({"a": 1}, InvalidArchitectureError, "give a published name, a net_config or a list"),
        (7, InvalidArchitectureError, "give a published name, a net_config or a list"),
    ],
)
def test_documents_that_cannot_be_read_say_what_is_allowed(document: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        MBV2.parse(document)  # type: ignore[arg-type]


def test_an_architecture_of_another_space_is_refused() -> None:
    with pytest.raises(InvalidArchitectureError, match="densenas-mbv2"):
        RESNET.graph(MBV2.parse("densenas-a"), Form.DEPLOYED)
