"""Supernet shifting: what changes when, what never changes, and recomputing a generation after a crash."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import ValidationError

from nas_engine.domain.errors import TrainingError, WeightsError
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form
from nas_engine.settings.shifting import ShiftingMode, ShiftingSettings
from nas_engine.spaces.registry import create_space
from nas_engine.supernet.execute import forward
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.strategies.paths import decoded_graph
from nas_engine.training.strategies.shifting import (
    SupernetShifter,
    fresh_head,
    transfer_to,
)
from tests.support.samples.datasets import striped_dataset
from tests.support.samples.training_run import changed, tiny_space, tiny_weights

CPU = torch.device("cpu")
SPACE = tiny_space(dropout=0.0)
ACCUMULATE = ShiftingSettings(images_per_candidate=32, batch_size=16, learning_rate=0.1)
IMMEDIATE = changed(ACCUMULATE, mode=ShiftingMode.IMMEDIATE, steps_per_candidate=3)


def _graph(*genotype: int) -> LayerGraph:
    return decoded_graph(SPACE, genotype, Form.SUPERNET)


def _shifter(config: ShiftingSettings, seed: int = 0) -> SupernetShifter:
    return SupernetShifter(tiny_weights(SPACE), striped_dataset(), config, CPU, seed=seed)


def _copy(weights: WeightStore) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


def _generation(shifter: SupernetShifter, graphs: list[LayerGraph]) -> list[float]:
    shifter.begin_generation(len(graphs))
    losses = [shifter.visit(graph) for graph in graphs]
    shifter.end_generation()
    return losses


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_accumulating_leaves_the_weights_bit_identical_until_the_generation_ends() -> None:
    shifter = _shifter(ACCUMULATE)
    before = _copy(shifter.weights)
    shifter.begin_generation(2)
    for graph in (_graph(0, 1), _graph(2, 1)):
        shifter.visit(graph)
        assert _same(before, _copy(shifter.weights))
    assert shifter.end_generation() == shifter.version == 1
    assert not _same(before, _copy(shifter.weights))


def test_one_update_is_made_with_the_mean_gradient_of_all_candidates() -> None:
    whole = changed(ACCUMULATE, momentum=0.0, weight_decay=0.0, images_per_candidate=16)
    both, first, second = (_shifter(whole) for _ in range(3))
    start = _copy(both.weights)
    _generation(both, [_graph(0, 1), _graph(0, 1)])
    # The same candidate alone, with the images of the first and of the second place.
    _generation(first, [_graph(0, 1)])
    second.begin_generation(2)
    second.visit(_graph(3, 3))
    second.visit(_graph(0, 1))
    second.end_generation()
    name = "stage0.block1.shuffle5.main.0.conv.weight"
    step_both = both.weights[name] - start[name]
    step_first, step_second = first.weights[name] - start[name], 2 * (second.weights[name] - start[name])
    assert torch.allclose(step_both, (step_first + step_second) / 2, atol=1e-6)


@pytest.mark.parametrize("config", [ACCUMULATE, IMMEDIATE], ids=lambda config: config.mode.value)
def test_operators_that_were_never_sampled_stay_as_they_are(config: ShiftingSettings) -> None:
    shifter = _shifter(config)
    before, sampled = _copy(shifter.weights), [_graph(0, 1), _graph(2, 1)]
    for _ in range(2):
        _generation(shifter, sampled)
    used = {name for graph in sampled for name in graph.weights}
    after = _copy(shifter.weights)
    assert {name for name in before if not torch.equal(before[name], after[name])} == used


def test_immediate_shifting_trains_each_candidate_before_it_is_evaluated() -> None:
    shifter, graph = _shifter(IMMEDIATE), _graph(0, 1)
    before = _copy(shifter.weights)
    shifter.begin_generation(2)
    shifter.visit(graph)
    middle = _copy(shifter.weights)
    assert not _same(before, middle)
    shifter.visit(_graph(2, 1))
    assert not _same(middle, _copy(shifter.weights))
    shifted = _copy(shifter.weights)
    shifter.end_generation()
    assert _same(shifted, _copy(shifter.weights))


def test_shifting_lowers_the_loss_of_the_architectures_that_are_sampled() -> None:
    shifter = _shifter(changed(IMMEDIATE, steps_per_candidate=20))
    losses = [_generation(shifter, [_graph(0, 1)])[0] for _ in range(3)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("config", [ACCUMULATE, IMMEDIATE], ids=lambda config: config.mode.value)
def test_a_generation_that_a_crash_cut_off_is_recomputed_exactly(config: ShiftingSettings, tmp_path: Path) -> None:
    undisturbed = _shifter(config)
    for graphs in ([_graph(0, 1), _graph(2, 2)], [_graph(3, 1), _graph(0, 0)]):
        expected = _generation(undisturbed, graphs)

    path, first = tmp_path / "version.safetensors", _shifter(config)
    _generation(first, [_graph(0, 1), _graph(2, 2)])
    first.save(path)
    first.begin_generation(2)
    first.visit(_graph(3, 1))  # the crash

    resumed = _shifter(config)
    resumed.load(path)
    assert resumed.version == 1
    assert _generation(resumed, [_graph(3, 1), _graph(0, 0)]) == expected
    assert _same(_copy(resumed.weights), _copy(undisturbed.weights))


def test_running_statistics_move_only_when_the_reference_codes_way_is_asked_for() -> None:
    still, moving = _shifter(ACCUMULATE), _shifter(changed(ACCUMULATE, running_statistics=True))
    for shifter in (still, moving):
        _generation(shifter, [_graph(0, 1)])
    assert still.weights.running.full("stem.bn")[0].abs().sum() == 0
    assert moving.weights.running.full("stem.bn")[0].abs().sum() > 0
    assert moving.weights.running.full("stage0.block0.shuffle7.main.0.bn")[0].abs().sum() == 0


def test_the_order_of_calls_is_checked(tmp_path: Path) -> None:
    shifter = _shifter(ACCUMULATE)
    with pytest.raises(TrainingError, match="no further candidate"):
        shifter.visit(_graph(0, 0))
    with pytest.raises(TrainingError, match="visit the others"):
        shifter.end_generation()
    shifter.begin_generation(1)
    with pytest.raises(TrainingError, match="under way"):
        shifter.begin_generation(1)
    with pytest.raises(TrainingError, match="whole versions"):
        shifter.save(tmp_path / "x")
    shifter.visit(_graph(0, 0))
    with pytest.raises(TrainingError, match="no further candidate"):
        shifter.visit(_graph(0, 0))


def test_versions_of_other_settings_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "version.safetensors"
    _shifter(ACCUMULATE).save(path)
    with pytest.raises(TrainingError, match="other settings"):
        _shifter(ACCUMULATE, seed=1).load(path)
    tiny_weights(SPACE).save(path)
    with pytest.raises(TrainingError, match="no version"):
        _shifter(ACCUMULATE).load(path)


def test_a_loss_that_is_not_finite_is_refused() -> None:
    shifter = _shifter(ACCUMULATE)
    with torch.no_grad():
        shifter.weights["head.linear.weight"].fill_(float("nan"))
    shifter.begin_generation(1)
    with pytest.raises(TrainingError, match="candidate 0 in version 0"):
        shifter.visit(_graph(0, 0))


def test_published_settings_are_the_defaults() -> None:
    config = ShiftingSettings()
    assert (config.mode, config.images_per_candidate) == (ShiftingMode.ACCUMULATE, 640)
    assert config.learning_rate == 1e-4
    with pytest.raises(ValidationError, match="no multiple"):
        ShiftingSettings(images_per_candidate=100, batch_size=64)


def test_a_supernet_moves_to_other_classes_with_a_new_head_and_nothing_else_new() -> None:
    old = tiny_weights(SPACE)
    parameters = dict(SPACE.parameters) | {"num_classes": 5}
    space = create_space("spos", parameters)
    moved = transfer_to(space, old.named_tensors(), torch.Generator().manual_seed(2))
    assert moved["head.linear.weight"].shape == (5, 16)
    assert moved["head.linear.weight"].std().item() == pytest.approx(0.01, rel=0.3)
    assert all(torch.equal(moved[name], old[name]) for name in old if name != "head.linear.weight")
    graph = decoded_graph(space, (0, 1), Form.SUPERNET)
    x, labels = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(4)
    torch.autograd.backward(F.cross_entropy(forward(x, graph, weights=moved), labels))
    wider = create_space("spos", parameters | {"tail_channels": 24})
    with pytest.raises(WeightsError, match="to transfer"):
        transfer_to(wider, old.named_tensors(), torch.Generator())
    assert fresh_head([graph], torch.Generator()).keys() == {"head.linear.weight"}
