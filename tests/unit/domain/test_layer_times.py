"""Profiles of layers: their bounds, their intervals, their bytes; and the blocks that an engine's steps belong to."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.measuring.layer_times import (
    MAX_LAYER_NS,
    LayerProfile,
    ProfiledLayer,
    compress_times,
    decompress_times,
)
from nas_engine.domain.search_space import Form
from nas_engine.domain.views.complexity import macs
from nas_engine.domain.views.layer_times import layers_by_block, node_of_layer
from nas_engine.spaces.registry import create_space

LAYERS = (ProfiledLayer(name="a", operator="Conv"), ProfiledLayer(name="b", operator="Add"))


def test_the_mean_of_layers_together_has_the_interval_of_whole_runs() -> None:
    # What one layer takes more, the other takes less: together they are steady.
    profile = LayerProfile(source="p", layers=LAYERS, times_ns=((1000, 3000), (2000, 2000), (3000, 1000)))
    both, first = profile.mean_us([0, 1]), profile.mean_us([0])
    assert (both.value, both.half_width) == (4.0, 0.0)
    assert first.value == 2.0
    assert first.half_width == pytest.approx(1.96 / np.sqrt(3))
    assert LayerProfile(source="p", layers=LAYERS, times_ns=((1000, 3000),)).mean_us([0]).half_width is None


def test_times_survive_the_wire() -> None:
    times = ((0, 5), (MAX_LAYER_NS, 7))
    assert decompress_times(compress_times(times), 2, 2) == times


@pytest.mark.parametrize(
    ("data", "num_runs", "num_layers"),
    [
        (b"junk", 1, 1),
        (zlib.compress(bytes(8)), 1, 2),
        (zlib.compress(bytes(24)), 1, 2),
        (zlib.compress(bytes(8)) + b"more", 1, 1),
        (zlib.compress(bytes(8))[:-3], 1, 1),
        (zlib.compress(bytes(10**9 // 50)), 1, 1),
        (zlib.compress(b""), 0, 1),
        (zlib.compress(bytes(8)), 1, 10**9),
    ],
)
def test_other_bytes_than_were_announced_are_refused(data: bytes, num_runs: int, num_layers: int) -> None:
    with pytest.raises(InvalidMeasurementError):
        decompress_times(data, num_runs, num_layers)


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": ()},
        {"times_ns": ()},
        {"times_ns": ((1,),)},
        {"times_ns": ((1, -1),)},
        {"times_ns": ((1, MAX_LAYER_NS + 1),)},
        {"times_ns": ((1, 1),) * 51},
        {"source": ""},
        {"source": "a\nb"},
    ],
)
def test_malformed_profiles_are_refused(changes: dict[str, object]) -> None:
    values: dict[str, object] = {"source": "p", "layers": LAYERS, "times_ns": ((1, 2),)}
    LayerProfile(**values)  # type: ignore[arg-type]
    with pytest.raises(InvalidMeasurementError):
        LayerProfile(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "a\x00b", "x" * 201, "two\nlines"])
def test_names_are_one_line_of_bounded_length(name: str) -> None:
    if name == "":
        ProfiledLayer(name=name, operator=name)
        return
    with pytest.raises(InvalidMeasurementError, match="one line"):
        ProfiledLayer(name=name, operator="Conv")


@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("stem.conv", "stem.conv"),
        ("stem.relu_nchwc", "stem.relu"),
        ("fused stem.conv", "stem.conv"),
        ("Conv:stem.conv", "stem.conv"),
        ("b.swish.sigmoid", "b.swish"),
        ("sum.2", "sum"),
        ("ReorderOutput_token_194", None),
        ("", None),
    ],
)
def test_steps_are_found_by_what_engines_make_of_names(name: str, node: str | None) -> None:
    assert node_of_layer(name, {"stem.conv", "stem.relu", "b.swish", "sum"}) == node


def test_every_block_has_its_steps_and_its_macs() -> None:
    space = create_space("spos", {"input_size": 32, "stage_repeats": [1, 1, 1, 1], "num_classes": 10})
    graph = space.graph(space.decode((0, 1, 2, 3)), Form.DEPLOYED)
    assert graph is not None
    names = [f"{node.name}_nchwc" for node in graph.nodes[1:]]
    blocks = layers_by_block(graph, ["ReorderInput", *names])
    assert [number for block in blocks[:-1] for number in block.layers] == list(range(1, len(names) + 1))
    assert (blocks[-1].summary, blocks[-1].layers) == (None, (0,))
    assert sum(block.summary.macs for block in blocks if block.summary is not None) == macs(graph)
    for block in blocks[:-1]:
        assert block.summary is not None
        assert {graph.nodes[number].block for number in block.layers} == {block.summary.block}
