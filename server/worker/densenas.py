"""DenseNAS as a search algorithm: each candidate is what one differentiable search derives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nas_engine.cost.latency_table import LatencyTable, TableEntry, mac_costs, measured_costs
from nas_engine.cost.routing_costs import RoutingCosts
from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import InvalidSpaceError, SearchStateError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import WeightRole
from nas_engine.domain.search_space import SearchSpace
from nas_engine.search.algorithm import SearchProblem, Told
from nas_engine.search.densenas import DenseNasRecipe, search_architecture
from nas_engine.search.ledgered import LedgeredSearch
from nas_engine.spaces.dense import DenseSpace
from nas_engine.training.architecture_parameters import ArchitectureOptimizerConfig
from nas_engine.training.augmentation import NO_AUGMENTATION
from nas_engine.training.config import Decay, OptimizerConfig, ScheduleConfig, TrainConfig
from nas_engine.training.differentiable import DifferentiableConfig
from nas_engine.training.loop import Ending, Hooks
from server.service.algorithm_spec import DenseNasAlgorithm
from server.service.latency_tables import LatencyTables
from server.service.values.search import Search
from server.worker.algorithms import problem_of
from server.worker.resources import Resources
from server.worker.training_settings import INCEPTION


class SearchInterruptedError(SearchStateError):
    """The step was told to stop while a supernet trained; the training goes on from its checkpoint."""


@dataclass(frozen=True, slots=True)
class Derived:
    """What one cost factor gave: an architecture, and how the search that derived it ended."""

    genotype: Genotype
    report: dict[str, JsonValue]


class DenseNasSearch(LedgeredSearch):
    """Derives one architecture per cost factor, in order; one that was derived before is not asked again."""

    def __init__(
        self, problem: SearchProblem, settings: DenseNasAlgorithm, seed: int, derive: Callable[[int], Derived]
    ) -> None:
        """`derive` runs the search of the cost factor with this number."""
        super().__init__(problem, settings.model_dump(mode="json"), seed)
        self._num_factors = len(settings.cost_factors)
        self._derive = derive
        self.derived: list[JsonValue] = []

    @property
    def batch_size(self) -> int:
        """Each search is a step of its own."""
        return 1

    def _propose(self, num: int) -> list[Genotype]:
        while len(self.derived) < self._num_factors:
            found = self._derive(len(self.derived))
            is_new = self.ledger.admit(found.genotype)
            self.derived.append({**found.report, "genotype": list(found.genotype), "new": is_new})
            if is_new:
                return [found.genotype][:num]
        return []

    def _absorb(self, results: Sequence[Told]) -> None:
        self._generation += len(results)

    def _own_state(self) -> Mapping[str, JsonValue]:
        return {"derived": list(self.derived)}

    def _load_own_state(self, state: Mapping[str, JsonValue]) -> None:
        match state.get("derived"):
            case list(derived):
                self.derived = derived
            case other:
                raise SearchStateError(f"checkpoint: {other!r} is no list of derived architectures")


class DenseNas:
    """Makes DenseNAS searches on this worker."""

    def __init__(self, resources: Resources, tables: LatencyTables) -> None:
        self._resources = resources
        self._tables = tables

    def algorithm(
        self, search: Search, wanted: DenseNasAlgorithm, space: SearchSpace, stopped: Callable[[], bool]
    ) -> DenseNasSearch:
        """The algorithm of a search.

        Raises:
            InvalidSpaceError: the space is none of DenseNAS's.
        """
        if not isinstance(space, DenseSpace):
            raise InvalidSpaceError(f"densenas searches densely connected spaces, {space.space_id!r} is none")
        problem = problem_of(search.spec, space)
        derive = lambda number: self._derive(search, wanted, space, number, stopped)  # noqa: E731
        return DenseNasSearch(problem, wanted, search.spec.seed, derive)

    def _derive(
        self, search: Search, wanted: DenseNasAlgorithm, space: DenseSpace, number: int, stopped: Callable[[], bool]
    ) -> Derived:
        dataset = self._resources.dataset(wanted.dataset, space)
        factor = wanted.cost_factors[number]
        checkpoint = self._resources.folder / "training" / f"{search.id}-{number}.checkpoint"
        checkpoint.parent.mkdir(exist_ok=True)
        found = search_architecture(
            space,
            self._costs(wanted, space),
            dataset,
            _recipe(wanted, factor, search.spec.seed, len(dataset.train)),
            device=self._resources.device,
            hooks=Hooks(cancelled=stopped, pause=self._resources.pause),
            checkpoint=checkpoint,
        )
        if found.ending is Ending.CANCELLED:
            raise SearchInterruptedError(f"search {search.id} was stopped while it trained")
        genotype = space.genotype_of(found.architecture)
        if genotype is None:
            raise SearchStateError(f"what search {search.id} derived lies outside its space")
        checkpoint.unlink(missing_ok=True)
        collapse = found.report.collapse
        report: dict[str, JsonValue] = {
            "cost_factor": factor,
            "expected_cost": found.report.expected_cost,
            "cost_unit": found.report.cost_unit,
            "collapse": collapse.collapse.value,
            "skip_share": collapse.skip_share,
        }
        return Derived(space.canonical(genotype), report)

    def _costs(self, wanted: DenseNasAlgorithm, space: DenseSpace) -> RoutingCosts:
        """What networks pay for. Raises InvalidMeasurementError where the table lacks an operator."""
        if wanted.latency_table is None:
            return mac_costs(space)
        found = self._tables.get(wanted.latency_table)
        entries = {
            str(row.candidate.latency_key): TableEntry(row.label, row.candidate.latency_us)
            for row in found.rows
            if row.candidate.latency_us is not None
        }
        table = LatencyTable(
            space_id=found.space_id,
            hardware_key=str(found.search.hardware_key),
            batch=found.batch,
            dtype=found.dtype,
            entries=entries,
        )
        return measured_costs(space, table)


def _recipe(wanted: DenseNasAlgorithm, factor: float, seed: int, num_images: int) -> DenseNasRecipe:
    steps_per_epoch = max(num_images // wanted.batch_size, 1)
    training = TrainConfig(
        num_steps=wanted.epochs * steps_per_epoch,
        batch_size=wanted.batch_size,
        seed=seed,
        optimizer=OptimizerConfig(learning_rate=wanted.learning_rate, decayed_roles=frozenset(WeightRole)),
        schedule=ScheduleConfig(decay=Decay.COSINE, final_share=1e-4),
        augmentation=INCEPTION if wanted.augmentation == "inception" else NO_AUGMENTATION,
    )
    search = DifferentiableConfig(
        architecture_start_step=wanted.first_architecture_epoch * steps_per_epoch,
        optimizer=ArchitectureOptimizerConfig(learning_rate=wanted.architecture_learning_rate),
        cost_factor=factor,
        cost_base=wanted.cost_base,
    )
    return DenseNasRecipe(training=training, search=search)
