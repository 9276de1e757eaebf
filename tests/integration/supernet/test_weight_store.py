"""The weight store: exact names and shapes, atomic files, nothing non-finite, decay by role."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas_engine.domain.errors import WeightsError
from nas_engine.domain.layer_graph import WeightRole
from nas_engine.spaces.shufflenet import ShuffleNetSpace
from nas_engine.supernet.weights import WeightStore
from tests.support.samples.graphs import chain, elastic


def _store(seed: int = 0) -> WeightStore:
    return WeightStore.create([chain()], torch.Generator().manual_seed(seed))


def test_weights_are_drawn_from_the_generator_alone() -> None:
    assert all(torch.equal(a, b) for a, b in zip(_store(3).values(), _store(3).values(), strict=True))
    assert not torch.equal(_store(3)["a.conv.weight"], _store(4)["a.conv.weight"])


def test_the_published_space_has_the_published_number_of_supernet_weights() -> None:
    weights = WeightStore.create(ShuffleNetSpace().supernet_graphs(), torch.Generator().manual_seed(0))
    assert weights.num_parameters() == 8_388_176
    assert weights["stem.conv.weight"].std().item() == pytest.approx(0.01, rel=0.2)
    assert weights["tail.conv.weight"].std().item() == pytest.approx(1 / 640, rel=0.05)


def test_saving_and_loading_gives_the_same_weights_and_running_statistics(tmp_path: Path) -> None:
    store, path = _store(), tmp_path / "supernet.safetensors"
    store.running.full("a.bn")[0].fill_(2.5)
    store.save(path)
    loaded = WeightStore.load(path, [chain()])
    assert list(loaded) == list(store)
    assert all(torch.equal(loaded[name], store[name]) for name in store)
    assert loaded.running.full("a.bn")[0].tolist() == [2.5] * 4
    assert all(tensor.requires_grad and tensor.is_leaf for tensor in loaded.values())
    assert [p.name for p in tmp_path.iterdir()] == ["supernet.safetensors"]


def test_a_file_of_another_space_is_refused_with_the_first_difference(tmp_path: Path) -> None:
    path = tmp_path / "supernet.safetensors"
    _store().save(path)
    with pytest.raises(WeightsError, match=r"missing.*unknown.*another space"):
        WeightStore.load(path, [elastic(3, 3)])
    with pytest.raises(WeightsError, match=r"a\.conv\.weight.*\(4, 1, 3, 3\).*expected \(6, 1, 3, 3\)"):
        WeightStore.load(path, [chain(6)])


def test_diverged_weights_are_not_stored_and_the_old_file_stays(tmp_path: Path) -> None:
    path, store = tmp_path / "supernet.safetensors", _store()
    store.save(path)
    before = path.read_bytes()
    with torch.no_grad():
        store["a.conv.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(WeightsError, match="diverged"):
        store.save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_absent_cut_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights at"):
        WeightStore.load(tmp_path / "nothing", [chain()])
    path = tmp_path / "supernet.safetensors"
    _store().save(path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        WeightStore.load(path, [chain()])
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        WeightStore.load(path, [chain()])


def test_a_new_head_replaces_the_stored_one_and_nothing_else(tmp_path: Path) -> None:
    path, store = tmp_path / "supernet.safetensors", _store()
    store.save(path)
    head = {"head.linear.weight": torch.ones(7, 4), "head.linear.bias": torch.zeros(7)}
    moved = WeightStore.load(path, [chain(num_classes=7)], fresh=head)
    assert torch.equal(moved["a.conv.weight"], store["a.conv.weight"])
    assert torch.equal(moved["head.linear.weight"], head["head.linear.weight"])
    with pytest.raises(WeightsError, match="the fresh weights"):
        WeightStore.load(path, [chain(num_classes=7)], fresh=head | {"x": torch.ones(1)})


def test_groups_split_by_role() -> None:
    store = _store()
    decayed, free = store.groups(frozenset({WeightRole.CONV, WeightRole.FC}))
    assert [tuple(t.shape) for t in free] == [(3,)]
    assert len(decayed) == 3
    assert sum(t.numel() for t in [*decayed, *free]) == store.num_parameters()


def test_one_name_for_two_tensors_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"a\.conv\.weight"):
        WeightStore.create([chain(4), chain(6)], torch.Generator())
