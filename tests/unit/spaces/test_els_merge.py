"""Merging stabilizers into the following convolution: Eq. 4, where it is exact, and refusals where it is not."""

from __future__ import annotations

import numpy as np
import pytest

from nas_engine.domain.errors import FormsDifferError, WeightsError
from nas_engine.domain.graph_builder import GraphBuilder
from nas_engine.domain.layer_graph import Init, InitKind, LayerGraph
from nas_engine.domain.search_space import Form
from nas_engine.spaces.els import Array, forms_differ, inherited_weights, merge
from nas_engine.spaces.mobilenet import S1, S2, MobileNetSpace
from nas_engine.spaces.shufflenet import ShuffleNetSpace
from tests.support.reference import vectors

EXAMPLE = vectors("scarlet_blocks")["els_equivalence"]
NORMAL = Init(InitKind.NORMAL, 1.0)
SPACE = MobileNetSpace(S1)
SKIP = 6


def convolve(x_NCHW: Array, weight_OIKK: Array, padding: int) -> Array:
    """A direct two-dimensional convolution with zero padding, stride 1."""
    kernel = weight_OIKK.shape[2]
    padded = np.pad(x_NCHW, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(2, 3))
    return np.einsum("nchwyx,ocyx->nohw", windows, weight_OIKK)


def forms(genotype: list[int]) -> tuple[LayerGraph, LayerGraph]:
    architecture = SPACE.decode(genotype)
    return SPACE.graph(architecture, Form.SUPERNET), SPACE.graph(architecture, Form.DEPLOYED)


def with_skips(*positions: int) -> list[int]:
    return [SKIP if layer in positions else 0 for layer in range(19)]


def random_weights(graph: LayerGraph, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=ref.full_shape) for name, ref in graph.weights.items()}


def test_the_merged_kernel_equals_the_reference_vector() -> None:
    w1, w2, w3 = (np.array(EXAMPLE[key]) for key in ("W1_1x1", "W2_kxk", "W3_merged"))
    np.testing.assert_allclose(merge(w1, w2), w3, rtol=0, atol=1e-12)


def test_the_merged_convolution_equals_the_two_with_full_kernels_and_zero_padding() -> None:
    w1, w2, x = (np.array(EXAMPLE[key]) for key in ("W1_1x1", "W2_kxk", "input"))
    two = convolve(convolve(x, w1, 0), w2, EXAMPLE["padding"])
    one = convolve(x, merge(w1, w2), EXAMPLE["padding"])
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-12)
    np.testing.assert_allclose(one, np.array(EXAMPLE["output"]), rtol=0, atol=1e-12)


def test_a_merge_of_shapes_that_do_not_fit_is_refused() -> None:
    with pytest.raises(FormsDifferError, match="5 outputs does not fit"):
        merge(np.zeros((5, 3, 1, 1)), np.zeros((4, 6, 3, 3)))
    with pytest.raises(FormsDifferError, match="1x1 convolution"):
        merge(np.zeros((5, 3, 3, 3)), np.zeros((4, 5, 3, 3)))


@pytest.mark.parametrize("positions", [(), (1,), (5,), (13,), (18,), (15, 16, 17, 18), (1, 5, 9, 13, 17, 18)])
def test_skips_before_a_plain_convolution_merge(positions: tuple[int, ...]) -> None:
    supernet, deployed = forms(with_skips(*positions))
    assert forms_differ(supernet, deployed) is None
    inherited = inherited_weights(supernet, deployed, random_weights(supernet))
    assert {name: tensor.shape for name, tensor in inherited.items()} == {
        name: ref.full_shape for name, ref in deployed.weights.items()
    }


def test_a_chain_of_skips_to_the_tail_is_the_product_of_its_stabilizers() -> None:
    supernet, deployed = forms(with_skips(17, 18))
    weights = random_weights(supernet)
    found = inherited_weights(supernet, deployed, weights)["tail.conv.merged.weight"][:, :, 0, 0]
    tail, second, first = (
        weights[f"{name}.weight"][:, :, 0, 0] for name in ("tail.conv", "stage5.layer0.els", "stage4.layer3.els")
    )
    assert found.shape == (1280, 192)
    np.testing.assert_allclose(found, tail @ second @ first, rtol=1e-9, atol=1e-9)


def test_a_skip_before_a_residual_block_is_refused_with_the_reason() -> None:
    supernet, deployed = forms(with_skips(8))
    reason = forms_differ(supernet, deployed)
    assert reason is not None
    assert reason.startswith("stage2.layer2.els stands before the residual stage2.layer3.e3k3.add")
    with pytest.raises(FormsDifferError, match="retrain the architecture"):
        inherited_weights(supernet, deployed, random_weights(supernet))


def test_a_skip_that_changes_the_width_is_refused_with_the_reason() -> None:
    # Layer 14 widens 96 to 192 and layer 15 is a skip too, so no residual is in the way; layer 18 expands 96.
    supernet, deployed = forms(with_skips(14, 15, 16, 17))
    reason = forms_differ(supernet, deployed)
    assert reason is not None
    assert (
        "stage5.layer0.e3k3.expand.conv.merged gives (288, 7, 7) in the stand-alone network and (576, 7, 7)" in reason
    )
    assert "changes the width" in reason


@pytest.mark.parametrize("skip", [1, 8, 14, 18])
def test_no_weight_of_the_supernet_can_be_taken_for_one_behind_a_stripped_skip(skip: int) -> None:
    supernet, deployed = forms(with_skips(skip))
    (behind,) = set(deployed.weights) - set(supernet.weights)
    assert behind.endswith(".conv.merged.weight")


@pytest.mark.parametrize("name", ["scarlet-b", "scarlet-c"])
def test_the_published_models_with_skips_are_not_equivalent_across_forms(name: str) -> None:
    space = MobileNetSpace(S2)
    architecture = space.parse(name)
    assert "residual" in str(
        forms_differ(*(space.graph(architecture, form) for form in (Form.SUPERNET, Form.DEPLOYED)))
    )


def test_the_all_identity_model_merges_into_its_tail() -> None:
    supernet, deployed = forms([SKIP] * 19)
    weights = random_weights(supernet)
    chain = [weights[name][:, :, 0, 0] for name in supernet.weights if name.endswith("els.weight")]
    product = np.linalg.multi_dot([weights["tail.conv.weight"][:, :, 0, 0], *reversed(chain)])
    found = inherited_weights(supernet, deployed, weights)["tail.conv.merged.weight"]
    assert found.shape == (1280, 16, 1, 1)
    np.testing.assert_allclose(found[:, :, 0, 0], product, rtol=1e-9)


def test_a_space_without_stabilizers_inherits_its_weights_unchanged_and_plain_affine_batch_norms() -> None:
    space = ShuffleNetSpace()
    architecture = space.decode([0, 1, 2, 3] * 5)
    supernet, deployed = (space.graph(architecture, form) for form in (Form.SUPERNET, Form.DEPLOYED))
    weights = random_weights(supernet)
    inherited = inherited_weights(supernet, deployed, weights)
    assert set(inherited) == set(deployed.weights)
    assert all(inherited[name] is tensor for name, tensor in weights.items())
    assert (inherited["stem.bn.weight"] == 1).all()
    assert (inherited["stem.bn.bias"] == 0).all()


def graph_pair(*, bias: bool, kernel: int, groups: int) -> tuple[LayerGraph, LayerGraph]:
    """A layer that only the first graph has, before a convolution with the given groups."""
    graphs = []
    for stripped in (True, False):
        g = GraphBuilder((4, 6, 6))
        x = g.input
        if stripped:
            x = g.conv(x, "extra", out=4, kernel=kernel, init=NORMAL, bias=NORMAL if bias else None)
        graphs.append(g.build(g.conv(x, "next", out=4, kernel=3, groups=groups, init=NORMAL)))
    return graphs[0], graphs[1]


@pytest.mark.parametrize(
    ("bias", "kernel", "groups", "reason"),
    [(True, 1, 1, "has a bias"), (False, 3, 1, "no plain 1x1"), (False, 1, 4, "no plain convolution")],
)
def test_layers_that_are_no_stabilizers_are_refused(bias: bool, kernel: int, groups: int, reason: str) -> None:
    assert reason in str(forms_differ(*graph_pair(bias=bias, kernel=kernel, groups=groups)))


def test_a_missing_or_misshapen_weight_is_named() -> None:
    supernet, deployed = forms(with_skips(18))
    weights = random_weights(supernet)
    with pytest.raises(WeightsError, match=r"weight stage5.layer0.els.weight is missing"):
        inherited_weights(supernet, deployed, {k: v for k, v in weights.items() if "els" not in k})
    with pytest.raises(WeightsError, match=r"weight stem.conv.conv.weight has shape \(1, 1\)"):
        inherited_weights(supernet, deployed, weights | {"stem.conv.conv.weight": np.zeros((1, 1))})
