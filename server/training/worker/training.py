"""TRAIN jobs: train a supernet or one network, show progress, keep resumable checkpoints, publish what came of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from nas_engine.cost.training_plan import training_step_memory
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.search_space import Form
from nas_engine.domain.views.latency_key import latency_key
from nas_engine.settings.training import NetworkSpec, TrainingSettings, TrainingSpec
from nas_engine.supernet.tensor_file import encode_tensors, write_atomically
from nas_engine.training.data.dataset import limited, require_batch
from nas_engine.training.device_memory import fitted
from nas_engine.training.loop import Hooks, StopReason
from nas_engine.training.threads import threads
from server.candidates.used_plugins import check_plugins
from server.jobs.job import Job, LeaseRef
from server.jobs.payloads import read_payload
from server.spaces.worker import WorkerResources
from server.training.deployables import RetrainedModel
from server.training.networks.network import Network
from server.training.networks.networks import Networks
from server.training.supernet import Supernet
from server.training.supernets import NewVersion, Supernets
from server.training.training import TrainPayload
from server.training.trainings import Trainings
from server.training.worker.checkpoints import SAFETENSORS, CheckpointUploads, local_checkpoint
from server.training.worker.order import TrainingOrder
from server.training.worker.processes import num_processes_on, train_in_processes
from server.training.worker.retraining import architecture_graph, weights_to_inherit
from server.training.worker.run import MODEL_FILE, WEIGHTS_FILE, RunEnd, TrainingRun, perform
from server.training.worker.supernets import LoadedSupernets

ONNX_MEDIA_TYPE = "application/onnx"


class TrainHandler:
    """Does TRAIN jobs. A killed training goes on from its last checkpoint, on this worker or on another."""

    def __init__(
        self, supernets: Supernets, networks: Networks, resources: WorkerResources, loaded: LoadedSupernets
    ) -> None:
        self._supernets = supernets
        self._networks = networks
        self._loaded = loaded
        self._resources = resources

    def __call__(self, job: Job, lease: LeaseRef, stopped: Callable[[], bool]) -> None:
        """Train until done, cancelled, or the lease is lost."""
        payload = read_payload(TrainPayload, job.payload)
        check_plugins(payload.plugins, "training")
        of_network = payload.network_id is not None
        trainings: Trainings[Supernet] | Trainings[Network] = self._networks if of_network else self._supernets
        training = trainings.start_training(lease)
        folder = self._resources.folder / "training"
        artifacts = self._resources.artifacts
        checkpoint = local_checkpoint(folder / f"{training.id}.checkpoint", artifacts, training.resume_artifact_sha256)
        uploads = CheckpointUploads(
            artifacts,
            checkpoint,
            report=lambda progress: trainings.record_progress(lease, progress),
            keep=lambda sha256, step: trainings.save_checkpoint(lease, sha256, step),
        )
        files = folder / training.id
        files.mkdir(exist_ok=True)
        try:
            run = self._run(training.spec, checkpoint, files)
            end = self._perform(run, uploads, stopped)
            if end.ending is StopReason.CANCELLED:
                uploads.upload()
                return
            self._publish(lease, run, end)
        finally:
            shutil.rmtree(files, ignore_errors=True)
        checkpoint.unlink(missing_ok=True)

    def _run(self, spec: TrainingSpec | NetworkSpec, checkpoint: Path, files: Path) -> TrainingRun:
        space = self._resources.spaces.space(spec.space.id, spec.space.parameters)
        inherited = None
        if isinstance(spec, NetworkSpec):
            inherited = weights_to_inherit(spec, space, self._loaded)
        whole = self._resources.dataset(spec.dataset, space, spec.resolution, spec.image_form)
        dataset = limited(whole.judged_in(self._resources.pixels), spec.max_train_images)
        require_batch(dataset, spec.batch_size)  # known here already, before processes are started
        return TrainingRun(
            spec=spec,
            space=space,
            dataset=dataset,
            inherited=inherited,
            checkpoint=checkpoint,
            folder=files,
        )

    def _perform(self, run: TrainingRun, uploads: CheckpointUploads, stopped: Callable[[], bool]) -> RunEnd:
        spec = run.spec
        device = training_device(spec, self._resources.device)
        num_processes = num_processes_on(device, spec)
        step = training_step_memory(spec, run.space)
        fit = fitted(spec, step, device, num_processes=num_processes)
        run = replace(run, spec=fit.settings, recomputed=fit.recomputed)
        if num_processes > 1:
            order = self._order(run, device, num_processes)
            return train_in_processes(order, num_processes, on_progress=uploads.on_progress, stopped=stopped)
        hooks = Hooks(on_progress=uploads.on_progress, cancelled=stopped, pause=self._resources.pause)
        with threads(spec.num_threads):
            return perform(run, device, hooks)

    def _order(self, run: TrainingRun, device: torch.device, num_processes: int) -> TrainingOrder:
        spec, folder = run.spec, run.folder.absolute()
        inherited = None
        if run.inherited is not None:
            inherited = folder / "inherited.safetensors"
            tensors = {name: torch.from_numpy(tensor) for name, tensor in run.inherited.items()}
            write_atomically(inherited, encode_tensors(tensors, {}))
        return TrainingOrder(
            spec=spec,
            dataset_name=spec.dataset,
            dataset=self._resources.source(spec.dataset, run.space, spec.resolution, spec.image_form),
            inherited=inherited,
            checkpoint=run.checkpoint.absolute(),
            folder=folder,
            rendezvous=folder / "rendezvous",
            device="cuda" if device.type == "cuda" else "cpu",
            num_threads=spec.num_threads or max(torch.get_num_threads() // num_processes, 1),
            recomputed=run.recomputed,
            host_lock=self._resources.host_lock,
            pixels=self._resources.pixels,
        )

    def _publish(self, lease: LeaseRef, run: TrainingRun, end: RunEnd) -> None:
        with (run.folder / WEIGHTS_FILE).open("rb") as source:
            weights = self._resources.artifacts.put(source, SAFETENSORS).sha256
        if not isinstance(run.spec, NetworkSpec):
            self._supernets.finish_training(lease, NewVersion(weights_sha256=weights, statistics=dict(end.statistics)))
            return
        wanted = run.spec
        architecture = run.space.parse(wanted.architecture)
        dtype = Dtype(wanted.rknn_dtype) if wanted.wants_rknn else Dtype.FP32
        onnx = self._resources.artifacts.put((run.folder / MODEL_FILE).read_bytes(), ONNX_MEDIA_TYPE)
        key = latency_key(architecture_graph(run.space, architecture, Form.DEPLOYED), batch=1, dtype=dtype)
        model = RetrainedModel(arch_id=architecture.arch_id, onnx_sha256=onnx.sha256, latency_key=key)
        statistics = {**end.statistics, "model_sha256": onnx.sha256}
        self._networks.finish_training(lease, weights, statistics, model)


def training_device(spec: TrainingSettings, default: torch.device) -> torch.device:
    """Where a spec wants to be trained."""
    return default if spec.device == "auto" else torch.device(spec.device)
