"""Pictures of architectures, byte for byte. HILNAS_UPDATE_GOLDEN=1 rewrites the files after a wanted change."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form
from nas_engine.domain.views.block_summary import align_blocks, summarise_blocks
from nas_engine.domain.views.complexity import complexity
from nas_engine.domain.views.picture import draw_architecture, draw_difference
from nas_engine.spaces.registry import create_space
from tests.support.samples.sample_graphs import every_node_graph, small_shufflenet

FOLDER = Path(__file__).parent / "pictures"
SVG = "{http://www.w3.org/2000/svg}"


def _published(space_id: str = "spos", name: str = "spos-searched") -> LayerGraph:
    space = create_space(space_id)
    graph = space.graph(space.parse(name), Form.DEPLOYED)
    assert graph is not None
    return graph


def _pictures() -> dict[str, str]:
    return {
        "spos-searched": draw_architecture(_published(), title="spos-searched"),
        "scarlet-a": draw_architecture(_published("scarlet-s2", "scarlet-a"), title="scarlet-a"),
        "densenas-a": draw_architecture(_published("densenas-mbv2", "densenas-a"), title="densenas-a"),
        "alphanet-a0": draw_architecture(_published("attentivenas", "alphanet-a0"), title="alphanet-a0"),
        "every-node": draw_architecture(every_node_graph(), title="every <node> & more"),
        "difference": draw_difference(
            small_shufflenet((0, 1, 2, 3)),
            small_shufflenet((0, 1, 3, 3)),
            title="two small networks",
            first_name="a",
            second_name="b",
        ),
        "different-blocks": draw_difference(small_shufflenet(), every_node_graph(), title="nothing in common"),
    }


@pytest.mark.parametrize("name", _pictures())
def test_the_picture_is_the_approved_one(name: str) -> None:
    picture, file = _pictures()[name], FOLDER / f"{name}.svg"
    if os.environ.get("HILNAS_UPDATE_GOLDEN") == "1":
        file.write_text(picture, encoding="utf-8")
    assert picture == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", _pictures())
def test_the_picture_is_well_formed_and_accessible(name: str) -> None:
    root = ElementTree.fromstring(_pictures()[name])
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert description is not None
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert root.get("role") == "img"
    assert title.text
    assert not root.findall(f".//{SVG}style")
    assert not root.findall(f".//{SVG}script")


def test_the_shares_of_a_picture_add_up() -> None:
    graph = _published()
    blocks = summarise_blocks(graph)
    assert len(blocks) == 23
    cost = complexity(graph)
    assert (sum(b.macs for b in blocks), sum(b.params for b in blocks)) == (cost.macs, cost.params)
    assert [block.stride for block in blocks[:3]] == [2, 2, 1]


def test_equal_architectures_differ_in_no_block() -> None:
    blocks = summarise_blocks(small_shufflenet())
    assert not any(pair.is_changed for pair in align_blocks(blocks, blocks))


def test_blocks_are_paired_by_label_and_changed_ones_found() -> None:
    first, second = summarise_blocks(small_shufflenet((0, 1, 2, 3))), summarise_blocks(small_shufflenet((0, 1, 3, 3)))
    changed = [pair for pair in align_blocks(first, second) if pair.is_changed]
    assert [(p.first.operator, p.second.operator) for p in changed if p.first and p.second] == [
        ("shuffle7", "xception")
    ]


def test_every_block_of_both_stands_once_where_nothing_is_common() -> None:
    first, second = summarise_blocks(small_shufflenet()), summarise_blocks(every_node_graph())
    pairs = align_blocks(first, second)
    assert [pair.first for pair in pairs if pair.first] == list(first)
    assert [pair.second for pair in pairs if pair.second] == list(second)
