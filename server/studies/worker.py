"""RANK jobs: one architecture of a ranking study, evaluated with the supernet's weights and trained stand-alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import lru_cache

from nas_engine.evaluation.accuracy import Accuracy
from nas_engine.evaluation.ranking import RankCorrelation, order_preservation
from nas_engine.settings.base import SpaceSpec
from nas_engine.settings.evaluation import SharedEvaluationSettings
from nas_engine.training.data.dataset import ImageDataset, limited
from nas_engine.training.evaluator import SupernetEvaluator
from nas_engine.training.loop import Hooks
from nas_engine.training.ranking_study import RankedArchitecture, study_architecture
from nas_engine.training.threads import threads
from server.candidates.candidate import HeldOutAccuracy
from server.candidates.used_plugins import check_plugins
from server.jobs.job import Job, LeaseRef
from server.jobs.payloads import read_payload
from server.spaces.worker import WorkerResources
from server.studies.payloads import RankPayload
from server.studies.rank_jobs import RankJobs, RankOrder
from server.studies.study import Correlation, RankingResult
from server.training.worker.checkpoints import CheckpointUploads, local_checkpoint
from server.training.worker.supernets import LoadedSupernets
from server.training.worker.training import training_device


class RankHandler:
    """Does RANK jobs. A killed one goes on from its last checkpoint, on this worker or on another."""

    def __init__(self, work: RankJobs, resources: WorkerResources, supernets: LoadedSupernets) -> None:
        self._work = work
        self._supernets = supernets
        self._resources = resources
        # Its calibration and validation images serve every architecture of a study.
        self._evaluator = lru_cache(maxsize=1)(self._make_evaluator)

    def __call__(self, job: Job, lease: LeaseRef, stopped: Callable[[], bool]) -> None:
        """Judge one architecture both ways; returns early once stopped."""
        check_plugins(read_payload(RankPayload, job.payload).plugins, "study")
        order = self._work.start(lease)
        study, entry, artifacts = order.study, order.entry, self._resources.artifacts
        checkpoint = local_checkpoint(
            self._resources.folder / "studies" / f"{study.id}.{entry.number}.checkpoint",
            artifacts,
            entry.resume_artifact_sha256,
        )
        uploads = CheckpointUploads(
            artifacts,
            checkpoint,
            report=lambda progress: self._work.record_progress(lease, progress),
            keep=lambda sha256, step: self._work.save_checkpoint(lease, sha256, step),
        )
        hooks = Hooks(on_progress=uploads.on_progress, cancelled=stopped, pause=self._resources.pause)
        found = self._study(order, hooks, uploads)
        if found is None:
            uploads.upload()
            return
        self._work.finish(lease, _held_out(found.inherited), _held_out(found.standalone))
        checkpoint.unlink(missing_ok=True)

    def _study(self, order: RankOrder, hooks: Hooks, uploads: CheckpointUploads) -> RankedArchitecture | None:
        """Both accuracies; None where it was stopped."""
        study, spec = order.study, order.study.spec
        supernet = self._supernets.load(study.supernet_version_id)
        space = SpaceSpec(id=supernet.space.space_id, parameters=dict(supernet.space.parameters))
        training = spec.network_spec(space, study.dataset)
        resolution = training.resolution or supernet.spec.resolution
        shared, own = (
            limited(self._resources.dataset(study.dataset, supernet.space, resolution, form), training.max_train_images)
            for form in (supernet.spec.image_form, training.image_form)
        )
        with threads(training.num_threads):
            return study_architecture(
                supernet.space,
                order.entry.record.architecture,
                self._evaluator(supernet.version_id, shared, spec.evaluation),
                own,
                training,
                spec.training,
                device=training_device(training, self._resources.device),
                hooks=hooks,
                checkpoint=uploads.checkpoint,
            )

    def _make_evaluator(
        self, version_id: str, dataset: ImageDataset, settings: SharedEvaluationSettings
    ) -> SupernetEvaluator:
        supernet = self._supernets.load(version_id)
        hooks = Hooks(pause=self._resources.pause)
        return SupernetEvaluator(
            supernet.space,
            supernet.weights,
            dataset,
            settings,
            self._resources.device,
            hooks,
            trained_with=supernet.spec.augmentation,
        )


def correlate(inherited: Sequence[float], standalone: Sequence[float], num_local: int) -> RankingResult:
    """`Ranker` by the engine's rank correlations."""
    found = order_preservation(inherited, standalone, num_local)
    return RankingResult(overall=_correlation(found.overall), local=_correlation(found.local))


def _correlation(found: RankCorrelation) -> Correlation:
    return Correlation(**asdict(found))


def _held_out(accuracy: Accuracy) -> HeldOutAccuracy:
    return HeldOutAccuracy(accuracy.top1, accuracy.num_images)
