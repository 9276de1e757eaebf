"""Admission: whether a search spec can be run at all, and on which hardware. Everything wrong is found at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nas_engine.domain.errors import EngineError
from nas_engine.domain.json_value import canonical_json
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import all_metrics, brought_metric, declaration_of, words_for
from nas_engine.domain.plugins.doors import Door, PluginError, own_provider
from nas_engine.domain.uncertainty import value_text
from nas_engine.settings.external import ExternalMetricSpec
from nas_engine.settings.kinds.algorithms import algorithm_faults, surveyed_algorithms
from nas_engine.settings.kinds.declared import SettingsError
from nas_engine.settings.training import TrainingSpec
from nas_engine.spaces.densenas.space import DenseSpace
from server.access.principal import Principal
from server.artifacts.artifacts import Artifacts
from server.candidates.boards import OWN_DEVICE
from server.candidates.search import UsedPlugin
from server.candidates.search_store import SearchStore
from server.candidates.spec import SearchSpec
from server.core.database.transaction import Transaction
from server.core.errors import NotFoundError, SpecViolation
from server.fleet.device import HardwareProfile
from server.latency_tables.checks import cost_table_violations, table_violations
from server.searches.boards.hardware import conversion_violations, hardware_of_boards
from server.searches.feasibility import asked_text, unmet_by_measurements
from server.searches.presets import preset_deviations
from server.searches.value_sources import missing_sources
from server.spaces.catalog import SpaceCatalog
from server.spaces.datasets import DatasetCatalog
from server.spaces.descriptions import MetricBounds, SpaceDescription
from server.training.store import SupernetStore
from server.training.supernet import Supernet
from server.training.supernets import Supernets
from server.training.training import TrainingState


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecReport:
    """What is known of a spec before it runs.

    Attributes:
        violations: everything that is wrong; empty when it can be run.
        bounds: range of every cheap metric over the space.
        space_size: number of genotypes; None for an unknown space.
        hardware: what latencies will be filed under; None where latency is not wanted, or nothing fits.
        board_hardware: the same of the further boards that it names, by their names; of those that something fits.
        num_devices: devices that can measure for it, on every board.
        supernet: the supernet it names; None for an inline one, or none.
        plugins: what of it comes from packages other than hilnas itself.
        warnings: what speaks against it without forbidding it.
    """

    violations: tuple[SpecViolation, ...]
    bounds: Mapping[Metric, MetricBounds]
    space_size: int | None = None
    hardware: HardwareProfile | None = None
    board_hardware: Mapping[str, HardwareProfile] = field(default_factory=dict)
    num_devices: int = 0
    supernet: Supernet | None = None
    plugins: tuple[UsedPlugin, ...] = ()
    warnings: tuple[str, ...] = ()


class Admission:
    """Checks search specs against spaces, data sets, supernets and the fleet."""

    def __init__(
        self,
        spaces: SpaceCatalog,
        datasets: DatasetCatalog,
        supernets: Supernets,
        artifacts: Artifacts | None = None,
    ) -> None:
        """See class. Without `artifacts`, of an imported cost table its record alone is looked at."""
        self._artifacts = artifacts
        self._spaces = spaces
        self._datasets = datasets
        self._supernets = supernets

    def look_ahead(self, spec: SearchSpec) -> None:
        """Ask packages what `examine` asks, so that it finds their answers: no transaction should wait for them."""
        _algorithm(spec)
        space, _ = self._space(spec)
        if space is not None:
            _unreachable(spec, self._bounds(spec))

    def examine_bounds(self, spec: SearchSpec) -> Sequence[SpecViolation]:
        """What is wrong with the constraints and the target of a spec, whatever devices and supernets are there now."""
        space, found = self._space(spec)
        if space is None:
            return found
        missing = missing_sources(spec, space)
        unreachable = _unreachable(spec, self._bounds(spec))
        by_table = [] if unreachable or space.has_graphs or not spec.constraints else self._unmet_by_table(spec)
        return [*missing, *unreachable, *by_table]

    def searched_space(self, spec: SearchSpec) -> SpaceDescription | None:
        """What is known of the spec's space; None where it cannot be made."""
        return self._space(spec)[0]

    def examine(self, tx: Transaction, spec: SearchSpec, owner: Principal | None = None) -> SpecReport:
        """Everything that can be said of a spec; never raises for what is wrong with it.

        Args:
            owner: whose search it would be: some devices may be closed to it; None without authentication.
        """
        space, found = self._space(spec)
        violations = list(found)
        bounds: Mapping[Metric, MetricBounds] = {}
        if space is not None:
            bounds = self._bounds(spec)
            unreachable = _unreachable(spec, bounds)
            violations += unreachable or (
                [] if space.has_graphs or not spec.constraints else self._unmet_by_table(spec)
            )
        violations += _algorithm(spec)
        violations += missing_sources(spec, space)
        supernet, found = self._supernet(tx, spec, space)
        violations += found
        violations += self._dataset(spec, space)
        violations += self._batches(spec, supernet)
        violations += _warm_start(tx, spec)
        fleet = hardware_of_boards(tx, spec, owner)
        violations += fleet.violations
        for board in spec.all_boards():
            violations += conversion_violations(spec, board, fleet.profiles.get(board.name))
        if (table_id := spec.algorithm.inputs().latency_table) is not None:
            violations += table_violations(
                tx,
                table_id,
                "/algorithm/latency_table",
                space=space,
                device=spec.device,
                hardware=fleet.profile,
            )
        violations += self._cost_table(tx, spec)
        warnings: tuple[str, ...] = preset_deviations(spec)
        for board in spec.all_boards() if space is not None else ():
            if space is not None and (profile := fleet.profiles.get(board.name)) is not None:
                warnings += unmet_by_measurements(tx, spec.domain_constraints(), space, profile, board.metric)
        return SpecReport(
            violations=tuple(violations),
            bounds=bounds,
            space_size=None if space is None else space.size,
            hardware=fleet.profile,
            board_hardware={name: one for name, one in fleet.profiles.items() if name != OWN_DEVICE},
            num_devices=fleet.num_devices,
            supernet=supernet,
            plugins=() if violations else self._plugins(spec, supernet),
            warnings=warnings,
        )

    def _bounds(self, spec: SearchSpec) -> Mapping[Metric, MetricBounds]:
        return self._spaces.bounds(spec.space.id, spec.space.parameters, spec.metric_documents())

    def _unmet_by_table(self, spec: SearchSpec) -> Sequence[SpecViolation]:
        """Bounds that no row of the table that is the space meets together."""
        outside = spec.external_metrics()
        constraints = [one for one in spec.domain_constraints() if one.metric not in outside]
        missed = self._spaces.nearest_miss(spec.space.id, spec.space.parameters, constraints)
        if missed is None:
            return ()
        genotype, values = missed
        pointer = "/constraints/0" if len(constraints) == 1 else "/constraints"
        nearest = ", ".join(f"{words_for(metric)} {value_text(value, metric.unit)}" for metric, value in values.items())
        message = f"no row of the table meets {asked_text(constraints)}: nearest {nearest}, genotype {list(genotype)}"
        return [SpecViolation(pointer, message)]

    def _plugins(self, spec: SearchSpec, supernet: Supernet | None) -> tuple[UsedPlugin, ...]:
        """What of the search comes from packages other than hilnas itself."""
        space = self._spaces.describe(spec.space.id, spec.space.parameters)
        used = [(Door.SPACES, spec.space.id, space.provider)]
        algorithm = surveyed_algorithms().found.get(spec.algorithm.kind)
        used.append((Door.ALGORITHMS, spec.algorithm.kind, None if algorithm is None else algorithm.provider))
        names = [spec.dataset, spec.algorithm.inputs().dataset]
        if isinstance(spec.supernet, TrainingSpec):
            names.append(spec.supernet.dataset)
        elif supernet is not None:
            names.append(supernet.spec.dataset)
        for name in dict.fromkeys(names):
            dataset = None if name is None else self._datasets.describe(name)
            if dataset is not None:
                used.append((Door.DATASETS, dataset.kind, dataset.provider))
        here = [metric for metric in spec.metrics() if metric not in spec.external_metrics()]
        brought = {metric.name: brought_metric(metric.name) or all_metrics().get(metric.name) for metric in here}
        used += [(Door.METRICS, name, one.provider) for name, one in brought.items()]
        return tuple(
            UsedPlugin(door=door, name=name, provider=provider)
            for door, name, provider in used
            if provider is not None and provider != own_provider()
        )

    def _space(self, spec: SearchSpec) -> tuple[SpaceDescription | None, Sequence[SpecViolation]]:
        try:
            return self._spaces.describe(spec.space.id, spec.space.parameters), ()
        except SettingsError as error:
            places = [("".join(f"/{part}" for part in path), message) for path, message in error.faults]
            return None, [SpecViolation(f"/space/parameters{place}", message) for place, message in places]
        except EngineError as error:
            known = spec.space.id in self._spaces.space_ids()
            return None, [SpecViolation("/space/parameters" if known else "/space/id", str(error))]

    def _supernet(
        self, tx: Transaction, spec: SearchSpec, space: SpaceDescription | None
    ) -> tuple[Supernet | None, Sequence[SpecViolation]]:
        new_head = spec.shifting is not None and spec.shifting.new_head
        match spec.supernet:
            case None:
                return None, ()
            case TrainingSpec() as training:
                found = list(self._supernets.violations(training, "/supernet"))
                if space is not None and not found:
                    found += self._other_space(training, space, "/supernet/space", new_head=new_head)
                return None, found
            case str() as supernet_id:
                try:
                    supernet = SupernetStore(tx).get_training(supernet_id)
                except NotFoundError as error:
                    return None, [SpecViolation("/supernet", str(error))]
                if supernet.state in (TrainingState.FAILED, TrainingState.CANCELLED):
                    message = f"supernet {supernet_id} is {supernet.state.value}: {supernet.reason}"
                    return supernet, [SpecViolation("/supernet", message)]
                if space is None:
                    return supernet, ()
                return supernet, self._other_space(supernet.spec, space, "/supernet", new_head=new_head)

    def _other_space(
        self, training: TrainingSpec, space: SpaceDescription, pointer: str, *, new_head: bool
    ) -> Sequence[SpecViolation]:
        trained = self._spaces.describe(training.space.id, training.space.parameters)
        own, wanted = dict(trained.parameters), dict(space.parameters)
        if new_head:
            own.pop("num_classes", None), wanted.pop("num_classes", None)
        same = trained.id == space.id and canonical_json(own) == canonical_json(wanted)
        if same:
            return ()
        differing = sorted(
            name
            for name in {*trained.parameters, *space.parameters}
            if trained.parameters.get(name) != space.parameters.get(name)
        )
        message = f"the supernet is of space {trained.id!r}, the search is in {space.id!r}"
        if trained.id == space.id:
            message = f"the supernet's space differs in parameters {', '.join(differing)}: use the same ones"
        return [SpecViolation(pointer, message)]

    def _dataset(self, spec: SearchSpec, space: SpaceDescription | None) -> Sequence[SpecViolation]:
        found = [] if spec.dataset is None else self._dataset_named(spec.dataset, "/dataset", space)
        if (own := spec.algorithm.inputs().dataset) is not None:
            found += self._dataset_named(own, "/algorithm/dataset", space)
        return found

    def _cost_table(self, tx: Transaction, spec: SearchSpec) -> Sequence[SpecViolation]:
        sha256 = spec.algorithm.inputs().cost_table
        if sha256 is None:
            return ()
        described, _ = self._space(spec)
        space = None if described is None else self._spaces.space(spec.space.id, spec.space.parameters)
        return cost_table_violations(
            tx,
            sha256,
            "/algorithm/cost_table",
            space=space if isinstance(space, DenseSpace) else None,
            artifacts=self._artifacts,
        )

    def _batches(self, spec: SearchSpec, supernet: Supernet | None) -> Sequence[SpecViolation]:
        """Batches of what searches train that are larger than the data set; a supernet's own is checked with it."""
        wanted: list[tuple[str, str, int]] = []
        own = spec.algorithm.inputs()
        if own.dataset is not None and own.batch_size is not None:
            wanted.append(("/algorithm/batch_size", own.dataset, own.batch_size))
        training = (
            spec.supernet if isinstance(spec.supernet, TrainingSpec) else None if supernet is None else supernet.spec
        )
        if spec.shifting is not None and training is not None:
            wanted.append(("/shifting/batch_size", spec.dataset or training.dataset, spec.shifting.batch_size))
        found = []
        for pointer, name, batch_size in wanted:
            dataset = self._datasets.describe(name)
            if dataset is not None and (too_few := dataset.batch_fault(batch_size)) is not None:
                found.append(SpecViolation(pointer, too_few))
        return found

    def _dataset_named(self, name: str, pointer: str, space: SpaceDescription | None) -> list[SpecViolation]:
        dataset = self._datasets.describe(name)
        if dataset is None:
            return [SpecViolation(pointer, self._datasets.absence(name))]
        if space is not None and dataset.num_classes != space.num_classes:
            message = f"data set {dataset.name!r} has {dataset.num_classes} classes, the space {space.num_classes}"
            return [SpecViolation(pointer, message)]
        return []


def _algorithm(spec: SearchSpec) -> Sequence[SpecViolation]:
    """What the package that brings the algorithm says of its settings; nothing for those that ship with hilnas."""
    names = [objective.metric for objective in spec.objectives]
    try:
        found = algorithm_faults(spec.algorithm, names, shifting=spec.shifting is not None)
    except PluginError as error:
        return [SpecViolation("/algorithm", str(error))]
    return [SpecViolation(pointer, message) for pointer, message in found]


def _warm_start(tx: Transaction, spec: SearchSpec) -> Sequence[SpecViolation]:
    if spec.warm_start is None or spec.warm_start.search is None:
        return ()
    try:
        other = SearchStore(tx).get_search(spec.warm_start.search)
    except NotFoundError as error:
        return [SpecViolation("/warm_start/search", str(error))]
    if other.spec.space.id != spec.space.id:
        message = f"search {other.id} is in space {other.spec.space.id!r}, this one in {spec.space.id!r}"
        return [SpecViolation("/warm_start/search", message)]
    return ()


def _unreachable(spec: SearchSpec, bounds: Mapping[Metric, MetricBounds]) -> list[SpecViolation]:
    found: list[SpecViolation] = []
    external = {one.declared(): _bounds_of(one) for one in spec.external}
    places = [(f"/constraints/{place}", one) for place, one in enumerate(spec.domain_constraints())]
    places += [(f"/stop/target/{place}", one) for place, one in enumerate(spec.domain_target())]
    for pointer, constraint in places:
        # Bounds are computed when they are looked up, which takes long in large spaces: only for what is constrained.
        try:
            outside = external.get(constraint.metric)
            within = outside or bounds.get(constraint.metric) or _declared_bounds(constraint.metric)
        except EngineError as error:  # a metric or a space that a package brings
            found.append(SpecViolation(f"{pointer}/metric", str(error)))
            continue
        if within is None:
            continue
        if constraint.maximum is not None and constraint.maximum < within.minimum:
            found.append(_out_of_range(pointer, "maximum", constraint.metric, constraint.maximum, within))
        if constraint.minimum is not None and constraint.minimum > within.maximum:
            found.append(_out_of_range(pointer, "minimum", constraint.metric, constraint.minimum, within))
    return found


def _bounds_of(external: ExternalMetricSpec) -> MetricBounds:
    low, high = external.bounds()
    return MetricBounds(minimum=low, maximum=high)


def _declared_bounds(metric: Metric) -> MetricBounds | None:
    """Bounds that every value of an evaluated or measured metric keeps; None where any number can be one."""
    one = declaration_of(metric)
    if one.is_cheap or (math.isinf(one.minimum) and math.isinf(one.maximum)):
        return None
    return MetricBounds(minimum=one.minimum, maximum=one.maximum)


def _out_of_range(pointer: str, side: str, metric: Metric, bound: float, within: MetricBounds) -> SpecViolation:
    upper = None if within.maximum == math.inf else within.maximum
    lower = None if within.minimum == -math.inf else within.minimum
    span = f"at most {value_text(upper, metric.unit)}"
    if lower is not None:
        lowest = value_text(lower, metric.unit)
        span = f"at least {lowest}" if upper is None else f"{lowest} to {value_text(upper, metric.unit)}"
    return SpecViolation(
        f"{pointer}/{side}",
        f"no architecture of the space has {words_for(metric)} {'<=' if side == 'maximum' else '>='} "
        f"{value_text(bound, metric.unit)}: the feasible range is {span}",
        feasible_minimum=lower,
        feasible_maximum=upper,
    )
