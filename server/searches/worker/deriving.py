"""DERIVE jobs: one differentiable search of DenseNAS, from its first step to the network it derives."""

from __future__ import annotations

from collections.abc import Callable

from nas_engine.cost.latency_table import mac_costs, measured_costs
from nas_engine.cost.routing_costs import RoutingCosts
from nas_engine.domain.errors import InvalidSpaceError, SearchStateError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import WeightRole
from nas_engine.search.densenas import DenseNasRecipe, search_architecture
from nas_engine.settings.algorithms import DenseNasAlgorithm
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.training.config import Decay, OptimizerConfig, ScheduleConfig, TrainConfig
from nas_engine.training.data.augmentation import NO_AUGMENTATION
from nas_engine.training.loop import Ending, Hooks, Progress
from nas_engine.training.strategies.architecture_parameters import ArchitectureOptimizerConfig
from nas_engine.training.strategies.differentiable import Alternation, DifferentiableConfig, SearchReport
from server.jobs.job import Job, LeaseRef
from server.latency_tables.estimates import engine_table
from server.latency_tables.latency_tables import LatencyTables
from server.searches.derivations import Derivations, DeriveInput
from server.spaces.worker.resources import WorkerResources
from server.training.worker.checkpoints import CheckpointUploads, local_checkpoint
from server.training.worker.settings import INCEPTION

MS_PER_US = 1e-3
REPORTS_PER_RUN = 100


class DeriveHandler:
    """Does DERIVE jobs. A stopped derivation goes on from its last checkpoint, on this worker or on another."""

    def __init__(self, derivations: Derivations, resources: WorkerResources, tables: LatencyTables) -> None:
        self._derivations = derivations
        self._resources = resources
        self._tables = tables

    def __call__(self, job: Job, lease: LeaseRef, stopped: Callable[[], bool]) -> None:
        """Train and derive until done, stopped, or the lease is lost."""
        given = self._derivations.load(lease)
        wanted, space = _wanted(given), self._space(given)
        dataset = self._resources.dataset(wanted.dataset, space)
        recipe = recipe_of(wanted, wanted.cost_factors[given.number], given.search.spec.seed, len(dataset.train))
        path = self._resources.folder / "training" / f"{given.search.id}-{given.number}.checkpoint"
        checkpoint = local_checkpoint(path, self._resources.artifacts, given.checkpoint_sha256)
        total: dict[str, JsonValue] = {
            "cost_factor": wanted.cost_factors[given.number],
            "num_steps": recipe.training.num_steps,
        }
        uploads = CheckpointUploads(
            self._resources.artifacts,
            checkpoint,
            report=lambda _: None,
            keep=lambda sha256, step: self._derivations.keep(lease, sha256, {"step": step, **total}),
        )

        def told(progress: Progress, found: SearchReport) -> None:
            self._derivations.report(lease, _progress(given.number, wanted, progress, found))
            uploads.upload()

        found = search_architecture(
            space,
            self._costs(wanted, space),
            dataset,
            recipe,
            device=self._resources.device,
            hooks=Hooks(cancelled=stopped, pause=self._resources.pause),
            checkpoint=checkpoint,
            on_report=told,
        )
        if found.ending is Ending.CANCELLED:
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

    def _costs(self, wanted: DenseNasAlgorithm, space: DenseSpace) -> RoutingCosts:
        """What networks pay for: milliseconds, or millions of MACs.

        Raises:
            InvalidMeasurementError: the table lacks an operator.
        """
        if wanted.latency_table is None:
            return mac_costs(space)
        table = engine_table(self._tables.get(wanted.latency_table))
        return measured_costs(space, table).scaled(MS_PER_US, "ms")


def recipe_of(wanted: DenseNasAlgorithm, factor: float, seed: int, num_images: int) -> DenseNasRecipe:
    """The engine's settings of one cost factor's search on `num_images` training images."""
    steps_per_epoch = max(num_images // wanted.batch_size, 1)
    num_steps = wanted.epochs * steps_per_epoch
    training = TrainConfig(
        num_steps=num_steps,
        batch_size=wanted.batch_size,
        seed=seed,
        optimizer=OptimizerConfig(
            learning_rate=wanted.learning_rate,
            momentum=wanted.momentum,
            weight_decay=wanted.weight_decay,
            decayed_roles=frozenset(WeightRole),
        ),
        schedule=ScheduleConfig(decay=Decay.COSINE, final_share=wanted.final_learning_rate / wanted.learning_rate),
        augmentation=INCEPTION if wanted.augmentation == "inception" else NO_AUGMENTATION,
        report_every_steps=max(num_steps // REPORTS_PER_RUN, 1),
        checkpoint_every_steps=wanted.checkpoint_every_steps,
    )
    search = DifferentiableConfig(
        architecture_start_step=wanted.first_architecture_epoch * steps_per_epoch,
        alternation=Alternation(wanted.alternation),
        optimizer=ArchitectureOptimizerConfig(
            learning_rate=wanted.architecture_learning_rate, weight_decay=wanted.architecture_weight_decay
        ),
        cost_factor=factor,
        cost_base=wanted.cost_base,
        beta_temperature=wanted.beta_temperature,
        regularise_skips=wanted.regularise_skips,
    )
    return DenseNasRecipe(training=training, search=search)


def _wanted(given: DeriveInput) -> DenseNasAlgorithm:
    algorithm = given.search.spec.algorithm
    if not isinstance(algorithm, DenseNasAlgorithm):
        raise SearchStateError(f"search {given.search.id} is a {algorithm.kind}: it derives nothing")
    return algorithm


def _progress(number: int, wanted: DenseNasAlgorithm, progress: Progress, found: SearchReport) -> dict[str, JsonValue]:
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
        "collapse": found.collapse.collapse.value,
        "skip_share": found.collapse.skip_share,
        "cheapest_share": found.collapse.cheapest_share,
        "mean_entropy": found.collapse.mean_entropy,
    }
