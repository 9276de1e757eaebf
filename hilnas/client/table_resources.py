"""The SDK's calls for latency tables and their reports."""

from __future__ import annotations

from hilnas.client.core.calls import M, call, listing, stream
from hilnas.client.core.paths import path_of
from hilnas.client.core.steps import Call, Items
from hilnas.client.resources import Document, Group, read, spec_document
from server.latency_tables.schemas import CostReportDetail, CostReportResource, LatencyTableDetail, LatencyTableResource
from server.latency_tables.spec import CostReportSpec, LatencyTableSpec


class LatencyTableGroup(Group[M]):
    """Operators of a space measured one by one, and reports of how well they estimate whole networks."""

    @call
    def create(
        self, spec: LatencyTableSpec | Document, *, idempotency_key: str | None = None
    ) -> Call[LatencyTableDetail]:
        """Have every operator of a space measured."""
        path = path_of("latency-tables")
        answer = yield from self._http.post(path, spec_document(spec), idempotency_key=idempotency_key)
        return read(LatencyTableDetail, answer)

    @call
    def get(self, table_id: str) -> Call[LatencyTableDetail]:
        """One table with its operators."""
        return read(LatencyTableDetail, (yield from self._http.get(path_of("latency-tables", table_id))))

    @call
    def pause(self, table_id: str) -> Call[LatencyTableDetail]:
        """Give out no more of its measuring jobs; what a board holds goes on."""
        return self._steer(table_id, "pause")

    @call
    def resume(self, table_id: str) -> Call[LatencyTableDetail]:
        """Go on where a pause stopped."""
        return self._steer(table_id, "resume")

    @call
    def cancel(self, table_id: str) -> Call[LatencyTableDetail]:
        """Measure no more of its operators; what was measured stays."""
        return self._steer(table_id, "cancel")

    @call
    def pause_report(self, table_id: str, report_id: str) -> Call[CostReportDetail]:
        """Give out no more of a report's measuring jobs; what a board holds goes on."""
        return self._steer_report(table_id, report_id, "pause")

    @call
    def resume_report(self, table_id: str, report_id: str) -> Call[CostReportDetail]:
        """Go on where a pause stopped."""
        return self._steer_report(table_id, report_id, "resume")

    @call
    def cancel_report(self, table_id: str, report_id: str) -> Call[CostReportDetail]:
        """Measure no more of a report's networks; what was measured stays."""
        return self._steer_report(table_id, report_id, "cancel")

    @listing
    def all(self, *, owner: str | None = None, limit: int | None = None) -> Items[LatencyTableResource]:
        """Iterate over latency tables, or those of an owner (by name or id), newest first."""
        return self.items(path_of("latency-tables"), LatencyTableResource, {"owner": owner}, limit)

    @stream
    def export(self, table_id: str, media_type: str) -> Items[bytes]:
        """Its operators, as ``text/csv`` or ``application/x-ndjson``."""
        return self._export(path_of("latency-tables", table_id), media_type)

    @call
    def create_report(
        self, table_id: str, spec: CostReportSpec | Document, *, idempotency_key: str | None = None
    ) -> Call[CostReportDetail]:
        """Have sampled networks measured, to compare with what the table says of them."""
        path = path_of("latency-tables", table_id, "reports")
        answer = yield from self._http.post(path, spec_document(spec), idempotency_key=idempotency_key)
        return read(CostReportDetail, answer)

    @call
    def report(self, table_id: str, report_id: str) -> Call[CostReportDetail]:
        """One report with its figures and networks."""
        path = path_of("latency-tables", table_id, "reports", report_id)
        return read(CostReportDetail, (yield from self._http.get(path)))

    @listing
    def reports(self, table_id: str, *, limit: int | None = None) -> Items[CostReportResource]:
        """Reports of a table, newest first."""
        return self.items(path_of("latency-tables", table_id, "reports"), CostReportResource, {}, limit)

    @stream
    def export_report(self, table_id: str, report_id: str, media_type: str) -> Items[bytes]:
        """Its networks, as ``text/csv`` or ``application/x-ndjson``."""
        return self._export(path_of("latency-tables", table_id, "reports", report_id), media_type)

    def _steer(self, table_id: str, verb: str) -> Call[LatencyTableDetail]:
        return read(LatencyTableDetail, (yield from self._http.post(path_of("latency-tables", table_id, verb=verb))))

    def _steer_report(self, table_id: str, report_id: str, verb: str) -> Call[CostReportDetail]:
        path = path_of("latency-tables", table_id, "reports", report_id, verb=verb)
        return read(CostReportDetail, (yield from self._http.post(path)))

    def _export(self, path: str, media_type: str) -> Items[bytes]:
        return self.chunks(path, {"Accept": media_type}, timeout_s=60.0)
