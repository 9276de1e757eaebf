"""DERIVE jobs: one differentiable search of DenseNAS, from its first step to the network it derives."""

from __future__ import annotations

from collections.abc import Callable

from nas_engine.cost.cost_table import read_cost_table
from nas_engine.cost.latency_table import mac_costs, measured_costs
from nas_engine.cost.routing_costs import RoutingCosts
from nas_engine.domain.errors import InvalidSpaceError, SearchStateError
from nas_engine.domain.json_value import JsonValue
from nas_engine.search.densenas import search_architecture
from nas_engine.settings.densenas import DenseNasSettings
from nas_engine.settings.kinds.algorithms import deriving_settings
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.training.loop import Hooks, Progress, StopReason
from nas_engine.training.strategies.differentiable import SearchReport
from server.candidates.used_plugins import check_plugins
from server.jobs.job import Job, LeaseRef
from server.latency_tables.estimates import engine_table
from server.latency_tables.latency_tables import LatencyTables
from server.searches.steps.derivations import Derivations, DeriveInput
from server.spaces.worker import WorkerResources
from server.training.worker.checkpoints import CheckpointUploads, local_checkpoint

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
        wanted = deriving_settings(given.search.spec.algorithm)
        if wanted is None:
            kind = given.search.spec.algorithm.kind
            raise SearchStateError(f"search {given.search.id} is a {kind}: it derives nothing")
        space = self._space(given)
        dataset = self._resources.dataset(wanted.dataset, space, form=wanted.image_form)
        seed = given.search.spec.seed
        path = self._resources.folder / "training" / f"{given.search.id}-{given.number}.checkpoint"
        checkpoint = local_checkpoint(path, self._resources.artifacts, given.checkpoint_sha256)
        total: dict[str, JsonValue] = {
            "cost_factor": wanted.cost_factors[given.number],
            "num_steps": wanted.weight_training(seed).num_steps(len(dataset.train)),
        }
        uploads = CheckpointUploads(
            self._resources.artifacts,
            checkpoint,
            report=lambda _: None,
            keep=lambda sha256, step: self._derivations.keep(lease, sha256, {"step": step, **total}),
        )

        def report_progress(progress: Progress, found: SearchReport) -> None:
            self._derivations.report(lease, _progress(given.number, wanted, progress, found))
            uploads.upload()

        found = search_architecture(
            space,
            self._costs(wanted, space),
            dataset,
            wanted,
            cost_factor=wanted.cost_factors[given.number],
            seed=seed,
            device=self._resources.device,
            hooks=Hooks(cancelled=stopped, pause=self._resources.pause),
            checkpoint=checkpoint,
            on_report=report_progress,
        )
        if found.ending is StopReason.CANCELLED:
            uploads.upload()
            return
        genotype = space.genotype_of(found.architecture)
        if genotype is None:
            raise SearchStateError(f"what search {given.search.id} derived lies outside its space")
        result: dict[str, JsonValue] = {
            "number": given.number,
            "genotype": list(space.canonical(genotype)),
            "cost_factor": wanted.cost_factors[given.number],
            **_costs_and_collapse(found.report),
            "dataset_fingerprint": dataset.fingerprint,
        }
        self._derivations.finish(lease, result)
        checkpoint.unlink(missing_ok=True)

    def _space(self, given: DeriveInput) -> DenseSpace:
        spec = given.search.spec.space
        space = self._resources.spaces.space(spec.id, spec.parameters)
        if not isinstance(space, DenseSpace):
            raise InvalidSpaceError(f"densenas searches densely connected spaces, {space.space_id!r} is none")
        return space

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


def _progress(number: int, wanted: DenseNasSettings, progress: Progress, found: SearchReport) -> dict[str, JsonValue]:
    return {
        "number": number,
        "cost_factor": wanted.cost_factors[number],
        "step": progress.step,
        "num_steps": progress.num_steps,
        "epoch": progress.step * wanted.epochs // progress.num_steps,
        "num_epochs": wanted.epochs,
        "loss": progress.loss,
        "top1": progress.top1,
        "learning_rate": progress.learning_rate,
        "images_per_s": progress.images_per_s,
        "eta_s": progress.eta_s,
        "architecture_loss": found.architecture_loss,
        **_costs_and_collapse(found),
    }


def _costs_and_collapse(found: SearchReport) -> dict[str, JsonValue]:
    return {
        "expected_cost": found.expected_cost,
        "cost_unit": found.cost_unit,
        "num_architecture_steps": found.num_architecture_steps,
        **({} if found.best_epoch is None else {"best_epoch": found.best_epoch, "best_top1": found.best_top1}),
        "collapse": found.collapse.collapse.value,
        "skip_share": found.collapse.skip_share,
        "cheapest_share": found.collapse.cheapest_share,
        "mean_entropy": found.collapse.mean_entropy,
    }
