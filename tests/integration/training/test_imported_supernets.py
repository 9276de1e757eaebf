"""Supernets that were trained elsewhere: registered by the command, and searched like any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from hilnas.cli.models.imported_supernets import imported_supernet
from hilnas.client.errors import SpecFileError
from nas_engine.domain.errors import WeightsError
from nas_engine.spaces.registry import create_space
from nas_engine.supernet.weights import WeightStore
from tests.support.commands import supernets
from tests.support.processes.served_worker import served_worker
from tests.support.samples.published_checkpoints import spos_tensors
from tests.support.worlds.worker_world import EVALUATION, TINY_SPACE, TRAINING


def weights_file(path: Path, seed: int = 0) -> Path:
    space = create_space(TINY_SPACE["id"], TINY_SPACE["parameters"])
    WeightStore.create(space.supernet_graphs(), torch.Generator().manual_seed(seed)).save(path)
    return path


def test_weights_trained_elsewhere_are_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = weights_file(tmp_path / "elsewhere.safetensors")
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(TRAINING))
    with served_worker(tmp_path / "served") as served:
        monkeypatch.setenv("HILNAS_URL", served.server.url)
        monkeypatch.setenv("HILNAS_TOKEN", served.server.token)
        command = ["import", str(weights), "--layout", "hilnas", "--name", "brought"]
        assert supernets.main([*command, "--spec", str(spec)]) == 0
        (id,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("sup_")]
        (version,) = served.nas.supernets.versions(id)
        assert version.statistics["provenance"]["file"] == "elsewhere.safetensors"
        assert supernets.main(["show", "brought"]) == 0
        assert "elsewhere.safetensors" in capsys.readouterr().out
        search = served.nas.searches.create(
            {
                "space": TINY_SPACE,
                "supernet": "brought",
                "objectives": [{"metric": "top1"}, {"metric": "macs"}],
                "evaluation": EVALUATION,
                "algorithm": {"kind": "random"},
                "budget": {"num_candidates": 3},
            }
        )
        served.until(lambda: served.nas.searches.get(search.id).state.final, "the search ends")
        ended = served.nas.searches.get(search.id)
        assert ended.state.value == "completed", ended.reason
        assert supernets.main(command) == 1
        assert "does not say what it was trained with: give --spec FILE" in capsys.readouterr().err


def test_published_weights_come_with_the_papers_recipe_and_where_they_are_from(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint-150000.pth.tar"
    torch.save({"state_dict": spos_tensors(torch.Generator().manual_seed(0))}, file)
    found = imported_supernet(file, "spos", {}, {"dataset": "my-imagenet"})
    assert (found.spec.name, found.spec.dataset, found.spec.space.id) == ("spos-published", "my-imagenet", "spos")
    assert found.provenance["licence"] == "MIT"
    assert found.provenance["file"] == "checkpoint-150000.pth.tar"
    assert len(found.provenance["file_sha256"]) == 64
    assert [remark.partition(":")[0] for remark in found.remarks] == [
        "licence of these weights",
        "334 tensors (334 numbers) left out",
        "changed on the way",
    ]
    with pytest.raises(SpecFileError, match="unknown layout 'sposs': known are hilnas, spos, attentivenas; did you"):
        imported_supernet(file, "sposs", {}, {})
    with pytest.raises(SpecFileError, match="are of space spos as published"):
        imported_supernet(file, "spos", {"space": {"id": "spos", "parameters": {"num_classes": 10}}}, {})
    with pytest.raises(WeightsError, match="not of layout attentivenas"):
        imported_supernet(file, "attentivenas", {}, {})


def test_weights_of_another_space_are_refused(tmp_path: Path) -> None:
    weights = weights_file(tmp_path / "elsewhere.safetensors")
    other = {**TRAINING, "space": {"id": "spos", "parameters": {**TINY_SPACE["parameters"], "tail_channels": 8}}}
    with pytest.raises(WeightsError, match="expected"):
        imported_supernet(weights, "hilnas", other, {})
