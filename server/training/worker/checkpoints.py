"""Resumable checkpoints of a training, stored where other workers find them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nas_engine.training.checkpoint import step_in
from nas_engine.training.loop import Progress
from server.artifacts.artifacts import Artifacts
from server.training.training import TrainingProgress

SAFETENSORS = "application/vnd.safetensors"


def local_checkpoint(path: Path, artifacts: Artifacts, stored_sha256: str | None) -> Path:
    """`path`, filled from the store where another worker made the last checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() and stored_sha256 is not None:
        partial = path.with_suffix(".partial")
        partial.write_bytes(artifacts.read(stored_sha256))
        partial.replace(path)
    return path


class CheckpointUploads:
    """Reports progress, and stores each new checkpoint file where other workers can find it."""

    def __init__(
        self,
        artifacts: Artifacts,
        checkpoint: Path,
        *,
        report: Callable[[TrainingProgress], None],
        keep: Callable[[str, int], None],
    ) -> None:
        """`report` tells the service how far the training is, `keep` which artifact holds the checkpoint of a step."""
        self._artifacts = artifacts
        self.checkpoint = checkpoint
        self._report = report
        self._keep = keep
        self._stored_at_ns = _modified_ns(checkpoint)

    def on_progress(self, progress: Progress) -> None:
        """Called by the training loop. Raises LeaseLostError, which ends the training."""
        numbers = {
            "top1": progress.top1,
            "learning_rate": progress.learning_rate,
            "images_per_s": progress.images_per_s,
            "eta_s": progress.eta_s,
        }
        self._report(
            TrainingProgress(step=progress.step, num_steps=progress.num_steps, loss=progress.loss, metrics=numbers)
        )
        self.upload()

    def upload(self) -> None:
        """Store the checkpoint file if it is newer than the stored one, under the step that the file itself names."""
        modified = _modified_ns(self.checkpoint)
        if modified == self._stored_at_ns or modified == 0:
            return
        with self.checkpoint.open("rb") as source:
            step = step_in(source)
            stored = self._artifacts.put(source, SAFETENSORS)
        self._keep(stored.sha256, step)
        self._stored_at_ns = modified


def _modified_ns(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0
