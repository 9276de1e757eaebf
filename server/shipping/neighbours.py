"""Why a candidate takes its microseconds: what each single change of its architecture would do, and who says so."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from nas_engine.cost.latency_table import LatencyTable
from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import EngineError
from nas_engine.domain.measurement import ValidityPolicy
from nas_engine.domain.measuring.profile import PROFILE_NAMES
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import ACCURACIES, LATENCY_US, MACS, PARAMS, TEST_TOP1, TOP1
from nas_engine.domain.search_space import Gene, SearchSpace
from server.candidates.candidate import Candidate, MetricValue
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.search import Search
from server.candidates.search_store import SearchStore
from server.candidates.states import EvaluationSource
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.paging import MAX_PAGE_SIZE, PageRequest
from server.fleet.store import HardwareStore
from server.latency_tables.estimates import engine_table
from server.latency_tables.latency_tables import LatencyTables
from server.measuring.evidence import find_reusable
from server.searches.answers.answer import paired_difference
from server.spaces.architecture import ArchitectureRecord
from server.spaces.catalog import SpaceCatalog

MAX_NEIGHBOURS = 400
MAX_FITTED = 300
MIN_FITTED = 8
_NORMAL_95 = 1.96
_KeyOf = Callable[[ArchitectureRecord], str | None]


class LatencySource(Enum):
    """Who says what a neighbour's latency is; the one that stands first is asked first."""

    MEASURED = "measured"
    RECORDED = "recorded"  # in the table of results that the search space is
    TABLE = "table"
    PREDICTED = "predicted"


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourDifference:
    """A neighbour's value less the candidate's.

    Attributes:
        interval: half of the 95 % interval; None where the source gives none.
        is_paired: whether it was taken image by image, on the same images.
    """

    value: float
    interval: float | None
    is_paired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """An architecture that differs in one choice.

    Attributes:
        candidate: of the same search; None where it was never asked.
    """

    gene: Gene
    was: int
    now: int
    genotype: Genotype
    record: ArchitectureRecord
    candidate: Candidate | None = None
    latency: NeighbourDifference | None = None
    source: LatencySource | None = None
    top1: NeighbourDifference | None = None
    test_top1: NeighbourDifference | None = None
    macs: int | None = None
    params: int | None = None

    @property
    def change(self) -> str:
        """What differs, for people."""
        return f"{self.gene.name}: {self.gene.options[self.was]} -> {self.gene.options[self.now]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A candidate's neighbours, the largest known difference in latency first."""

    candidate: Candidate
    device_type: str | None
    neighbours: tuple[Neighbour, ...]
    notes: tuple[str, ...] = field(default=())


class Neighbourhoods:
    """Use case of explaining candidates: only from what is known, no board is asked."""

    def __init__(self, uow: UnitOfWork, spaces: SpaceCatalog, tables: LatencyTables) -> None:
        self._uow = uow
        self._spaces = spaces
        self._tables = tables

    def explain(self, candidate_id: str) -> Explanation:
        """Compare a candidate with every architecture one choice away. Raises NotFoundError."""

        def look(tx: Transaction) -> tuple[Candidate, Search, tuple[Candidate, ...]]:
            candidate = CandidateStore(tx).get_candidate(candidate_id)
            search = SearchStore(tx).get_search(candidate.search_id)
            return candidate, search, CandidateStore(tx).all_complete_candidates(search.id)

        candidate, search, others = self._uow.read(look)
        space = self._spaces.space(search.spec.space.id, search.spec.space.parameters)
        by_arch = {one.arch_id: one for one in others}
        found = [
            _counted(candidate, replace(one, candidate=by_arch.get(one.record.arch_id)))
            for one in self._one_edit_away(space, search, candidate)
        ]
        found = self._with_accuracies(candidate, found)
        measured = self._uow.read(lambda tx: _measured(tx, search, candidate, found, self._latency_key(search)))
        found = [_with_measured(candidate, one, measured.get(one.record.arch_id)) for one in found]
        found = self._from_tables(search, candidate, found)
        found, notes = _predicted(space, candidate, found, others)
        found.sort(key=lambda one: -abs(one.latency.value) if one.latency is not None else 0.0)
        return Explanation(
            candidate=candidate,
            device_type=None if search.spec.device is None else search.spec.device.device_type,
            neighbours=tuple(found),
            notes=(*_notes(found), *notes),
        )

    def _one_edit_away(self, space: SearchSpace, search: Search, candidate: Candidate) -> Iterator[Neighbour]:
        """Every other architecture that one gene makes; those that equal another one are left out."""
        seen = {candidate.arch_id}
        for position, gene in enumerate(space.genes):
            was = candidate.genotype[position]
            for now in range(gene.num_choices):
                genotype = (*candidate.genotype[:position], now, *candidate.genotype[position + 1 :])
                try:
                    record = self._spaces.decode(search.spec.space.id, search.spec.space.parameters, genotype)
                except EngineError:  # a table of results need not hold every genotype
                    continue
                if record.arch_id not in seen:
                    seen.add(record.arch_id)
                    yield Neighbour(gene=gene, was=was, now=now, genotype=genotype, record=record)
                if len(seen) > MAX_NEIGHBOURS:
                    return

    def _with_accuracies(self, candidate: Candidate, found: Sequence[Neighbour]) -> list[Neighbour]:
        """Add accuracies where the search took both: image by image where it is known which were right."""
        ids = [candidate.id, *(one.candidate.id for one in found if one.candidate is not None)]
        answers = self._uow.read(lambda tx: EvaluationStore(tx).current_answers(ids, ACCURACIES))

        def difference(metric: Metric, other: Candidate | None) -> NeighbourDifference | None:
            own = candidate.current.get(metric)
            others = None if other is None else other.current.get(metric)
            if own is None or other is None or others is None:
                return None
            paired = paired_difference(answers[metric], other, candidate)
            if paired is None:
                return _difference(own, others)
            interval = paired.interval
            return NeighbourDifference(value=interval.value, interval=interval.half_width, is_paired=True)

        return [
            replace(one, top1=difference(TOP1, one.candidate), test_top1=difference(TEST_TOP1, one.candidate))
            for one in found
        ]

    def _latency_key(self, search: Search) -> _KeyOf:
        device = search.spec.device

        def key_of(record: ArchitectureRecord) -> str | None:
            if device is None:
                return None
            return self._spaces.latency_key(record.architecture, dtype=device.dtype, batch=device.batch)

        return key_of

    def _from_tables(self, search: Search, candidate: Candidate, found: Sequence[Neighbour]) -> list[Neighbour]:
        """Give those without a measurement the difference of a latency table's sums, where one was measured here."""
        tables = list(self._matching_tables(search)) if any(one.latency is None for one in found) else []
        if not tables:
            return list(found)
        graph = self._spaces.graph(candidate.record.architecture)

        def estimated(one: Neighbour) -> Neighbour:
            other = self._spaces.graph(one.record.architecture)
            for table in tables if one.latency is None and graph is not None and other is not None else ():
                try:
                    value = table.estimate_us(other) - table.estimate_us(graph)  # type: ignore[arg-type]
                except EngineError:  # it lacks an operator
                    continue
                return replace(one, latency=NeighbourDifference(value=value, interval=None), source=LatencySource.TABLE)
            return one

        return [estimated(one) for one in found]

    def _matching_tables(self, search: Search) -> Iterator[LatencyTable]:
        if search.hardware_key is None:
            return
        for batch in self._tables.page(PageRequest(MAX_PAGE_SIZE)).items:
            same_space = batch.spec.space.id == search.spec.space.id
            if same_space and batch.hardware_key == search.hardware_key and batch.sampling is None:
                table = self._tables.get(batch.id)
                if dict(table.space_parameters) == dict(search.spec.space.parameters):
                    yield engine_table(table)


def _measured(
    tx: Transaction, search: Search, candidate: Candidate, found: Sequence[Neighbour], key_of: _KeyOf
) -> dict[str, MetricValue]:
    """Latencies of neighbours that the search itself did not measure, from measurements on the same hardware."""
    device = search.spec.device
    if search.hardware_key is None or device is None or LATENCY_US not in candidate.current:
        return {}
    profile = HardwareStore(tx).get_hardware(search.hardware_key)
    known: dict[str, MetricValue] = {}
    for one in found:
        if one.candidate is not None and LATENCY_US in one.candidate.current:
            continue
        key = key_of(one.record)
        record = key and find_reusable(
            tx, key, profile, device.device_type, PROFILE_NAMES, ValidityPolicy.ACCEPT_FLAGGED
        )
        if record:
            known[one.record.arch_id] = MetricValue(
                metric=LATENCY_US,
                value=record.stats.p50_us,
                uncertainty=record.standard_error_us,
                source=EvaluationSource.MEASURED,
            )
    return known


def _with_measured(candidate: Candidate, one: Neighbour, elsewhere: MetricValue | None) -> Neighbour:
    own, other = candidate.current.get(LATENCY_US), elsewhere
    if one.candidate is not None:
        other = one.candidate.current.get(LATENCY_US, elsewhere)
    if own is None or other is None:
        return one
    recorded = EvaluationSource.TABLE in (own.source, other.source)
    source = LatencySource.RECORDED if recorded else LatencySource.MEASURED
    return replace(one, latency=_difference(own, other), source=source)


def _counted(candidate: Candidate, one: Neighbour) -> Neighbour:
    """Add what is counted."""

    def counted(metric: Metric) -> int | None:
        was, now = candidate.record.values.get(metric.name), one.record.values.get(metric.name)
        return None if was is None or now is None else round(now - was)

    return replace(one, macs=counted(MACS), params=counted(PARAMS))


def _difference(own: MetricValue, other: MetricValue) -> NeighbourDifference:
    errors = (own.uncertainty, other.uncertainty)
    interval = None if None in errors else _NORMAL_95 * math.hypot(*(error or 0.0 for error in errors))
    return NeighbourDifference(value=other.value - own.value, interval=interval)


def _predicted(
    space: SearchSpace, candidate: Candidate, found: Sequence[Neighbour], others: Sequence[Candidate]
) -> tuple[list[Neighbour], tuple[str, ...]]:
    """Give the rest the difference of a predictor's values, fitted to the search's own measurements."""
    missing = [one for one in found if one.latency is None]
    known = [(one.genotype, one.current[LATENCY_US]) for one in others if LATENCY_US in one.current][-MAX_FITTED:]
    if not missing:
        return list(found), ()
    if len(known) < MIN_FITTED:
        return list(found), (f"too few latencies to predict the rest: {len(known)}, {MIN_FITTED} are needed",)
    try:
        from nas_engine.cost.prediction.choice_costs import choice_costs
        from nas_engine.cost.prediction.predictor import MetricPredictor  # needs scipy, which a server alone may lack
    except ModuleNotFoundError:
        return list(found), ("the rest is not predicted: scipy is not installed where the server runs",)
    try:
        predictor = MetricPredictor(space.genes, LATENCY_US, costs=choice_costs(space))
        predictor.fit(
            [genotype for genotype, _ in known],
            [value.value for _, value in known],
            [value.uncertainty or 0.0 for _, value in known],
        )
        said = predictor.predict([candidate.genotype, *(one.genotype for one in missing)])
    except EngineError as error:
        return list(found), (f"the rest is not predicted: {error}",)
    differences: Mapping[str, NeighbourDifference] = {
        one.record.arch_id: NeighbourDifference(
            value=float(said.mean[number] - said.mean[0]),
            interval=_NORMAL_95 * math.hypot(said.standard_deviation[number], said.standard_deviation[0]),
        )
        for number, one in enumerate(missing, start=1)
    }
    filled = [
        replace(one, latency=differences[one.record.arch_id], source=LatencySource.PREDICTED)
        if one.record.arch_id in differences
        else one
        for one in found
    ]
    note = f"predicted: by a Gaussian process fitted to {len(known)} latencies of the search; its interval is wide"
    return filled, (f"{note} where little was measured near by",)


def _notes(found: Sequence[Neighbour]) -> Iterator[str]:
    sources = {one.source for one in found}
    if LatencySource.MEASURED in sources:
        yield "measured: both networks were, on the search's hardware; half widths of 95 % intervals"
    if LatencySource.TABLE in sources:
        yield "table: the difference of two sums of a latency table of this hardware; it gives no interval"
    if LatencySource.RECORDED in sources:
        yield "recorded: both stand in the table of results that the search space is"
    accuracies = [known for one in found for known in (one.top1, one.test_top1) if known is not None]
    if any(known.is_paired for known in accuracies):
        yield "accuracy: paired, image by image, on the images that both networks classified"
    if any(not known.is_paired and known.interval is not None for known in accuracies):
        yield "accuracy: where it is not known which images were right, as if both were independent: rather too wide"
