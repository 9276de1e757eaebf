"""The SDK's calls for latency tables and their reports."""

from __future__ import annotations

from typing import Self

from hilnas.client.core.calls import M, call, listing, stream
from hilnas.client.core.group import Document, Group, spec_document
from hilnas.client.core.paths import path_of
from hilnas.client.core.steps import Call, Items
from hilnas.client.handles import Handle
from server.candidates.states import SearchState
from server.latency_tables.imported.schemas import CostTableDetail, CostTableResource
from server.latency_tables.schemas import CostReportDetail, CostReportResource, LatencyTableDetail, LatencyTableResource
from server.latency_tables.spec import CostReportSpec, LatencyTableSpec


class BatchHandle(Handle[M]):
    """What is measured in a batch, which can be held back."""

    SUCCESS = SearchState.COMPLETED

    @call
    def pause(self) -> Call[Self]:
        """Give out no more of its measuring jobs; what a board holds goes on."""
        return self._act("pause")

    @call
    def resume(self) -> Call[Self]:
        """Go on where a pause stopped."""
        return self._act("resume")


class LatencyTable(BatchHandle[M], LatencyTableDetail):
    """A latency table as it was when it was read; its methods ask the server anew."""

    COLLECTION, NOUN = "latency-tables", "latency table"


class CostReport(BatchHandle[M], CostReportDetail):
    """A report of a latency table as it was when it was read; its methods ask the server anew."""

    COLLECTION, NOUN = "latency-tables", "report"

    @property
    def _place(self) -> tuple[str, ...]:
        return (self.COLLECTION, self.table_id, "reports", self.id)


class LatencyTableGroup(Group[M]):
    """Operators of a space measured one by one, and reports of how well they estimate whole networks."""

    @call
    def create(self, spec: LatencyTableSpec | Document, *, idempotency_key: str | None = None) -> Call[LatencyTable[M]]:
        """Have every operator of a space measured."""
        path = path_of("latency-tables")
        answer = yield from self._http.post(path, spec_document(spec), idempotency_key=idempotency_key)
        return self.read(LatencyTable, answer)

    @call
    def get(self, table_id: str) -> Call[LatencyTable[M]]:
        """One table with its operators."""
        return self.read(LatencyTable, (yield from self._http.get(path_of("latency-tables", table_id))))

    @call
    def pause(self, table_id: str) -> Call[LatencyTable[M]]:
        """Give out no more of its measuring jobs; what a board holds goes on."""
        return self._steer(table_id, "pause")

    @call
    def resume(self, table_id: str) -> Call[LatencyTable[M]]:
        """Go on where a pause stopped."""
        return self._steer(table_id, "resume")

    @call
    def cancel(self, table_id: str) -> Call[LatencyTable[M]]:
        """Measure no more of its operators; what was measured stays."""
        return self._steer(table_id, "cancel")

    @call
    def pause_report(self, table_id: str, report_id: str) -> Call[CostReport[M]]:
        """Give out no more of a report's measuring jobs; what a board holds goes on."""
        return self._steer_report(table_id, report_id, "pause")

    @call
    def resume_report(self, table_id: str, report_id: str) -> Call[CostReport[M]]:
        """Go on where a pause stopped."""
        return self._steer_report(table_id, report_id, "resume")

    @call
    def cancel_report(self, table_id: str, report_id: str) -> Call[CostReport[M]]:
        """Measure no more of a report's networks; what was measured stays."""
        return self._steer_report(table_id, report_id, "cancel")

    @listing
    def all(self, *, owner: str | None = None, limit: int | None = None) -> Items[LatencyTableResource]:
        """Iterate over latency tables, or those of an owner (by name or id), newest first."""
        return self.items(path_of("latency-tables"), LatencyTableResource, {"owner": owner}, limit)

    @listing
    def imported(self, *, owner: str | None = None, limit: int | None = None) -> Items[CostTableResource]:
        """Iterate over tables of costs that were imported, or those of an owner (by name or id), newest first."""
        return self.items(path_of("cost-tables"), CostTableResource, {"owner": owner}, limit)

    @call
    def get_imported(self, sha256: str) -> Call[CostTableDetail]:
        """One imported table with its costs, by its hash or the beginning of it."""
        return self.read(CostTableDetail, (yield from self._http.get(path_of("cost-tables", sha256))))

    @stream
    def export(self, table_id: str, media_type: str) -> Items[bytes]:
        """Its operators, as ``text/csv`` or ``application/x-ndjson``."""
        return self._export(path_of("latency-tables", table_id), media_type)

    @call
    def create_report(
        self, table_id: str, spec: CostReportSpec | Document, *, idempotency_key: str | None = None
    ) -> Call[CostReport[M]]:
        """Have sampled networks measured, to compare with what the table says of them."""
        path = path_of("latency-tables", table_id, "reports")
        answer = yield from self._http.post(path, spec_document(spec), idempotency_key=idempotency_key)
        return self.read(CostReport, answer)

    @call
    def report(self, table_id: str, report_id: str) -> Call[CostReport[M]]:
        """One report with its figures and networks."""
        path = path_of("latency-tables", table_id, "reports", report_id)
        return self.read(CostReport, (yield from self._http.get(path)))

    @listing
    def reports(self, table_id: str, *, limit: int | None = None) -> Items[CostReportResource]:
        """Reports of a table, newest first."""
        return self.items(path_of("latency-tables", table_id, "reports"), CostReportResource, {}, limit)

    @stream
    def export_report(self, table_id: str, report_id: str, media_type: str) -> Items[bytes]:
        """Its networks, as ``text/csv`` or ``application/x-ndjson``."""
        return self._export(path_of("latency-tables", table_id, "reports", report_id), media_type)

    def _steer(self, table_id: str, verb: str) -> Call[LatencyTable[M]]:
        return self.read(LatencyTable, (yield from self._http.post(path_of("latency-tables", table_id, verb=verb))))

    def _steer_report(self, table_id: str, report_id: str, verb: str) -> Call[CostReport[M]]:
        path = path_of("latency-tables", table_id, "reports", report_id, verb=verb)
        return self.read(CostReport, (yield from self._http.post(path)))

    def _export(self, path: str, media_type: str) -> Items[bytes]:
        return self.chunks(path, {"Accept": media_type}, timeout_s=60.0)
