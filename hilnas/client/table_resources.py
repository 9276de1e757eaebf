"""The SDK's calls for latency tables and their reports."""

from __future__ import annotations

from collections.abc import Iterator

from hilnas.client.resources import API, Document, Group, read, spec_document
from server.latency_tables.schemas import CostReportDetail, CostReportResource, LatencyTableDetail, LatencyTableResource
from server.latency_tables.spec import CostReportSpec, LatencyTableSpec


class LatencyTableGroup(Group):
    """Operators of a space measured one by one, and reports of how well they estimate whole networks."""

    def create(self, spec: LatencyTableSpec | Document, *, idempotency_key: str | None = None) -> LatencyTableDetail:
        """Have every operator of a space measured."""
        path = f"{API}/latency-tables"
        answer = self._transport.post(path, spec_document(spec), idempotency_key=idempotency_key)
        return read(LatencyTableDetail, answer)

    def get(self, table_id: str) -> LatencyTableDetail:
        """One table with its operators."""
        return read(LatencyTableDetail, self._transport.get(f"{API}/latency-tables/{table_id}"))

    def pause(self, table_id: str) -> LatencyTableDetail:
        """Give out no more of its measuring jobs; what a board holds goes on."""
        return self._steer(table_id, "pause")

    def resume(self, table_id: str) -> LatencyTableDetail:
        """Go on where a pause stopped."""
        return self._steer(table_id, "resume")

    def cancel(self, table_id: str) -> LatencyTableDetail:
        """Measure no more of its operators; what was measured stays."""
        return self._steer(table_id, "cancel")

    def pause_report(self, table_id: str, report_id: str) -> CostReportDetail:
        """Give out no more of a report's measuring jobs; what a board holds goes on."""
        return self._steer_report(table_id, report_id, "pause")

    def resume_report(self, table_id: str, report_id: str) -> CostReportDetail:
        """Go on where a pause stopped."""
        return self._steer_report(table_id, report_id, "resume")

    def cancel_report(self, table_id: str, report_id: str) -> CostReportDetail:
        """Measure no more of a report's networks; what was measured stays."""
        return self._steer_report(table_id, report_id, "cancel")

    def all(self, *, owner: str | None = None, limit: int | None = None) -> Iterator[LatencyTableResource]:
        """Iterate over latency tables, or those of an owner (by name or id), newest first."""
        return self.items(f"{API}/latency-tables", LatencyTableResource, {"owner": owner}, limit)

    def export(self, table_id: str, media_type: str) -> Iterator[bytes]:
        """Its operators, as ``text/csv`` or ``application/x-ndjson``."""
        return self._export(f"{API}/latency-tables/{table_id}", media_type)

    def create_report(
        self, table_id: str, spec: CostReportSpec | Document, *, idempotency_key: str | None = None
    ) -> CostReportDetail:
        """Have sampled networks measured, to compare with what the table says of them."""
        path = f"{API}/latency-tables/{table_id}/reports"
        answer = self._transport.post(path, spec_document(spec), idempotency_key=idempotency_key)
        return read(CostReportDetail, answer)

    def report(self, table_id: str, report_id: str) -> CostReportDetail:
        """One report with its figures and networks."""
        path = f"{API}/latency-tables/{table_id}/reports/{report_id}"
        return read(CostReportDetail, self._transport.get(path))

    def reports(self, table_id: str, *, limit: int | None = None) -> Iterator[CostReportResource]:
        """Reports of a table, newest first."""
        return self.items(f"{API}/latency-tables/{table_id}/reports", CostReportResource, {}, limit)

    def export_report(self, table_id: str, report_id: str, media_type: str) -> Iterator[bytes]:
        """Its networks, as ``text/csv`` or ``application/x-ndjson``."""
        return self._export(f"{API}/latency-tables/{table_id}/reports/{report_id}", media_type)

    def _steer(self, table_id: str, verb: str) -> LatencyTableDetail:
        return read(LatencyTableDetail, self._transport.post(f"{API}/latency-tables/{table_id}:{verb}"))

    def _steer_report(self, table_id: str, report_id: str, verb: str) -> CostReportDetail:
        path = f"{API}/latency-tables/{table_id}/reports/{report_id}:{verb}"
        return read(CostReportDetail, self._transport.post(path))

    def _export(self, path: str, media_type: str) -> Iterator[bytes]:
        with self._transport.stream(path, {"Accept": media_type}, timeout_s=60.0) as response:
            yield from response.iter_bytes()
