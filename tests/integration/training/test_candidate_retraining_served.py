"""A candidate retrained over REST and by the command, with a real worker; its files are fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import yaml

from hilnas.client.errors import ProblemError
from server.candidates.states import SearchState
from server.searches.candidate_schemas import CandidateResource
from server.training.training import TrainingState
from tests.support.commands import retrain, train
from tests.support.processes.served_worker import Served
from tests.support.worlds.worker_world import SPEC

SETTINGS: dict[str, Any] = {"iterations": 6, "batch_size": 16, "optimizer": {"learning_rate": 0.05}}


@pytest.fixture
def candidate(served: Served) -> CandidateResource:
    """The first candidate of a search over cheap metrics."""
    search = served.nas.searches.create({**SPEC, "algorithm": {"kind": "random"}, "budget": {"num_candidates": 2}})
    served.until(lambda: served.nas.searches.get(search.id).state is SearchState.COMPLETED, "the search is over")
    return next(served.nas.searches.candidates(search.id))


def test_a_candidate_is_retrained_over_rest_and_its_model_is_found(
    served: Served, candidate: CandidateResource
) -> None:
    nas = served.nas
    training = nas.candidates.retrain(candidate.id, {**SETTINGS, "dataset": "stripes"})
    assert training.name == f"retraining of {candidate.id}"
    assert training.spec.architecture == candidate.genotype
    served.until(lambda: nas.networks.get(training.id).state is TrainingState.READY, "it is trained")
    (model,) = nas.networks.models(training.id)
    assert (model.format, model.weights, model.state, model.dtype) == ("onnx", "retrained", "ready", "fp32")
    assert list(nas.candidates.models(candidate.id)) == [], "it was no finalist"
    with pytest.raises(ProblemError, match="name one") as refused:
        nas.candidates.retrain(candidate.id, SETTINGS)
    assert refused.value.slug == "invalid-network-spec"


def test_the_command_retrains_and_fetches_the_files(
    served: Served,
    candidate: CandidateResource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HILNAS_URL", served.server.url)
    monkeypatch.setenv("HILNAS_TOKEN", served.server.token)
    monkeypatch.setenv("COLUMNS", "200")
    settings = tmp_path / "settings.yaml"
    settings.write_text(yaml.safe_dump({**SETTINGS, "dataset": "stripes"}), encoding="utf-8")
    folder = tmp_path / "models"
    assert retrain.main([candidate.id, str(settings), "--iterations", "4", "--output", str(folder)]) == 0
    printed = capsys.readouterr()
    training_id = printed.out.split()[-1]
    model = folder / f"{training_id}-fp32.onnx"
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    assert session.get_outputs()[0].shape == [1, 3]
    assert served.nas.networks.get(training_id).spec.iterations == 4
    assert retrain.main([candidate.id, "--preset", "spos-imagenet"]) == 1
    assert "no retraining recipe" in capsys.readouterr().err


def test_a_preset_without_an_architecture_takes_the_one_that_is_given(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HILNAS_URL", served.server.url)
    monkeypatch.setenv("HILNAS_TOKEN", served.server.token)
    preset = ["--preset", "shifting-imagenet100-retrain"]
    assert train.main(preset) == 1
    assert "which architecture" in capsys.readouterr().err
    assert train.main([*preset, "--architecture", "[0, 1]"]) == 1
    assert "which architecture" not in (told := capsys.readouterr().err)
    assert "/architecture" in told
    assert train.main(["--preset", "spos-imagenet", "--architecture", "spos-searched"]) == 1
    assert "for retrainings" in capsys.readouterr().err
