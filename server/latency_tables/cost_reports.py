"""Reports of latency tables: what a table estimates for sampled networks, against what boards measure of them.

A report is a search over the table's space that asks sampled networks; so it is deduplicated by latency key, reuses
what was measured before, survives restarts, and can be followed, paused and cancelled like any search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nas_engine.domain.json_value import JsonValue
from nas_engine.settings.algorithms import CostReportSettings
from server.candidates.candidate import Candidate
from server.candidates.search import Search, SearchQuery
from server.candidates.spec import SearchSpec, parse_search_spec
from server.core.database.transaction import UnitOfWork
from server.core.errors import NotFoundError
from server.core.paging import Page, PageRequest
from server.fleet.store import HardwareStore
from server.latency_tables.estimates import EstimateAgreement, EstimateMaths
from server.latency_tables.latency_tables import ESTIMATES, MISSING, LatencyTables, MeasuredTable
from server.latency_tables.spec import CostReportSpec
from server.searches.searches import Searches

TABLE_LABEL = "latency-table"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """One sampled network.

    Attributes:
        candidate: its state, and its measured latency once there is one.
        estimates_us: by estimator, made from the table before the network was measured; empty where it cannot be.
        missing: the operator that the table lacks; empty where it has all.
    """

    candidate: Candidate
    estimates_us: Mapping[str, float]
    missing: str = ""

    @property
    def comparable(self) -> bool:
        """Whether it is both estimated and measured."""
        return bool(self.estimates_us) and self.candidate.latency_us is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostReport:
    """A report as it stands.

    Attributes:
        search: that samples and measures; its state is the report's.
        agreements: one per estimator, over the rows that are estimated and measured; () below two of them.
    """

    search: Search
    table_id: str
    num_networks: int
    rows: tuple[ReportRow, ...]
    agreements: tuple[EstimateAgreement, ...]


class CostReports:
    """Use cases of reports."""

    def __init__(self, uow: UnitOfWork, searches: Searches, tables: LatencyTables, maths: EstimateMaths) -> None:
        self._uow = uow
        self._searches = searches
        self._tables = tables
        self._maths = maths

    def create(self, table_id: str, spec: CostReportSpec, created_by: str | None = None) -> Search:
        """Sample networks of a table's space and have them measured.

        Raises:
            NotFoundError: there is no such table.
            InvalidSpecError: the table is not complete, or its hardware is gone.
        """
        return self._searches.create(self._search_spec(self._tables.get(table_id), spec), created_by)

    def get(self, table_id: str, report_id: str) -> CostReport:
        """A report as it stands, also while its networks are measured.

        Raises:
            NotFoundError: there is no such report of this table.
        """
        search = self._searches.get(report_id)
        algorithm = search.spec.algorithm
        if not isinstance(algorithm, CostReportSettings) or algorithm.latency_table != table_id:
            raise NotFoundError("report", report_id)
        rows = tuple(map(_row, self._tables.candidates(report_id)))
        return CostReport(
            search=search,
            table_id=table_id,
            num_networks=search.spec.budget.num_candidates,
            rows=rows,
            agreements=self._agreements(rows),
        )

    def page(self, table_id: str, page: PageRequest) -> Page[Search]:
        """The searches behind a table's reports, newest first. Raises NotFoundError for no table."""
        table = self._tables.get(table_id)
        query = SearchQuery(space_id=table.space_id, labels={TABLE_LABEL: table_id})
        found = self._searches.page(query, page)
        reports = tuple(search for search in found.items if isinstance(search.spec.algorithm, CostReportSettings))
        return Page(reports, found.next)

    def _agreements(self, rows: tuple[ReportRow, ...]) -> tuple[EstimateAgreement, ...]:
        compared = [row for row in rows if row.comparable]
        if len(compared) < 2:
            return ()
        estimates = {name: [row.estimates_us[name] for row in compared] for name in compared[0].estimates_us}
        measured = [latency for row in compared if (latency := row.candidate.latency_us) is not None]
        return tuple(self._maths.compare(estimates, measured))

    def _search_spec(self, table: MeasuredTable, spec: CostReportSpec) -> SearchSpec:
        measured = table.search.spec
        return parse_search_spec(
            {
                "name": spec.name,
                "space": {"id": table.space_id, "parameters": dict(table.space_parameters)},
                "objectives": [{"metric": "latency_us"}],
                "algorithm": {
                    "kind": "cost_report",
                    "latency_table": table.search.id,
                    "logit_std": spec.logit_std,
                },
                "budget": {"num_candidates": spec.num_networks},
                "device": self._device(table),
                "measurement": measured.measurement.model_dump(mode="json"),
                "seed": spec.seed,
                "priority": spec.priority,
                "labels": {**spec.labels, TABLE_LABEL: table.search.id},
            }
        )

    def _device(self, table: MeasuredTable) -> JsonValue:
        """The table's own device, narrowed to the hardware that it resolved to."""
        device = table.search.spec.device
        hardware_key = table.search.hardware_key
        if device is None or hardware_key is None:
            raise NotFoundError("latency table", table.search.id)
        identity = self._uow.read(lambda tx: HardwareStore(tx).get(hardware_key)).key.identity
        document: dict[str, JsonValue] = device.model_dump(mode="json")
        narrowed: dict[str, JsonValue] = {
            "runtime": identity.runtime,
            "clocks_profile": identity.clocks_profile,
            "core_mask": identity.core_mask,
        }
        return {**document, **narrowed}


def _row(candidate: Candidate) -> ReportRow:
    match candidate.provenance:
        case {**told} if isinstance(estimates := told.get(ESTIMATES), Mapping):
            known = {str(name): float(str(us)) for name, us in estimates.items()}
            return ReportRow(candidate=candidate, estimates_us=known, missing=str(told.get(MISSING, "")))
        case _:
            return ReportRow(candidate=candidate, estimates_us={}, missing="it was not sampled")
