"""The documented table of published DenseNAS models says what the engine computes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nas_engine.domain.search_space import Form
from nas_engine.domain.views.complexity import complexity
from nas_engine.spaces.registry import create_space

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "published_models_densenas.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| densenas-")
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_documented_macs_and_params_are_computed(row: list[str]) -> None:
    name, space_id, _, published_macs, measured_macs, macs, _, measured_params, params = row
    space = create_space(space_id)
    graph = space.graph(space.parse(name), Form.DEPLOYED)
    assert graph is not None
    cost = complexity(graph)
    assert f"{cost.macs / 1e6:.6f}" == macs
    assert f"{cost.params / 1e6:.6f}" == params
    for ours, measured in ((macs, measured_macs), (params, measured_params)):
        assert float(ours) == pytest.approx(float(measured), abs=0.5 * 10.0 ** -len(measured.partition(".")[2]))
    assert float(macs) == pytest.approx(float(published_macs), rel=0.005)


def test_every_shipped_model_is_documented() -> None:
    shipped = [(name, s) for s in ("densenas-mbv2", "densenas-resnet") for name in create_space(s).named]
    assert [(row[0], row[1]) for row in ROWS] == shipped


def test_the_documented_small_image_variant_is_a_space() -> None:
    page = (PAGE.parents[1] / "explanation" / "densenas.md").read_text()
    (block,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    space = create_space("densenas-mbv2", json.loads(block))
    graph = space.graph(space.decode([0] * len(space.genes)), Form.DEPLOYED)
    assert graph is not None
    assert graph.input_shape == (1, 28, 28)
