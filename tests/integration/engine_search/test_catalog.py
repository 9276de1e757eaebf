"""The catalog: spaces, data sets and fronts as the service sees them, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from nas_engine.domain.errors import DatasetError, InvalidArchitectureError, InvalidSpaceError
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.metric import Goal
from nas_engine.domain.metrics import LATENCY_US, MACS, TOP1
from nas_engine.domain.objective import Objective
from server.searches.fronts.fronts import FrontMaths
from server.spaces.catalog import SpaceCatalog
from server.spaces.datasets import DatasetCatalog

CATALOG = SpaceCatalog()
SMALL = {
    "num_classes": 10,
    "input_size": 32,
    "stem_channels": 8,
    "stage_channels": [16, 32],
    "stage_repeats": [1, 1],
    "tail_channels": 16,
}
OBJECTIVES = (Objective(TOP1, Goal.MAXIMIZE), Objective(LATENCY_US, Goal.MINIMIZE))
MATHS = FrontMaths()


@pytest.mark.parametrize("space_id", CATALOG.space_ids())
def test_every_space_describes_itself(space_id: str) -> None:
    space = CATALOG.describe(space_id, {})
    assert space.title != space_id
    assert space.num_classes == 1000
    assert space.size > 1
    assert space.genes


def test_bounds_enclose_every_published_model() -> None:
    bounds = CATALOG.bounds("spos", {})
    for name in CATALOG.describe("spos", {}).named:
        record = CATALOG.record("spos", {}, name)
        assert record.values["macs"] is not None
        assert bounds[MACS].minimum <= record.values["macs"] <= bounds[MACS].maximum


def test_a_genotype_and_its_record_are_the_same_architecture() -> None:
    record = CATALOG.decode("spos", SMALL, (1, 3))
    assert record == CATALOG.record("spos", SMALL, [1, 3])
    assert record.genotype == (1, 3)


def test_the_export_is_a_pure_function_and_a_valid_model() -> None:
    architecture = CATALOG.decode("spos", SMALL, (0, 3)).architecture
    first, second = (CATALOG.export_onnx(architecture, batch=1, seed=0) for _ in range(2))
    assert first == second
    onnx.checker.check_model(onnx.load_from_string(first))
    assert CATALOG.latency_key(architecture, dtype=Dtype.FP32, batch=1) != CATALOG.latency_key(
        architecture, dtype=Dtype.FP32, batch=2
    )


def test_pictures_show_one_architecture_or_the_difference_of_two() -> None:
    one, other = (CATALOG.decode("spos", SMALL, genotype).architecture for genotype in ((0, 3), (1, 3)))
    assert CATALOG.picture_svg(one).startswith("<svg")
    assert "1 of " in CATALOG.picture_svg(one, other)


def test_unknown_spaces_and_models_are_named() -> None:
    with pytest.raises(InvalidSpaceError, match="nope"):
        CATALOG.describe("nope", {})
    with pytest.raises(InvalidArchitectureError, match="spos-unheard-of"):
        CATALOG.record("spos", {}, "spos-unheard-of")


def test_the_front_holds_what_nothing_dominates_and_keeps_equal_rows() -> None:
    rows = [(0.7, 100.0), (0.8, 200.0), (0.7, 150.0), (0.8, 200.0)]
    assert list(MATHS.non_dominated(OBJECTIVES, rows)) == [0, 1, 3]
    assert list(MATHS.non_dominated(OBJECTIVES, [])) == []


def test_hypervolume_is_the_area_up_to_the_reference() -> None:
    assert MATHS.hypervolume(OBJECTIVES, [(0.8, 100.0)], (0.5, 200.0)) == pytest.approx(0.3 * 100)
    assert MATHS.hypervolume(OBJECTIVES, [(0.4, 100.0)], (0.5, 200.0)) == 0.0
    with pytest.raises(ValueError, match="finite"):
        MATHS.hypervolume(OBJECTIVES, [(float("nan"), 1.0)], (0.5, 200.0))


def test_registered_data_sets_join_the_embedded_one(tmp_path: Path) -> None:
    file = tmp_path / "datasets.json"
    file.write_text(json.dumps({"flowers": {"kind": "folder", "path": "/data/flowers", "num_classes": 102}}))
    datasets = DatasetCatalog.from_file(file)
    assert [d.name for d in datasets.all()] == ["fashion-mnist-12k", "flowers"]
    assert datasets.registered("flowers").path == "/data/flowers"
    assert DatasetCatalog.from_file(None).describe("flowers") is None


@pytest.mark.parametrize("content", ["{", '{"x": {"kind": "pickle", "num_classes": 2}}', '{"../x": {}}'])
def test_a_malformed_data_set_file_is_refused_with_its_name(tmp_path: Path, content: str) -> None:
    file = tmp_path / "datasets.json"
    file.write_text(content)
    with pytest.raises(DatasetError, match="datasets.json"):
        DatasetCatalog.from_file(file)


def test_the_catalog_needs_no_torch() -> None:
    modules = "server.spaces.catalog, server.searches.fronts.fronts, server.spaces.datasets"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
