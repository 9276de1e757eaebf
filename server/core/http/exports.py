"""Whole listings as CSV or NDJSON, streamed; no transaction stays open while a client reads slowly."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from starlette.responses import Response, StreamingResponse

from server.core.http.requests import CSV, NDJSON
from server.core.http.resources import Resource
from server.core.paging import Page, PageRequest

V = TypeVar("V")
Column = tuple[str, Callable[[V], object]]
EXPORT_PAGE = 500
EXPORTS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {NDJSON: {"schema": {"type": "string"}}, CSV: {"schema": {"type": "string"}}},
        "description": "One page as JSON; with Accept text/csv or application/x-ndjson all of it, streamed.",
    }
}
"""Goes into `responses` of listings that can be exported."""


def every(fetch: Callable[[PageRequest], Page[V]]) -> Iterator[V]:
    """Every item of a listing, page by page."""
    at: PageRequest | None = PageRequest(EXPORT_PAGE)
    while at is not None:
        page = fetch(at)
        yield from page.items
        at = None if page.next is None else PageRequest(EXPORT_PAGE, page.next)


def csv_response(columns: Sequence[Column[V]], values: Iterator[V]) -> Response:
    """A table with a header line; absent values are empty cells."""

    def lines() -> Iterator[str]:
        yield _csv_line([name for name, _ in columns])
        for value in values:
            yield _csv_line([cell(value) for _, cell in columns])

    return StreamingResponse(lines(), media_type=CSV)


def ndjson_response(resources: Iterator[Resource]) -> Response:
    """One JSON document per line, the same as in the listing."""
    return StreamingResponse((resource.model_dump_json() + "\n" for resource in resources), media_type=NDJSON)


def _csv_line(cells: Sequence[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(["" if cell is None else cell for cell in cells])
    return buffer.getvalue()
