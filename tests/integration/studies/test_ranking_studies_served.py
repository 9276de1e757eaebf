"""A ranking study over REST, by the SDK and by the command line, with a real worker on tiny images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from hilnas.client.errors import ProblemError
from server.studies.spec import parse_ranking_study_spec
from server.studies.states import StudyEntryState, StudyState
from server.training.training import TrainingState
from tests.support.commands import ranking
from tests.support.processes.served_worker import Served
from tests.support.worlds.worker_world import TRAINING

ALONE: dict[str, Any] = {
    "iterations": 6,
    "batch_size": 16,
    "optimizer": {"learning_rate": 0.05},
    "num_calibration_batches": 1,
}


@pytest.fixture(scope="module")
def supernet_id(served: Served) -> str:
    made = served.nas.supernets.create(TRAINING)
    states = (TrainingState.READY, TrainingState.FAILED)
    served.until(lambda: served.nas.supernets.get(made.id).state in states, "the supernet is trained")
    assert served.nas.supernets.get(made.id).state is TrainingState.READY
    return made.id


def test_a_study_is_ordered_followed_and_read(served: Served, supernet_id: str) -> None:
    nas = served.nas
    study = nas.ranking_studies.create({"supernet": supernet_id, "num_architectures": 3, "training": ALONE})
    assert study.num_entries == 3
    types = [event.type for event in nas.ranking_studies.events(study.id)]  # ends with the study
    assert types[0] == "study"
    assert types.count("study_entry") == 3
    assert types.count("training") == 18
    done = nas.ranking_studies.get(study.id)
    assert done.state is StudyState.COMPLETED, done.reason
    assert done.result is not None
    assert done.result.overall.num == 3
    for entry in nas.ranking_studies.entries(study.id):
        assert entry.state is StudyEntryState.DONE
        assert entry.shared is not None
        assert entry.alone is not None
        assert entry.alone.standard_error == pytest.approx(
            (entry.alone.top1 * (1 - entry.alone.top1) / entry.alone.num_images) ** 0.5
        )
    assert next(nas.ranking_studies.all(states=["completed"])).id == study.id
    with httpx2.Client(base_url=served.server.url, headers={"Accept": "text/html"}) as browser:
        browser.post("/login", data={"token": served.server.token})
        assert study.id in browser.get("/").text
    with pytest.raises(ProblemError, match="completed"):
        nas.ranking_studies.cancel(study.id)


def test_the_command_creates_follows_lists_and_shows(
    served: Served,
    supernet_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HILNAS_URL", served.server.url)
    monkeypatch.setenv("HILNAS_TOKEN", served.server.token)
    monkeypatch.setenv("COLUMNS", "200")
    spec = tmp_path / "study.yaml"
    document = {"supernet": supernet_id, "architectures": [[0, 1, 2], [3, 3, 3]], "training": ALONE}
    spec.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert ranking.main(["create", str(spec), "--follow"]) == 0
    printed = capsys.readouterr().out
    assert "completed  2/2 architectures" in printed
    assert ranking.main(["list", "--json"]) == 0
    (newest, *_) = json.loads(capsys.readouterr().out)
    assert ranking.main(["show", newest["id"]]) == 0
    shown = capsys.readouterr().out
    assert "global tau" in shown
    assert "alone top1" in shown
    assert ranking.main(["cancel", newest["id"]]) == 1
    assert "completed" in capsys.readouterr().err


def test_the_example_of_the_documentation_is_a_spec() -> None:
    path = Path(__file__).parents[3] / "docs" / "examples" / "ranking_study.yaml"
    assert parse_ranking_study_spec(yaml.safe_load(path.read_text(encoding="utf-8"))).num_architectures == 12


def test_a_study_that_cannot_be_made_is_a_problem_with_a_pointer(served: Served) -> None:
    with pytest.raises(ProblemError) as refused:
        served.nas.ranking_studies.create({"supernet": "sup_none", "num_architectures": 2, "training": ALONE})
    assert refused.value.status == 422
    assert "sup_none" in str(refused.value)
