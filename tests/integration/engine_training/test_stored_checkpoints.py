"""Checkpoints that workers store: each is filed under the step that its own file holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas_engine.domain.errors import TrainingError
from nas_engine.training.checkpoint import Checkpoint, step_in
from nas_engine.training.loop import Progress
from server.artifacts.artifacts import Artifacts
from server.artifacts.files import FileByteStore
from server.training.training import TrainingProgress
from server.training.worker.checkpoints import CheckpointUploads
from tests.support.worlds.databases import TestDatabase


def write_checkpoint(path: Path, step: int) -> None:
    tensors = {"stem.weight": torch.full((2, 3), float(step))}
    Checkpoint(
        step=step,
        identity="a run",
        curve=(),
        pending=(0.0, 0.0, 0.0, 0.0),
        tensors=tensors,
        strategy_state=None,
        scaler={},
    ).save(path)


def progress_at(step: int) -> Progress:
    return Progress(step=step, num_steps=100, loss=1.0, top1=0.5, learning_rate=0.1, images_per_s=10.0, eta_s=1.0)


def test_a_report_after_a_checkpoint_files_it_under_its_own_step(sqlite_database: TestDatabase, tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    artifacts = Artifacts(sqlite_database.uow, FileByteStore(tmp_path / "artifacts"))
    kept: list[tuple[str, int]] = []
    reported: list[TrainingProgress] = []
    uploads = CheckpointUploads(
        artifacts, path, report=reported.append, keep=lambda sha256, step: kept.append((sha256, step))
    )
    uploads.on_progress(progress_at(10))  # nothing is written yet
    write_checkpoint(path, 50)
    uploads.on_progress(progress_at(60))  # progress is reported more often than checkpoints are written
    uploads.on_progress(progress_at(70))
    assert [progress.step for progress in reported] == [10, 60, 70]
    ((sha256, step),) = kept
    assert step == 50
    stored = tmp_path / "again.checkpoint"
    stored.write_bytes(artifacts.read(sha256))
    assert Checkpoint.load(stored, "a run").step == step


def test_the_step_is_read_from_the_header_and_the_file_left_at_its_beginning(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "one", 7)
    with (tmp_path / "one").open("rb") as source:
        assert step_in(source) == 7
        assert source.tell() == 0


@pytest.mark.parametrize("content", [b"", b"12345678", b"\xff" * 64, b"\x02\x00\x00\x00\x00\x00\x00\x00{}"])
def test_what_is_no_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(content)
    with (tmp_path / "one").open("rb") as source, pytest.raises(TrainingError, match="no checkpoint"):
        step_in(source)
