"""The papers' searches as presets: accepted as they stand, and the published numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from nas_engine.domain.measuring.environment import Dtype
from nas_engine.settings.algorithms import BinnedEvolutionSettings, SposEvolutionSettings
from nas_engine.settings.densenas import Alternation, DenseNasSettings
from server.candidates.spec import parse_search_spec
from server.fleet.device import Enrolment
from server.fleet.devices import Devices
from server.searches.admission import Admission
from server.searches.presets import SEARCH_PRESETS, TABLE_PLACE, search_preset
from server.searches.searches import Searches
from server.searches.worker.stepping import create_procedure
from server.spaces.catalog import SpaceCatalog
from server.spaces.datasets import DatasetCatalog
from server.training.supernets import Supernets
from tests.support.commands import search
from tests.support.worlds.api_world import ENROLMENT, World, capabilities


@pytest.mark.parametrize("name", SEARCH_PRESETS)
def test_every_preset_is_admitted_where_its_data_and_a_board_are(name: str, world: World, tmp_path: Path) -> None:
    classes = {"imagenet": 1000, "imagenet100": 100}
    registry = tmp_path / "datasets.json"
    entries = {data: {"kind": "folder", "path": str(tmp_path), "num_classes": num} for data, num in classes.items()}
    registry.write_text(json.dumps(entries), encoding="utf-8")
    spaces, datasets = SpaceCatalog(), DatasetCatalog.from_file(registry)
    uow = world.process.uow
    admission = Admission(spaces, datasets, Supernets(uow, spaces, datasets))
    identity = replace(capabilities().identity, runtime="rknnlite", runtime_versions=(("rknnlite", "2.3.2"),))
    offered = replace(capabilities(), identity=identity, dtypes=(Dtype.FP16,))
    world.process.get(Devices).enrol(ENROLMENT, Enrolment(name="b", device_type="rk3588", capabilities=offered))
    preset = search_preset(name)
    spec = parse_search_spec(preset.spec.model_dump(mode="json"))
    assert spec == preset.spec
    report = uow.read(lambda tx: admission.examine(tx, spec))
    assert [violation.pointer for violation in report.violations] == [place for place, _ in preset.needs]
    assert create_procedure(spec, spaces.space(spec.space.id, spec.space.parameters)).generation == 0


def test_presets_name_their_papers_algorithm_which_no_choice_of_the_server_replaces(world: World) -> None:
    named = {name: preset.spec.algorithm.kind for name, preset in SEARCH_PRESETS.items()}
    papers = {"spos": "spos_evolution", "scarlet": "scarlet_nsga2", "densenas": "densenas"}
    assert all(named[name] == kind for start, kind in papers.items() for name in named if name.startswith(start))
    for preset in SEARCH_PRESETS.values():
        document = preset.spec.model_dump(mode="json")
        spec, because = world.process.get(Searches).requested(document)
        assert (spec.algorithm, because) == (preset.spec.algorithm, None)


@pytest.mark.parametrize(
    ("kind", "epochs", "start", "batch_size", "factor", "base", "temperature", "regularise"),
    [("mbv2", 150, 50, 352, 0.15, 15.0, 1.0, False), ("resnet-r2", 70, 10, 512, 0.2, 3500.0, 0.9, True)],
)
def test_densenas_presets_are_the_published_recipes(
    kind: str,
    epochs: int,
    start: int,
    batch_size: int,
    factor: float,
    base: float,
    temperature: float,
    regularise: bool,
) -> None:
    spec = search_preset(f"densenas-imagenet100-{kind}").spec
    found = spec.algorithm
    assert isinstance(found, DenseNasSettings)
    assert (found.epochs, found.first_architecture_epoch, found.batch_size) == (epochs, start, batch_size)
    assert (found.cost_factors, found.cost_base, found.beta_temperature) == ((factor,), base, temperature)
    assert (found.regularise_skips, found.alternation) == (regularise, Alternation.EPOCHS)
    assert (found.learning_rate, found.final_learning_rate, found.momentum, found.weight_decay) == (
        0.2,
        1e-4,
        0.9,
        4e-5,
    )
    assert found.augmentation == "inception"
    assert spec.space.parameters == {"num_classes": 100}


def test_the_other_presets_have_the_papers_budgets() -> None:
    spos, attentive = (
        search_preset("spos-imagenet-evolution").spec,
        search_preset("attentivenas-imagenet-evolution").spec,
    )
    assert isinstance(spos.algorithm, SposEvolutionSettings)
    assert spos.budget.num_candidates == 21 * spos.algorithm.population_size
    assert spos.constraints[0].maximum == 330e6
    assert isinstance(attentive.algorithm, BinnedEvolutionSettings)
    bred = attentive.algorithm.num_mutation + attentive.algorithm.num_crossover
    assert attentive.budget.num_candidates == attentive.algorithm.population_size + 20 * bred
    shifting = search_preset("shifting-imagenet100").spec.shifting
    assert shifting is not None
    assert (shifting.learning_rate, shifting.images_per_candidate) == (1e-4, 640)


def test_presets_are_read_over_rest(client: httpx2.Client) -> None:
    listed = client.get("/api/v1/search-presets").json()["items"]
    assert [one["name"] for one in listed] == list(SEARCH_PRESETS)
    one = client.get("/api/v1/search-presets/densenas-imagenet100-mbv2").json()
    assert [need["pointer"] for need in one["needs"]] == [TABLE_PLACE]
    answer = client.post("/api/v1/searches", json=one["spec"])
    assert answer.status_code == 422
    assert TABLE_PLACE in [error["pointer"] for error in answer.json()["errors"]]
    assert client.get("/api/v1/search-presets/magic").status_code == 404


def test_the_command_names_presets_and_what_they_need(capsys: pytest.CaptureFixture[str]) -> None:
    assert search.main(["create", "--preset", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(SEARCH_PRESETS)
    assert search.main(["create", "--preset", "densenas-imagenet100-mbv2"]) == 1
    assert "--latency-table" in capsys.readouterr().err
    assert search.main(["create", "--preset", "magic"]) == 1
    assert "densenas-imagenet100-resnet-r2" in capsys.readouterr().err
    assert search.main(["create"]) == 1
    assert "--preset" in capsys.readouterr().err
