"""Execution of layer graphs: slices, freed values, dropout, gradients of what is not used."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from nas_engine.domain.errors import InvalidGraphError, WeightsError
from nas_engine.domain.graph_builder import GraphBuilder
from nas_engine.domain.layer_graph import ActivationKind, CoefficientRef
from nas_engine.domain.search_space import Form
from nas_engine.settings.evaluation import CalibrationMode
from nas_engine.spaces.shufflenet import ShuffleNetParameters, ShuffleNetSpace
from nas_engine.supernet.calibration import calibrate
from nas_engine.supernet.execute import BATCH, Calibrated, Running, forward
from nas_engine.supernet.norm_statistics import CalibratedStatistics
from nas_engine.supernet.subnet import deployed_weights, extract
from nas_engine.supernet.weights import WeightStore
from tests.support.samples.graphs import CONV_INIT, chain, elastic

CPU = torch.device("cpu")


def _rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _space() -> ShuffleNetSpace:
    return ShuffleNetSpace(
        ShuffleNetParameters(
            num_classes=4, input_size=16, input_channels=1, stem_channels=4, stem_stride=1,
            stage_channels=(8, 16), stage_repeats=(2, 2), tail_channels=16,
        )
    )  # fmt: skip


def test_an_elastic_convolution_uses_the_first_channels_and_the_centre_of_the_kernel() -> None:
    weights = WeightStore.create([elastic(8, 5)], _rng())
    x = torch.randn(4, 2, 6, 6, generator=_rng(1))
    small = elastic(3, 3)
    expected = F.conv2d(x, weights["conv.weight"][:3, :, 1:4, 1:4], weights["conv.bias"][:3], padding=1)
    expected = F.batch_norm(expected, None, None, weights["bn.weight"][:3], weights["bn.bias"][:3], True)
    assert torch.equal(forward(x, small, weights=weights), expected)


def test_gradients_reach_only_the_part_of_a_weight_that_is_used() -> None:
    weights = WeightStore.create([elastic(8, 5)], _rng())
    y = forward(torch.randn(4, 2, 6, 6, generator=_rng(1)), elastic(3, 3), weights=weights)
    torch.autograd.backward(y.square().sum())
    gradient = weights["conv.weight"].grad
    assert gradient is not None
    used = torch.zeros_like(gradient, dtype=torch.bool)
    used[:3, :, 1:4, 1:4] = True
    assert gradient[~used].abs().sum() == 0


def test_weights_of_paths_that_are_not_executed_have_no_gradient() -> None:
    space = _space()
    weights = WeightStore.create(space.supernet_graphs(), _rng())
    graph = space.graph(space.decode([0, 3, 1, 2]), Form.SUPERNET)
    y = forward(torch.randn(8, 1, 16, 16, generator=_rng(1)), graph, weights=weights)
    torch.autograd.backward(y.square().sum())
    with_gradient = {name for name, tensor in weights.items() if tensor.grad is not None}
    assert with_gradient == set(graph.weights)
    assert with_gradient < set(weights)


def test_dropout_acts_only_while_training_and_needs_a_generator() -> None:
    graph = chain(dropout=0.5)
    weights = WeightStore.create([graph], _rng())
    x = torch.randn(4, 1, 8, 8, generator=_rng(1))
    assert torch.equal(forward(x, graph, weights=weights), forward(x, graph, weights=weights))
    one = forward(x, graph, weights=weights, training=True, rng=_rng(2))
    assert torch.equal(one, forward(x, graph, weights=weights, training=True, rng=_rng(2)))
    assert not torch.equal(one, forward(x, graph, weights=weights, training=True, rng=_rng(3)))
    with pytest.raises(WeightsError, match="pass rng"):
        forward(x, graph, weights=weights, training=True)


def test_drop_connect_drops_whole_samples_and_keeps_the_expectation() -> None:
    g = GraphBuilder((2, 3, 3))
    graph = g.build(g.drop_connect(g.input, "drop", 0.25))
    y = forward(torch.ones(4000, 2, 3, 3), graph, weights={}, training=True, rng=_rng())
    per_sample = y.flatten(1)
    assert bool(((per_sample == 0) | ((per_sample - 1 / 0.75).abs() < 1e-6)).all())
    assert torch.equal(per_sample.amin(1), per_sample.amax(1))
    assert y.mean().item() == pytest.approx(1.0, abs=0.05)


def test_a_weighted_sum_takes_its_coefficients_at_run_time() -> None:
    g = GraphBuilder((1, 2, 2))
    twice = g.add([g.input, g.input], "twice")
    graph = g.build(g.weighted_sum([g.input, twice], "sum", [CoefficientRef("a", 1), CoefficientRef("a", 0)]))
    x, a = torch.ones(1, 1, 2, 2), torch.tensor([0.25, 3.0], requires_grad=True)
    y = forward(x, graph, weights={}, coefficients={"a": a})
    assert torch.equal(y, x * (3.0 + 0.5))
    torch.autograd.backward(y.sum())
    assert a.grad is not None
    assert a.grad.tolist() == [8.0, 4.0]
    with pytest.raises(WeightsError, match="coefficients"):
        forward(x, graph, weights={})


def test_wrong_image_shapes_and_missing_weights_are_named() -> None:
    graph = chain()
    weights = WeightStore.create([graph], _rng())
    with pytest.raises(InvalidGraphError, match=r"\(1, 9, 9\).*\(1, 8, 8\)"):
        forward(torch.zeros(2, 1, 9, 9), graph, weights=weights)
    with pytest.raises(WeightsError, match=r"a\.conv\.weight"):
        forward(torch.zeros(2, 1, 8, 8), graph, weights={})


def test_memory_formats_agree() -> None:
    space = _space()
    weights = WeightStore.create(space.supernet_graphs(), _rng())
    graph = space.graph(space.decode([1, 2, 3, 0]), Form.SUPERNET)
    x = torch.randn(4, 1, 16, 16, generator=_rng(1))
    plain = forward(x, graph, weights=weights)
    fast = forward(x.to(memory_format=torch.channels_last), graph, weights=weights.to(CPU, channels_last=True))
    assert torch.allclose(plain, fast, atol=1e-5)


@pytest.mark.parametrize("genotype", [[0, 1, 2, 3], [3, 3, 3, 3], [2, 0, 0, 1]])
def test_an_extracted_subnet_gives_the_outputs_of_its_path_in_the_supernet(genotype: list[int]) -> None:
    space = _space()
    architecture = space.decode(genotype)
    supernet, deployed = (space.graph(architecture, form) for form in (Form.SUPERNET, Form.DEPLOYED))
    weights = WeightStore.create(space.supernet_graphs(), _rng())
    images = [torch.randn(16, 1, 16, 16, generator=_rng(i)) for i in range(3)]
    statistics = calibrate(supernet, weights, images, CalibrationMode.CUMULATIVE)
    module = extract(deployed, weights, statistics)
    norm = Calibrated(CalibratedStatistics.from_values(statistics, CPU))
    with torch.no_grad():
        path = forward(images[0], supernet, weights=weights, norm=norm)
        assert torch.allclose(module(images[0]), path, rtol=1e-5, atol=1e-6)
        arrays = deployed_weights(deployed, weights)
        through_deployed = forward(
            images[0], deployed, weights={name: torch.tensor(array) for name, array in arrays.items()}, norm=norm
        )
    assert torch.allclose(through_deployed, path, rtol=1e-5, atol=1e-6)


def test_an_extracted_subnet_is_an_ordinary_module() -> None:
    space = _space()
    architecture = space.decode([0, 1, 2, 3])
    deployed = space.graph(architecture, Form.DEPLOYED)
    weights = WeightStore.create(space.supernet_graphs(), _rng())
    images = [torch.randn(8, 1, 16, 16, generator=_rng(1))]
    statistics = calibrate(space.graph(architecture, Form.SUPERNET), weights, images)
    module, other = (extract(deployed, weights, statistics) for _ in range(2))
    trainable = {name: tuple(p.shape) for name, p in module.named_parameters()}
    assert trainable == {ref.name: ref.shape for ref in deployed.weights.values()}
    assert {"stem.bn.running_mean", "stem.bn.running_var"} <= module.state_dict().keys()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1.0)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(images[0]), module(images[0]))
    assert weights["stem.conv.weight"].abs().max() < 1  # the supernet's own weights are untouched


def test_extraction_refuses_the_supernet_form_and_statistics_that_are_missing() -> None:
    graph = chain(dropout=0.1)
    weights = WeightStore.create([graph], _rng())
    with pytest.raises(InvalidGraphError, match="DEPLOYED form"):
        extract(graph, weights, {})
    with pytest.raises(WeightsError, match="calibrate"):
        extract(chain(), weights, {})


def test_running_statistics_are_shared_and_follow_torch() -> None:
    g = GraphBuilder((3, 4, 4))
    graph = g.build(g.batch_norm(g.input, "bn", affine=False, full_features=5, momentum=0.2))
    store = WeightStore.create([chain(), graph], _rng())
    module = torch.nn.BatchNorm2d(3, affine=False, momentum=0.2)
    for seed in range(3):
        x = torch.randn(4, 3, 4, 4, generator=_rng(seed))
        assert torch.equal(forward(x, graph, weights=store, norm=Running(store.running, update=True)), module(x))
    mean, variance = store.running.full("bn")
    assert module.running_mean is not None
    assert module.running_var is not None
    assert torch.equal(mean[:3], module.running_mean)
    assert torch.equal(variance[:3], module.running_var)
    assert mean[3:].tolist() == [0.0, 0.0]
    assert variance[3:].tolist() == [1.0, 1.0]
    x = torch.randn(4, 3, 4, 4, generator=_rng(9))
    assert torch.equal(forward(x, graph, weights=store, norm=Running(store.running, update=False)), module.eval()(x))


@pytest.mark.parametrize(("mode", "momentum"), [(CalibrationMode.REFERENCE, 0.1), (CalibrationMode.CUMULATIVE, None)])
def test_calibration_equals_torch_batch_norm(mode: CalibrationMode, momentum: float | None) -> None:
    graph = chain()
    weights = WeightStore.create([graph], _rng())
    layers = [torch.nn.BatchNorm2d(4, affine=False, momentum=momentum) for _ in range(2)]
    batches = [torch.randn(6, 1, 8, 8, generator=_rng(i)) * (i + 1) for i in range(4)]
    with torch.no_grad():
        for x in batches:
            hidden = F.relu(layers[0](F.conv2d(x, weights["a.conv.weight"], padding=1)))
            layers[1](F.conv2d(hidden, weights["b.conv.weight"], padding=1, stride=2))
    statistics = calibrate(graph, weights, batches, mode)
    for name, layer in zip(("a.bn", "b.bn"), layers, strict=True):
        assert layer.running_mean is not None
        assert layer.running_var is not None
        np.testing.assert_allclose(statistics[name].mean, layer.running_mean.numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(statistics[name].variance, layer.running_var.numpy(), rtol=1e-5, atol=1e-6)


def test_calibration_does_not_depend_on_what_was_calibrated_before() -> None:
    space = _space()
    weights = WeightStore.create(space.supernet_graphs(), _rng())
    images = [torch.randn(8, 1, 16, 16, generator=_rng(i)) for i in range(2)]
    one, other = (space.graph(space.decode(g), Form.SUPERNET) for g in ([0, 1, 2, 3], [3, 2, 1, 0]))
    alone = calibrate(one, weights, images)
    calibrate(other, weights, images)
    assert calibrate(one, weights, images) == alone


def test_calibration_without_images_or_with_broken_ones_is_refused() -> None:
    graph = chain()
    weights = WeightStore.create([graph], _rng())
    with pytest.raises(WeightsError, match="no batch"):
        calibrate(graph, weights, [])
    with pytest.raises(WeightsError, match="non-finite"):
        calibrate(graph, weights, [torch.full((2, 1, 8, 8), float("inf"))])


def test_calibrated_statistics_of_another_width_are_refused() -> None:
    narrow, wide = chain(4), chain(6)
    weights = WeightStore.create([narrow], _rng())
    images = [torch.randn(4, 1, 8, 8, generator=_rng(1))]
    statistics = calibrate(narrow, weights, images)
    norm = Calibrated(CalibratedStatistics.from_values(statistics, CPU))
    with pytest.raises(WeightsError, match="another architecture"):
        forward(images[0], wide, weights=WeightStore.create([wide], _rng()), norm=norm)


def test_a_relu_never_overwrites_a_value_that_somebody_else_reads() -> None:
    g = GraphBuilder((2, 4, 4))
    normalised = g.batch_norm(g.conv(g.input, "conv", out=2, kernel=1, init=CONV_INIT), "bn", affine=False)
    relu = g.activation(normalised, "relu", ActivationKind.RELU)
    graph = g.build(g.add([normalised, relu], "sum"))
    weights = WeightStore.create([graph], _rng())
    x = torch.randn(4, 2, 4, 4, generator=_rng(1))
    z = F.batch_norm(F.conv2d(x, weights["conv.weight"]), None, None, None, None, True)
    assert torch.allclose(forward(x, graph, weights=weights, norm=BATCH), z + F.relu(z))
