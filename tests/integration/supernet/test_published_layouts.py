"""Published supernets: every tensor accounted for, the same numbers come out, and nothing in a file ever runs."""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas_engine.domain.errors import WeightsError
from nas_engine.domain.search_space import Form, sample_genotype
from nas_engine.supernet.execute import forward
from nas_engine.supernet.published.checkpoint import LEGACY_MAGIC, read_checkpoint
from nas_engine.supernet.published.layouts import LAYOUTS
from tests.support.samples.published_checkpoints import (
    attentive_forward,
    attentive_tensors,
    spos_forward,
    spos_tensors,
)

Tensors = dict[str, torch.Tensor]
MAKE: dict[str, Callable[[torch.Generator], Tensors]] = {"spos": spos_tensors, "attentivenas": attentive_tensors}
# SHA-256 of the lines `name,shape` in order of the published models' own state_dict.
PUBLISHED_NAMES = {
    "spos": "5fa593707fb8b5772394f4cb93b6bbfeb243b1b8f113bc1a9e4b492ab8b845ef",
    "attentivenas": "cd7bbf28499870355c2456b5792c9d26f09f70f8027e77786209abd192c04e2f",
}


class Configuration(dict[str, Any]):
    """As the published files carry one: an object of a class that only their authors have."""


class Trap:
    """What would leave a file behind if it were built."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.marker}",)


def tensors_of(name: str) -> Tensors:
    return MAKE[name](torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def made() -> dict[str, Tensors]:
    """The tensors of each layout, with random numbers."""
    return {name: tensors_of(name) for name in MAKE}


def saved(path: Path, tensors: Tensors, *, legacy: bool = True, prefix: str = "module.", **beside: object) -> Path:
    document = {"state_dict": {prefix + name: tensor for name, tensor in tensors.items()}, **beside}
    torch.save(document, path, _use_new_zipfile_serialization=not legacy)
    return path


def doubled(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """In float64, where rounding hides no difference."""
    return {name: tensor.detach().double() for name, tensor in tensors.items()}


@pytest.mark.parametrize("name", MAKE)
def test_the_names_and_shapes_are_the_published_ones(name: str, made: dict[str, Tensors]) -> None:
    lines = sorted(f"{key},{'x'.join(map(str, tensor.shape))}" for key, tensor in made[name].items())
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == PUBLISHED_NAMES[name]


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
@pytest.mark.parametrize("name", MAKE)
def test_every_tensor_is_a_weight_or_left_out_by_a_rule(
    name: str, legacy: bool, made: dict[str, Tensors], tmp_path: Path
) -> None:
    optimizer = {"state": {0: {"momentum_buffer": torch.rand(5), "step": 7}}}
    path = saved(tmp_path / "file.pth.tar", made[name], legacy=legacy, optimizer=optimizer, args=Configuration(lr=0.1))
    published = LAYOUTS[name].read(read_checkpoint(path))
    left_out = sum(rule.num_tensors for rule in published.left_out)
    assert len(published.weights.named_tensors()) + left_out == len(made[name])
    assert published.weights.num_parameters() == {"spos": 8_388_176, "attentivenas": 23_934_704 - 530_048}[name]
    if name == "attentivenas":
        unused = [rule for rule in published.left_out if rule.rule.startswith("shortcut")]
        assert [(rule.num_tensors, rule.num_numbers) for rule in unused] == [(30, 530_048)]


def test_spos_gives_the_logits_of_the_published_model(made: dict[str, Tensors], tmp_path: Path) -> None:
    layout, tensors = LAYOUTS["spos"], made["spos"]
    weights = doubled(layout.read(read_checkpoint(saved(tmp_path / "checkpoint.pth.tar", tensors))).weights)
    space, rng = layout.space(), torch.Generator().manual_seed(2)
    x_NCHW = torch.randn((2, 3, 224, 224), generator=rng, dtype=torch.float64)
    for choices in ([0] * 20, [3] * 20, [2, 1, 0, 1, 2, 0, 2, 0, 2, 0, 2, 3, 0, 0, 0, 0, 3, 2, 3, 3]):
        graph = space.graph(space.parse(choices), Form.SUPERNET)
        assert graph is not None
        with torch.no_grad():
            theirs = spos_forward(doubled(tensors), x_NCHW.flip(1), choices)  # the published network takes BGR
            ours = forward(x_NCHW, graph, weights=weights)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_attentivenas_gives_the_logits_of_the_published_model(made: dict[str, Tensors], tmp_path: Path) -> None:
    layout, tensors = LAYOUTS["attentivenas"], made["attentivenas"]
    weights = doubled(layout.read(read_checkpoint(saved(tmp_path / "alphanet.pth", tensors, prefix=""))).weights)
    space, rng = layout.space(), torch.Generator().manual_seed(2)
    drawn = [space.decode(sample_genotype(space.genes, np.random.default_rng(seed))) for seed in (1, 2)]
    for architecture in (space.parse("alphanet-a0"), *drawn):
        choices: Any = architecture.choices_value()
        graph = space.graph(architecture, Form.SUPERNET)
        assert graph is not None
        x_NCHW = torch.randn((2, *graph.input_shape), generator=rng, dtype=torch.float64)
        with torch.no_grad():
            ours = forward(x_NCHW, graph, weights=weights)
            theirs = attentive_forward(
                doubled(tensors),
                x_NCHW,
                widths=choices["width"],
                depths=choices["depth"],
                kernels=choices["kernel_size"],
                expansions=choices["expand_ratio"],
            )
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_nothing_in_a_file_is_run(tmp_path: Path, made: dict[str, Tensors]) -> None:
    for legacy in (True, False):
        marker = tmp_path / f"ran-{legacy}"
        path = saved(tmp_path / "trap.pth", made["spos"], legacy=legacy, args=Trap(marker), more={"x": [Trap(marker)]})
        with pytest.raises(pickle.UnpicklingError):
            torch.load(path, weights_only=True)
        LAYOUTS["spos"].read(read_checkpoint(path))
        assert not marker.exists()


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
def test_a_trap_in_place_of_a_tensor_is_refused_and_not_run(legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "trap.pth"
    torch.save({"state_dict": {"a": Trap(tmp_path / "ran")}}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match="'a' is no tensor"):
        read_checkpoint(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("classifier.0.weight"), r"1 weights are missing \(first: \['head.linear.weight'\]"),
        (lambda t: t.update({"extra.weight": torch.zeros(2)}), r"1 tensors of the file are unknown .*'extra.weight'"),
        (lambda t: t.update({"classifier.0.weight": torch.zeros(10, 1024)}), r"shape \(10, 1024\), expected \(1000"),
        (
            lambda t: t.update({"classifier.0.weight": torch.zeros(1000, 1024).half()}),
            "holds float16, expected float32",
        ),
        (lambda t: t["conv_last.0.weight"].fill_(float("nan")), "'conv_last.0.weight' holds a non-finite number"),
        (lambda t: t.update({"features.20.0.branch_main.0.weight": torch.zeros(2)}), "features.20.0"),
    ],
    ids=["missing", "unknown", "shape", "type", "nan", "layer"],
)
def test_what_does_not_fit_is_refused_by_name(
    change: Callable[[Tensors], object], message: str, tmp_path: Path
) -> None:
    tensors = tensors_of("spos")
    change(tensors)
    path = saved(tmp_path / "file.pth", tensors)
    with pytest.raises(WeightsError, match=message):
        LAYOUTS["spos"].read(read_checkpoint(path))


def test_a_file_of_the_other_layout_is_refused(made: dict[str, Tensors], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not of layout attentivenas: 1003 tensors of the file are unknown"):
        LAYOUTS["attentivenas"].read(read_checkpoint(saved(tmp_path / "file.pth", made["spos"])))


def test_tensors_that_reach_beyond_what_is_stored_are_refused(tmp_path: Path) -> None:
    view = torch.zeros(4).as_strided((1000,), (0,))  # a thousand times the same number
    path = saved(tmp_path / "file.pth", {"a": view}, prefix="")
    with pytest.raises(WeightsError, match="reaches beyond its 4 stored numbers"):
        read_checkpoint(path).array("a")


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
def test_a_file_that_is_cut_short_is_refused(legacy: bool, tmp_path: Path) -> None:
    path = saved(tmp_path / "file.pth", {"a": torch.arange(1000.0), "b": torch.ones(5)}, legacy=legacy, prefix="")
    whole = path.read_bytes()
    torch.testing.assert_close(torch.from_numpy(read_checkpoint(path).array("a")), torch.arange(1000.0))
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError):  # wherever it was cut
            [read_checkpoint(path).array(name) for name in ("a", "b")]


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    with pytest.raises(WeightsError, match="cannot be read: No such file"):
        read_checkpoint(path)
    for content in (b"", b"<html>not found</html>", b"version https://git-lfs.github.com/spec/v1\n", pickle.dumps([1])):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="no .*PyTorch checkpoint"):
            read_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<x/>")
    with pytest.raises(WeightsError, match="has no data.pkl"):
        read_checkpoint(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    with pytest.raises(WeightsError, match="is compressed"):
        read_checkpoint(path)


def test_a_pickle_that_asks_for_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    far = b"\x80\x02K\x01r" + struct.pack("<I", 2**32 - 1) + b"."  # puts its one object to place four billion
    path.write_bytes(pickle.dumps(LEGACY_MAGIC, 2) + far)
    with pytest.raises(WeightsError, match="puts to place 4294967295"):
        read_checkpoint(path)
