"""Plans of trainings: the published ones run on one 80 GB GPU, and what cannot fit says so with its numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hilnas.cli.main import main as hilnas
from nas_engine.cost.training_plan import GIB, StepMemory, plan_training, search_step_memory, training_step_memory
from nas_engine.domain.errors import TrainingError
from nas_engine.settings.densenas import DenseNasSettings
from nas_engine.settings.presets import TRAINING_PRESETS
from nas_engine.settings.training import TrainingSettings
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.registry import create_space
from server.searches.presets import SEARCH_PRESETS
from tests.support.commands import supernets

MIB = 2**20


def test_alphanet_runs_as_64_passes_of_32_images() -> None:
    spec = TRAINING_PRESETS["alphanet-imagenet"].spec
    step = training_step_memory(spec, create_space("attentivenas", {}))  # type: ignore[arg-type]
    assert step.image_bytes / MIB == pytest.approx(332, rel=0.02)  # counted with hooks, largest network
    plan = plan_training(spec, step, 80 * GIB)
    assert (plan.micro_batch, plan.num_passes, plan.fits) == (32, 64, True)
    over_8 = plan_training(spec, step, 80 * GIB, num_processes=8)
    assert (over_8.micro_batch, over_8.num_passes, over_8.fits) == (32, 8, True)
    assert over_8.total_bytes == plan.total_bytes
    whole = plan_training(spec.model_copy(update={"micro_batch": None}), step, 80 * GIB)
    assert (whole.micro_batch, whole.fits, whole.largest_micro_batch) == (2048, False, 128)


@pytest.mark.parametrize(
    ("name", "mib_per_image", "micro_batch"),
    [("densenas-imagenet100-mbv2", 353, 88), ("densenas-imagenet100-resnet-r2", 143, 128)],
)
def test_the_published_densenas_searches_run_on_one_gpu(name: str, mib_per_image: int, micro_batch: int) -> None:
    spec = SEARCH_PRESETS[name].spec
    space = create_space(spec.space.id, spec.space.parameters)
    assert isinstance(space, DenseSpace)
    assert isinstance(spec.algorithm, DenseNasSettings)
    step = search_step_memory(spec.algorithm, space)
    assert step.image_bytes / MIB == pytest.approx(mib_per_image, rel=0.15)  # counted with hooks, one draw
    plan = plan_training(spec.algorithm.weight_training(0), step, 80 * GIB)
    assert (plan.micro_batch, plan.num_passes, plan.fits) == (micro_batch, 4, True)


def test_what_cannot_fit_is_refused_with_the_numbers() -> None:
    settings, step = TrainingSettings(epochs=1, batch_size=64), StepMemory(100 * MIB, 1_000_000)
    plan = plan_training(settings, step, 4 * GIB)
    assert not plan.fits
    with pytest.raises(TrainingError, match=r"64 images at 100\.0 MiB each, .* has 4\.0 GiB: micro_batch 16 would fit"):
        plan.require()
    auto = plan_training(settings.model_copy(update={"micro_batch": "auto"}), step, 4 * GIB)
    assert (auto.micro_batch, auto.num_passes, auto.fits) == (16, 4, True)
    with pytest.raises(TrainingError, match="not even one image at a time fits"):
        plan_training(settings, step, 1 * GIB).require()


def test_where_a_pass_does_not_fit_the_fewest_blocks_are_computed_again() -> None:
    spec = TRAINING_PRESETS["alphanet-imagenet"].spec
    step = training_step_memory(spec, create_space("attentivenas", {}))  # type: ignore[arg-type]
    plan = plan_training(spec, step, 12 * GIB)
    assert (plan.micro_batch, plan.fits) == (32, True)  # the paper's images of a batch normalisation, all the same
    assert plan.recomputed == step.blocks()[: len(plan.recomputed)]
    assert plan.image_bytes < step.image_bytes
    fewer = step.image_bytes_with(plan.recomputed[:-1])
    assert (32 * fewer + plan.fixed_bytes) * 1.1 + 1.5 * GIB > 12 * GIB
    assert plan_training(spec, step, 80 * GIB).recomputed == ()
    with pytest.raises(TrainingError, match="with all blocks that it helps computed again"):
        plan_training(spec, step, 3 * GIB).require()


def test_the_command_prints_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert hilnas(["train", "plan", "alphanet-imagenet", "--memory-gib", "80"]) == 0
    assert "32, 64 passes a step" in capsys.readouterr().out
    assert supernets.main(["plan", "spos-imagenet", "--memory-gib", "16", "--json"]) == 1
    plan = json.loads(capsys.readouterr().out)
    assert (plan["fits"], plan["micro_batch"]) == (False, 1024)
    assert supernets.main(["plan", "spos-imagenett", "--memory-gib", "16"]) == 1
    assert "is no file and no preset; did you mean" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["derivation", "training"])
def test_a_plan_is_of_as_many_processes_as_the_spec_names(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = "densenas-imagenet100-mbv2-chained" if what == "derivation" else "alphanet-imagenet"
    spec: Any = (SEARCH_PRESETS if what == "derivation" else TRAINING_PRESETS)[preset].spec
    file = tmp_path / "spec.json"

    def planned(num_processes: object, *more: str) -> int:
        document = spec.model_dump(mode="json")
        (document["algorithm"] if what == "derivation" else document)["num_processes"] = num_processes
        file.write_text(json.dumps(document))
        return hilnas(["train", "plan", str(file), "--memory-gib", "80", "--json", *more])

    assert planned(4) == 0
    plan = json.loads(capsys.readouterr().out)
    micro_batch, batch_size = (88, 352) if what == "derivation" else (32, 2048)  # the paper's part of a GPU
    assert (plan["num_processes"], plan["micro_batch"]) == (4, micro_batch)
    assert plan["num_passes"] == batch_size // 4 // micro_batch
    assert planned(4, "--processes", "2") == 0
    assert json.loads(capsys.readouterr().out)["num_processes"] == 2
    assert planned("gpus") == 1
    assert "--processes" in capsys.readouterr().err
    assert planned("gpus", "--processes", "4") == 0
