"""DERIVE jobs: one differentiable search of DenseNAS, from its first step to the network it derives."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from nas_engine.cost.cost_table import read_cost_table
from nas_engine.cost.latency_table import mac_costs, measured_costs
from nas_engine.cost.routing_costs import RoutingCosts
from nas_engine.cost.training_plan import search_step_memory
from nas_engine.domain.errors import SearchStateError
from nas_engine.domain.json_value import JsonValue
from nas_engine.settings.densenas import DenseNasSettings
from nas_engine.settings.kinds.algorithms import deriving_settings
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.training.device_memory import fitted
from nas_engine.training.loop import Hooks
from server.candidates.used_plugins import check_plugins
from server.jobs.job import Job, LeaseRef
from server.latency_tables.estimates import engine_table
from server.latency_tables.latency_tables import LatencyTables
from server.searches.steps.derivations import Derivations, DeriveInput
from server.searches.worker.deriving.order import DerivationOrder, dense_space
from server.searches.worker.deriving.run import DerivationRun, Document, derive
from server.spaces.worker import WorkerResources
from server.training.worker.checkpoints import CheckpointUploads, local_checkpoint
from server.training.worker.processes import Told, num_processes_on, perform_in_processes

MS_PER_US = 1e-3


class DeriveHandler:
    """Does DERIVE jobs. A stopped derivation goes on from its last checkpoint, on this worker or on another."""

    def __init__(self, derivations: Derivations, resources: WorkerResources, tables: LatencyTables) -> None:
        self._derivations = derivations
        self._resources = resources
        self._tables = tables

    def __call__(self, job: Job, lease: LeaseRef, stopped: Callable[[], bool]) -> None:
        """Train and derive until done, stopped, or the lease is lost."""
        given = self._derivations.load(lease)
        check_plugins(given.search.plugins)
        run = self._run(given)
        training = run.settings.weight_training(run.seed)
        total: dict[str, JsonValue] = {
            "cost_factor": run.cost_factor,
            "num_steps": training.num_steps(len(run.dataset.train)),
        }
        uploads = CheckpointUploads(
            self._resources.artifacts,
            run.checkpoint,
            report=lambda _: None,
            keep=lambda sha256, step: self._derivations.keep(lease, sha256, {"step": step, **total}),
        )

        def report_progress(progress: Document) -> None:
            self._derivations.report(lease, progress)
            uploads.upload()

        device = self._resources.device
        num_processes = num_processes_on(device, training)
        if num_processes == 1:
            hooks = Hooks(cancelled=stopped, pause=self._resources.pause)
            derived = derive(run, device, hooks, report_progress)
        else:
            # What cannot fit is refused here already, before processes are started.
            step = search_step_memory(run.settings, run.space)
            fitted(training, step, device, num_processes=num_processes)
            derived = self._in_processes(given, run, num_processes, report_progress, stopped)
        if derived is None:
            uploads.upload()
            return
        self._derivations.finish(lease, derived)
        run.checkpoint.unlink(missing_ok=True)

    def _run(self, given: DeriveInput) -> DerivationRun:
        spec = given.search.spec
        wanted = deriving_settings(spec.algorithm)
        if wanted is None:
            raise SearchStateError(f"search {given.search.id} is a {spec.algorithm.kind}: it derives nothing")
        space = dense_space(self._resources.spaces.space(spec.space.id, spec.space.parameters))
        path = self._resources.folder / "training" / f"{given.search.id}-{given.number}.checkpoint"
        return DerivationRun(
            settings=wanted,
            number=given.number,
            seed=spec.seed,
            space=space,
            costs=self._costs(wanted, space),
            dataset=self._resources.dataset(wanted.dataset, space, form=wanted.image_form),
            checkpoint=local_checkpoint(path, self._resources.artifacts, given.checkpoint_sha256),
            pixels=self._resources.pixels,
        )

    def _in_processes(
        self,
        given: DeriveInput,
        run: DerivationRun,
        num_processes: int,
        report_progress: Callable[[Document], None],
        stopped: Callable[[], bool],
    ) -> Document | None:
        folder: Path = run.checkpoint.absolute().with_suffix(".processes")
        folder.mkdir(exist_ok=True)
        order = DerivationOrder(
            settings=run.settings,
            number=run.number,
            seed=run.seed,
            space=given.search.spec.space,
            dataset=self._resources.source(run.settings.dataset, run.space, form=run.settings.image_form),
            costs=run.costs.published_layout(),
            cost_unit=run.costs.unit,
            checkpoint=run.checkpoint.absolute(),
            folder=folder,
            rendezvous=folder / "rendezvous",
            device="cuda" if self._resources.device.type == "cuda" else "cpu",
            num_threads=max(torch.get_num_threads() // num_processes, 1),
            host_lock=self._resources.host_lock,
            pixels=self._resources.pixels,
        )

        def told(line: Told) -> None:
            report_progress(line["progress"])

        try:
            end = perform_in_processes(order, num_processes, on_progress=told, stopped=stopped)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return None if end is None else end["derived"]

    def _costs(self, wanted: DenseNasSettings, space: DenseSpace) -> RoutingCosts:
        """What networks pay for: milliseconds, or millions of MACs.

        Raises:
            InvalidMeasurementError: the table lacks an operator, or is none of this space.
            NotFoundError, ArtifactDamagedError: an imported table is gone.
        """
        if wanted.cost_table is not None:
            return read_cost_table(self._resources.artifacts.read(wanted.cost_table), space)
        if wanted.latency_table is None:
            return mac_costs(space)
        table = engine_table(self._tables.get(wanted.latency_table))
        return measured_costs(space, table).scaled(MS_PER_US, "ms")
