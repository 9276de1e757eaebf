"""Latency tables: every operator of a search space measured alone, by the same jobs as candidates.

A table is a search over the space's operators that asks each of them once; so it is deduplicated by latency key,
reuses what was measured before, survives restarts, and can be followed, paused and cancelled like any search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nas_engine.domain.environment import Dtype
from nas_engine.domain.errors import EngineError
from nas_engine.domain.json_value import JsonValue
from server.candidates.candidate import Candidate, CandidateQuery
from server.candidates.candidate_store import CandidateStore
from server.candidates.search import Search, SearchQuery
from server.candidates.spec import SearchSpec, parse_search_spec
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import InvalidSpecError, NotFoundError, SpecViolation
from server.core.paging import MAX_PAGE_SIZE, Page, PageRequest, Position
from server.latency_tables.checks import OPERATORS_SPACE
from server.latency_tables.spec import MAX_BATCH, LatencyTableSpec
from server.searches.searches import Searches
from server.spaces.catalog import SpaceCatalog

# Provenance of a network that was sampled for a report: what the table said of it before it was measured.
SAMPLED, ESTIMATES, MISSING = "sampled", "estimates_us", "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One operator: its label, its candidate, and with that its latency where it is measured."""

    label: str
    candidate: Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredTable:
    """A table as it stands.

    Attributes:
        search: that measures it; its state and hardware key are the table's.
        rows: one per distinct operator asked so far.
        num_operators: in all.
    """

    search: Search
    space_id: str
    batch: int
    dtype: Dtype
    rows: tuple[TableRow, ...]
    num_operators: int

    @property
    def space_parameters(self) -> Mapping[str, JsonValue]:
        """Of the space the operators are of."""
        parameters: Mapping[str, JsonValue] = self.search.spec.space.parameters["parameters"]
        return parameters


class LatencyTables:
    """Use cases of latency tables."""

    def __init__(self, uow: UnitOfWork, searches: Searches, spaces: SpaceCatalog) -> None:
        self._uow = uow
        self._searches = searches
        self._spaces = spaces

    def create(self, spec: LatencyTableSpec, created_by: str | None = None) -> Search:
        """Have every operator measured that is not known yet.

        Raises:
            InvalidSpecError: the space has no operators, or no device can measure them.
        """
        if spec.space.id not in self._spaces.space_ids():
            known = ", ".join(self._spaces.space_ids())
            raise InvalidSpecError([SpecViolation("/space/id", f"unknown space {spec.space.id!r}: known are {known}")])
        return self._searches.create(self._search_spec(spec), created_by)

    def page(self, page: PageRequest) -> Page[Search]:
        """The searches that measure tables, newest first."""
        return self._searches.page(SearchQuery(space_id=OPERATORS_SPACE), page)

    def get(self, table_id: str) -> MeasuredTable:
        """A table as it stands, also while it is measured.

        Raises:
            NotFoundError: there is no such table.
        """
        try:
            search = self._searches.get(table_id)
        except NotFoundError as error:
            raise NotFoundError("latency table", table_id) from error
        device = search.spec.device
        if search.spec.space.id != OPERATORS_SPACE or device is None:
            raise NotFoundError("latency table", table_id)
        labels = self._spaces.describe(OPERATORS_SPACE, search.spec.space.parameters).genes[0].options
        rows = tuple(
            TableRow(label=labels[c.genotype[0]].partition(":")[2], candidate=c) for c in self.candidates(table_id)
        )
        return MeasuredTable(
            search=search,
            space_id=str(search.spec.space.parameters["space"]),
            batch=device.batch,
            dtype=device.dtype_value,
            rows=rows,
            num_operators=len(labels),
        )

    def _search_spec(self, spec: LatencyTableSpec) -> SearchSpec:
        try:
            base = self._spaces.describe(spec.space.id, spec.space.parameters)
            parameters: dict[str, JsonValue] = {
                "space": base.id,
                "parameters": dict(base.parameters),
                "batch": spec.device.batch,
                "dtype": spec.device.dtype,
            }
            size = self._spaces.describe(OPERATORS_SPACE, parameters).size
        except EngineError as error:
            raise InvalidSpecError([SpecViolation("/space", str(error))]) from error
        return parse_search_spec(
            {
                "name": spec.name,
                "space": {"id": OPERATORS_SPACE, "parameters": parameters},
                "objectives": [{"metric": "latency_us"}],
                "algorithm": {"kind": "random", "batch_size": min(size, MAX_BATCH)},
                "budget": {"num_candidates": size},
                "device": spec.device.model_dump(mode="json"),
                "measurement": spec.measurement.model_dump(mode="json"),
                "priority": spec.priority,
                "labels": dict(spec.labels),
            }
        )

    def candidates(self, search_id: str) -> tuple[Candidate, ...]:
        """Every candidate of a search, in the order asked."""

        def look(tx: Transaction) -> tuple[Candidate, ...]:
            found: list[Candidate] = []
            after: Position | None = None
            while True:  # ends with the last page
                page = CandidateStore(tx).page(CandidateQuery(search_id=search_id), PageRequest(MAX_PAGE_SIZE, after))
                found += page.items
                after = page.next
                if after is None:
                    return tuple(found)

        return self._uow.read(look)
