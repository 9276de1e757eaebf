"""TRAIN jobs: train a supernet, show its progress, keep resumable checkpoints, publish the weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from nas_engine.domain.search_space import SearchSpace
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.data import ImageDataset
from nas_engine.training.loop import Ending, Hooks, Progress, TrainResult, train
from nas_engine.training.randomness import Randomness, Stream
from server.service.supernets import NewVersion, Supernets
from server.service.training_spec import RetrainStrategy, TrainingSpec
from server.service.values.job import Job, LeaseRef
from server.service.values.supernet import Supernet, TrainingProgress
from server.worker.resources import Resources
from server.worker.retraining import retrain_architecture, retraining_report
from server.worker.training_settings import strategy_of, train_config

SAFETENSORS = "application/vnd.safetensors"


class TrainHandler:
    """Does TRAIN jobs. A killed training goes on from its last checkpoint, on this worker or on another."""

    def __init__(self, supernets: Supernets, resources: Resources) -> None:
        self._supernets = supernets
        self._resources = resources

    def __call__(self, job: Job, lease: LeaseRef, stopped: Callable[[], bool]) -> None:
        """Train until done, cancelled, or the lease is lost."""
        supernet = self._supernets.start_training(lease)
        spec = supernet.spec
        space = self._resources.space(spec)
        dataset = self._resources.dataset(spec.dataset, space, spec.resolution)
        checkpoint = self._checkpoint(supernet)
        uploads = _CheckpointUploads(self._supernets, self._resources, lease, checkpoint)
        if isinstance(spec.strategy, RetrainStrategy):
            self._retrain(supernet, spec.strategy, space, dataset, checkpoint, stopped, uploads, lease)
            return
        result = self._train(space, dataset, spec, checkpoint, stopped, uploads)
        if result.ending is Ending.CANCELLED:
            uploads.upload(result.steps)
            return
        weights = self._store(result.weights, supernet)
        last = result.curve[-1] if result.curve else None
        statistics = {
            "steps": result.steps,
            "seconds": round(result.seconds, 1),
            "loss": None if last is None else last.loss,
            "num_parameters": result.weights.num_parameters(),
            "dataset_fingerprint": dataset.fingerprint,
        }
        self._supernets.finish_training(lease, NewVersion(weights_sha256=weights, statistics=statistics))
        checkpoint.unlink(missing_ok=True)

    def _retrain(
        self,
        supernet: Supernet,
        wanted: RetrainStrategy,
        space: SearchSpace,
        dataset: ImageDataset,
        checkpoint: Path,
        stopped: Callable[[], bool],
        uploads: _CheckpointUploads,
        lease: LeaseRef,
    ) -> None:
        spec = supernet.spec
        found = retrain_architecture(
            spec,
            wanted,
            space,
            dataset,
            self._resources,
            device=_device(spec, self._resources.device),
            hooks=self._hooks(spec, uploads, stopped),
            checkpoint=checkpoint,
        )
        if found.ending is Ending.CANCELLED:
            uploads.upload(found.curve[-1].step if found.curve else 0)
            return
        statistics = {
            **retraining_report(found, wanted, space, self._resources),
            "seconds": round(found.seconds, 1),
            "dataset_fingerprint": dataset.fingerprint,
        }
        weights = self._store(found.weights, supernet)
        self._supernets.finish_training(lease, NewVersion(weights_sha256=weights, statistics=statistics))
        checkpoint.unlink(missing_ok=True)

    def _hooks(self, spec: TrainingSpec, uploads: _CheckpointUploads, stopped: Callable[[], bool]) -> Hooks:
        if spec.num_threads is not None:
            torch.set_num_threads(spec.num_threads)
        return Hooks(on_progress=uploads.on_progress, cancelled=stopped, pause=self._resources.pause)

    def _train(
        self,
        space: SearchSpace,
        dataset: ImageDataset,
        spec: TrainingSpec,
        checkpoint: Path,
        stopped: Callable[[], bool],
        uploads: _CheckpointUploads,
    ) -> TrainResult:
        rng = Randomness(spec.seed).torch(Stream.INITIAL_WEIGHTS, 0)
        weights = WeightStore.create(space.supernet_graphs(), rng)
        return train(
            strategy_of(spec, space),
            weights,
            dataset,
            train_config(spec, len(dataset.train)),
            device=_device(spec, self._resources.device),
            hooks=self._hooks(spec, uploads, stopped),
            checkpoint=checkpoint,
        )

    def _checkpoint(self, supernet: Supernet) -> Path:
        """The local checkpoint; fetched where another worker made the last one."""
        path = self._resources.folder / "training" / f"{supernet.id}.checkpoint"
        path.parent.mkdir(exist_ok=True)
        if not path.exists() and supernet.resume_artifact_sha256 is not None:
            partial = path.with_suffix(".partial")
            partial.write_bytes(self._resources.artifacts.read(supernet.resume_artifact_sha256))
            partial.replace(path)
        return path

    def _store(self, weights: WeightStore, supernet: Supernet) -> str:
        path = self._resources.folder / "training" / f"{supernet.id}.safetensors"
        weights.save(path)
        try:
            with path.open("rb") as source:
                return self._resources.artifacts.put(source, SAFETENSORS).sha256
        finally:
            path.unlink(missing_ok=True)


class _CheckpointUploads:
    """Reports progress, and stores each new checkpoint file where other workers can find it."""

    def __init__(self, supernets: Supernets, resources: Resources, lease: LeaseRef, checkpoint: Path) -> None:
        self._supernets = supernets
        self._resources = resources
        self._lease = lease
        self._checkpoint = checkpoint
        self._stored_at_ns = _modified_ns(checkpoint)

    def on_progress(self, progress: Progress) -> None:
        """Called by the training loop. Raises LeaseLostError, which ends the training."""
        numbers = {
            "top1": progress.top1,
            "learning_rate": progress.learning_rate,
            "images_per_s": progress.images_per_s,
            "eta_s": progress.eta_s,
        }
        shown = TrainingProgress(step=progress.step, num_steps=progress.num_steps, loss=progress.loss, metrics=numbers)
        self._supernets.record_progress(self._lease, shown)
        self.upload(progress.step)

    def upload(self, step: int) -> None:
        """Store the checkpoint file if it is newer than the stored one."""
        modified = _modified_ns(self._checkpoint)
        if modified == self._stored_at_ns or modified == 0:
            return
        with self._checkpoint.open("rb") as source:
            stored = self._resources.artifacts.put(source, SAFETENSORS)
        self._supernets.save_checkpoint(self._lease, stored.sha256, step)
        self._stored_at_ns = modified


def _modified_ns(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _device(spec: TrainingSpec, default: torch.device) -> torch.device:
    return default if spec.device == "auto" else torch.device(spec.device)
