"""Every preset against its paper's own table, by what a worker is given once the preset went through REST.

The table is tests/vectors/published_recipes.yaml; each value there names its source.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from nas_engine.cost.cost_table import MEDIA_TYPE, cost_table_document
from nas_engine.cost.latency_table import mac_costs
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.metrics import TOP1
from nas_engine.settings.algorithms import (
    BinnedEvolutionSettings,
    Nsga2Settings,
    ScarletNsga2Settings,
    SposEvolutionSettings,
)
from nas_engine.settings.densenas import DenseNasSettings
from nas_engine.settings.evaluation import EvaluationSettings
from nas_engine.settings.presets import IMAGENET, IMAGENET_IMAGES, TRAINING_PRESETS
from nas_engine.settings.shifting import ShiftingSettings
from nas_engine.settings.strategies import MacsBinnedSettings, SandwichSettings
from nas_engine.settings.training import AugmentationName, NetworkSpec, TrainingSettings, TrainingSpec
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.registry import create_space
from nas_engine.training.data.augmentation import AUGMENTATIONS
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.data.source import open_dataset
from nas_engine.training.evaluator import calibration_augmentation
from nas_engine.training.optimization import Arithmetic, decayed_roles, learning_rate_at
from nas_engine.training.strategies.architecture_parameters import FIRST_BETA, SECOND_BETA
from nas_engine.training.strategies.paths import MacsCounter, _edges
from server.artifacts.artifacts import Artifacts
from server.candidates.search import Search
from server.fleet.device import Enrolment
from server.fleet.devices import Devices
from server.jobs.payloads import read_payload
from server.jobs.states import JobKind
from server.searches.presets import COST_TABLE_PLACE, SEARCH_PRESETS, TABLE_PLACE
from server.searches.searches import Searches
from server.searches.worker.stepping import create_procedure
from server.spaces.catalog import SpaceCatalog
from server.spaces.datasets import DatasetCatalog
from server.spaces.worker import WorkerResources
from server.training.networks.networks import Networks
from server.training.supernets import Supernets
from server.training.training import TrainPayload
from tests.support.paths import ROOT
from tests.support.worlds.api_world import ENROLMENT, World, capabilities

TABLE: dict[str, Any] = yaml.safe_load((ROOT / "tests" / "vectors" / "published_recipes.yaml").read_text())
TRAININGS: dict[str, dict[str, tuple[Any, str]]] = TABLE["trainings"]
SEARCHES: dict[str, dict[str, tuple[Any, str]]] = TABLE["searches"]
CLASSES = {"imagenet": 1000, "imagenet100": 100}
CPU = torch.device("cpu")
Plan = dict[str, Any]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures of two classes: enough to see what size, filter and normalisation a plan gives images."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for place in ("train/a", "train/b", "val/a", "val/b"):
        (folder / place).mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / place / f"{number}.png")
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    file = tmp_path / "datasets.json"
    entries = {
        name: {
            "kind": "folder",
            "path": str(tmp_path),
            "num_classes": number,
            "image_size": IMAGENET.image_size,
            "centre_crop": IMAGENET.centre_crop,
        }
        for name, number in CLASSES.items()
    }
    file.write_text(json.dumps(entries), encoding="utf-8")
    return file


@pytest.fixture
def world(tmp_path: Path, registry: Path) -> Iterator[World]:
    opened = World.open(tmp_path / "home", datasets_file=registry)
    yield opened
    opened.close()


@pytest.fixture
def client(world: World) -> httpx2.Client:
    return world.client()


class Worker:
    """The part of a worker that turns what it is given into images, rates and arithmetic."""

    def __init__(self, world: World, registry: Path, pictures: Path) -> None:
        self.world = world
        self.pictures = pictures
        self.resources = WorkerResources(
            spaces=world.process.get(SpaceCatalog),
            datasets=DatasetCatalog.from_file(registry),
            artifacts=world.process.get(Artifacts),
            folder=registry.parent / "worker",
            device=CPU,
        )

    def dataset(self, name: str, space: Any, settings: TrainingSettings | DenseNasSettings) -> ImageDataset:
        """A data set as the worker would open it, with four pictures in its place."""
        resolution = settings.resolution if isinstance(settings, TrainingSettings) else None
        source = self.resources.source(name, space, resolution, settings.image_form)
        return open_dataset(replace(source, path=str(self.pictures), validation_fraction=0.5))


@pytest.fixture
def worker(world: World, registry: Path, pictures: Path) -> Worker:
    return Worker(world, registry, pictures)


def images(dataset: ImageDataset) -> Plan:
    height, width, _ = dataset.train.image_shape
    assert height == width
    return {
        "image_size": height,
        "interpolation": dataset.interpolation.value,
        "mean": list(dataset.normalisation.mean),
        "std": list(dataset.normalisation.std),
    }


def training(settings: TrainingSettings, num_images: int) -> Plan:
    rule, steps = settings.optimizer_on(num_images), settings.num_steps(num_images)
    augmentation = AUGMENTATIONS[settings.augmentation]
    arithmetic = Arithmetic(settings.precision, CPU)
    assert not arithmetic.state()
    return {
        "batch_size": settings.batch_size,
        "images_of_a_statistic": settings.micro_batch or settings.batch_size,
        "optimizer": rule.kind.value,
        "schedule": rule.schedule.value,
        "steps": steps,
        "warmup_steps": rule.warmup_steps,
        "momentum": rule.momentum,
        "nesterov": rule.nesterov,
        "weight_decay": rule.weight_decay,
        "decayed": "all"
        if len(decayed_roles(rule)) > 2
        else " and ".join(sorted(r.value for r in decayed_roles(rule))),
        "label_smoothing": settings.label_smoothing,
        "rate_at_first": learning_rate_at(rule, 0, steps),
        "peak_rate": rule.learning_rate,
        "rate_at_last": learning_rate_at(rule, steps - 1, steps),
        "clip_value": rule.gradient_clip_value,
        "smallest_crop": augmentation.resized_crop_scale,
        "flips": augmentation.horizontal_flip,
        "colour_jitter": list(augmentation.colour_jitter),
        "auto_augment": augmentation.auto_augment,
        "precision": settings.precision.value,
    }


def strategy(spec: TrainingSpec | NetworkSpec, space: Any) -> Plan:
    if isinstance(spec, NetworkSpec):
        return {
            "strategy": "retrain",
            "architecture": spec.architecture,
            "dropout": spec.dropout,
            "final_statistics_images": spec.num_calibration_batches * spec.batch_size,
            "trains_on_held_out": spec.train_on_held_out,
        }
    wanted = spec.strategy
    plan: Plan = {"strategy": wanted.kind}
    match wanted:
        case MacsBinnedSettings():
            plan["bins"] = [edge / 1e6 for edge in _edges(space, MacsCounter(space).macs, wanted)]
        case SandwichSettings():
            plan |= {"alphas": [wanted.alpha_min, wanted.alpha_max, wanted.clip], "num_random": wanted.num_random}
        case _:
            pass
    return plan


def evaluation(settings: EvaluationSettings, trained_with: AugmentationName) -> Plan:
    batches = settings.num_validation_batches
    augmented = calibration_augmentation(settings, trained_with)
    assert augmented in (AUGMENTATIONS[trained_with], AUGMENTATIONS[AugmentationName.NONE])
    return {
        "calibration_batches": settings.num_calibration_batches,
        "calibration_batch_size": settings.batch_size,
        "calibration_augmented": augmented == AUGMENTATIONS[trained_with],
        "calibration_average": settings.calibration.value,
        "validation_images": None if batches is None else batches * settings.held_out_batch_size,
        "evaluation_precision": settings.precision.value,
    }


def compared(name: str, table: Mapping[str, tuple[Any, str]], plan: Plan) -> None:
    """Fail with every field that differs and the source of the published value, or that the table does not have."""
    wrong = [f"{field} is {plan[field]}, no table has it" for field in plan.keys() - table.keys()]
    for field, (value, source) in table.items():
        assert source in TABLE["sources"], f"{name}: {field} has no source"
        found = plan[field]
        tolerance = 1e-3 if field.startswith("rate_at") else 1e-4  # SPOS's first step is at 1 - 1/steps of its rate
        if found != value and (
            not isinstance(value, float | list) or found != pytest.approx(value, rel=tolerance, abs=1e-5)
        ):
            wrong.append(f"{field} is {found}, published is {value} ({TABLE['sources'][source]})")
    assert not wrong, f"{name}: " + "; ".join(wrong)


OF_IMAGES = {
    *("image_size", "smallest_crop", "flips", "colour_jitter", "auto_augment", "interpolation", "mean", "std"),
}
OF_TRAINING = OF_IMAGES | {
    *("batch_size", "images_of_a_statistic", "steps", "precision", "optimizer", "schedule", "momentum"),
    *("weight_decay", "decayed", "peak_rate", "rate_at_first", "rate_at_last", "label_smoothing"),
}
OF_CALIBRATION = {
    *("calibration_batches", "calibration_batch_size", "calibration_augmented", "calibration_average"),
    *("validation_images", "evaluation_precision"),
}


def test_every_preset_has_a_table_and_every_table_a_preset() -> None:
    # Two presets are of no paper: they are for two CPU cores, and are ours.
    assert set(TRAININGS) == set(TRAINING_PRESETS) - {"fashion-mnist-demo", "fashion-mnist-elastic"}
    assert set(SEARCHES) == set(SEARCH_PRESETS)


def test_every_table_says_all_that_makes_a_recipe() -> None:
    for name, table in TRAININGS.items():
        network = {"architecture", "trains_on_held_out", "final_statistics_images"}
        more = network if isinstance(TRAINING_PRESETS[name].spec, NetworkSpec) else {"strategy"}
        assert (OF_TRAINING | more) <= table.keys(), name
    for name, table in SEARCHES.items():
        trains = isinstance(SEARCH_PRESETS[name].spec.algorithm, DenseNasSettings)
        assert (OF_TRAINING if trains else OF_CALIBRATION) <= table.keys(), name


@pytest.mark.parametrize("name", TRAININGS)
def test_a_worker_is_given_the_published_training(
    name: str, world: World, client: httpx2.Client, worker: Worker
) -> None:
    document = client.get(f"/api/v1/training-presets/{name}").json()
    spec, path = document["spec"], "supernets"
    published = document["spec"]["strategy"].get("architecture")
    if spec["strategy"]["kind"] == "retrain":
        path = "networks"
        spec["strategy"]["architecture"] = published or "spos-searched"
    answer = client.post(f"/api/v1/{path}", json=spec)
    assert answer.status_code == 202, answer.text

    job = world.dispatch.claim("worker-1", (JobKind.TRAIN,))
    assert job is not None
    assert job.lease is not None
    assert read_payload(TrainPayload, job.payload)
    use_cases: Any = world.process.get(Networks if path == "networks" else Supernets)
    given = use_cases.start_training(job.lease).spec
    space = world.process.get(SpaceCatalog).space(given.space.id, given.space.parameters)
    plan = images(worker.dataset(given.dataset, space, given))
    plan |= training(given, IMAGENET_IMAGES) | strategy(given, space)
    if published is None and path == "networks":
        plan["architecture"] = None
    steps = plan["steps"]
    if given.optimizer.schedule.value == "linear":
        # SPOS's schedule is advanced before each update: the first one is at 1 - 1/steps of the rate.
        assert plan["rate_at_first"] == pytest.approx(given.optimizer.learning_rate * (1 - 1 / steps))
    compared(name, TRAININGS[name], plan)
    assert document["deviations"] == list(TRAINING_PRESETS[name].deviations)


def launched(name: str, world: World, client: httpx2.Client) -> Search:
    """The search that comes of a preset, its needs filled in."""
    spec = client.get(f"/api/v1/search-presets/{name}").json()["spec"]
    if COST_TABLE_PLACE in dict(SEARCH_PRESETS[name].needs):
        space = create_space(spec["space"]["id"], spec["space"]["parameters"])
        assert isinstance(space, DenseSpace)
        costs = replace(mac_costs(space), unit="ms")
        content = cost_table_document(space, costs, "a test")
        spec["algorithm"]["cost_table"] = world.process.get(Artifacts).put(content, MEDIA_TYPE).sha256
    if TABLE_PLACE in dict(SEARCH_PRESETS[name].needs):  # no board measures one here: pay with MACs
        del spec["algorithm"]["latency_table"]
    validated = client.post("/api/v1/searches:validate", json=spec).json()
    assert [told for told in validated["warnings"] if told in SEARCH_PRESETS[name].deviations] == list(
        SEARCH_PRESETS[name].deviations
    )
    answer = client.post("/api/v1/searches", json=spec)
    assert answer.status_code == 202, answer.text
    return world.process.get(Searches).get_search(answer.json()["id"])


@pytest.mark.parametrize("name", SEARCHES)
def test_a_worker_is_given_the_published_search(name: str, world: World, client: httpx2.Client, worker: Worker) -> None:
    identity = replace(capabilities().identity, runtime="rknnlite", runtime_versions=(("rknnlite", "2.3.2"),))
    offered = replace(capabilities(), identity=identity, dtypes=(Dtype.FP16,))
    world.process.get(Devices).enrol(ENROLMENT, Enrolment(name="b", device_type="rk3588", capabilities=offered))
    spec = launched(name, world, client).spec
    space = world.process.get(SpaceCatalog).space(spec.space.id, spec.space.parameters)
    plan: Plan = {
        "candidates": spec.budget.num_candidates,
        "objectives": [objective.metric for objective in spec.objectives],
    }
    for bound in spec.constraints:
        ends = {"smallest": bound.minimum, "largest": bound.maximum}
        plan |= {f"{end}_{bound.metric}": value for end, value in ends.items() if value is not None}
    supernet = spec.supernet if isinstance(spec.supernet, TrainingSpec) else None
    if supernet is not None:
        plan |= evaluation(spec.evaluation, supernet.augmentation)
    algorithm = spec.algorithm
    match algorithm:
        case DenseNasSettings():
            plan |= images(worker.dataset(algorithm.dataset, space, algorithm)) | densenas(algorithm)
        case SposEvolutionSettings() | BinnedEvolutionSettings():
            plan |= {
                "population": algorithm.population_size,
                "mutated": algorithm.num_mutation,
                "crossed": algorithm.num_crossover,
                "gene_mutation": algorithm.gene_mutation_probability,
            }
            if isinstance(algorithm, SposEvolutionSettings):
                plan["parents"] = algorithm.num_parents
            else:
                plan["bin_width"] = algorithm.bin_width
        case ScarletNsga2Settings():
            procedure: Any = create_procedure(spec, space)
            plan |= {
                "population": algorithm.population_size,
                "mutation_ratio": algorithm.mutation_ratio,
                "mutation_levels": [algorithm.p_random, algorithm.p_reinforced, algorithm.p_prior],
                "p_known": algorithm.p_known,
                "weights": [objective.weight for objective in spec.objectives],
                "models": algorithm.num_models,
                "first_sample": procedure._algorithm.batch_size,
            }
        case Nsga2Settings():
            plan["population"] = algorithm.population_size
        case _:
            pytest.fail(f"no table has the settings of {algorithm.kind}")
    if spec.shifting is not None and supernet is not None:
        plan |= shifting(spec.shifting, supernet)
    compared(name, SEARCHES[name], plan)
    assert TOP1 in spec.metrics() or isinstance(algorithm, DenseNasSettings)


def densenas(algorithm: DenseNasSettings) -> Plan:
    weights = algorithm.weight_training(0)
    return {
        **training(weights, 103_000),
        # The strategy takes plain cross entropy whatever a training says (tests/integration/engine_training/
        # test_micro_batches.py holds its gradients against it).
        "label_smoothing": 0.0,
        "epochs": algorithm.epochs,
        "first_architecture_epoch": algorithm.first_architecture_epoch,
        "factor": algorithm.cost_factors[0],
        "base": algorithm.cost_base,
        "temperature": algorithm.beta_temperature,
        "regularised_skips": algorithm.regularise_skips,
        "architecture_rate": algorithm.architecture_learning_rate,
        "architecture_betas": [FIRST_BETA, SECOND_BETA],
        "architecture_decay": algorithm.architecture_weight_decay,
        "alternation": algorithm.alternation.value,
        "augments_architecture_images": algorithm.augment_architecture_images,
        "derived_from": algorithm.derived_from.value,
        "first_validated_epoch": algorithm.first_validated_epoch,
        "estimation": algorithm.cost_estimation.value,
        "operators_per_step": [algorithm.operators_per_weight_step, algorithm.operators_per_architecture_step],
    }


def shifting(wanted: ShiftingSettings, supernet: TrainingSpec) -> Plan:
    return {
        "shifting_mode": wanted.mode.value,
        "shifting_rate": wanted.learning_rate,
        "shifting_images": wanted.images_per_candidate,
        "shifting_momentum": wanted.momentum,
        "shifting_decay": wanted.weight_decay,
        "shifting_smoothing": wanted.label_smoothing,
        "shifting_augmentation": (wanted.augmentation or supernet.augmentation).value,
        "shifting_dropout": wanted.dropout,
        "shifting_precision": wanted.precision.value,
        "new_head": wanted.new_head,
    }
