"""Tables of costs that are brought to a DenseNAS search: the papers' published files, or rows of one's own.

A brought table is one JSON document: which space it is of, its unit, where it comes from, and the costs in the
arrangement of the published files (`nas_engine.cost.routing_costs`). It is checked against the space when it is made
and when it is read. The published files are lists written as text; nothing in them is executed.
"""

from __future__ import annotations

import ast
import codecs
import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from nas_engine.cost.latency_table import arranged_costs, operator_graphs
from nas_engine.cost.routing_costs import RoutingCosts, read_published_layout
from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.json_value import JsonValue, canonical_json, parse_json
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.views.latency_key import latency_key
from nas_engine.spaces.densenas.space import DenseSpace

MEDIA_TYPE = "application/vnd.hilnas.cost-table+json"
UNITS: Mapping[str, float] = {"ms": 1.0, "us": 1e-3}
"""Units of brought tables, and how many milliseconds one is."""

MAX_BYTES = 16 * 2**20
_KIND, _SCHEMA = "cost table", 1
_LEVELS = 5  # of the published lists: table, blocks, heads or stacks, edge or layer, operators


class TableLayout(StrEnum):
    """In which form costs were brought."""

    PUBLISHED = "published"
    """Nested lists, as the authors of DenseNAS publish theirs."""

    CSV = "csv"
    """A row for each operator, by its label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BroughtTable:
    """What a brought table says of itself.

    Attributes:
        space_id: space that it is of.
        unit: of its costs, a key of `UNITS`.
        source: where it comes from, for people.
        layout: form it was brought in; None where it was brought before that was written down.
        costs: in the arrangement of the published files.
    """

    space_id: str
    unit: str
    source: str
    layout: TableLayout | None
    costs: JsonValue

    @property
    def num_entries(self) -> int:
        """Number of costs: one for each operator at each place of the routing."""
        return sum(1 for _ in _numbers(self.costs))


def cost_table_document(
    space: DenseSpace, costs: RoutingCosts, source: str, layout: TableLayout | None = None
) -> bytes:
    """Write a table as it is uploaded; equal tables, brought in the same form, give equal bytes."""
    form = {} if layout is None else {"layout": layout.value}
    return canonical_json(
        {
            "kind": _KIND,
            "schema": _SCHEMA,
            "space": space.space_id,
            "unit": costs.unit,
            "source": source,
            "costs": costs.published_layout(),
            **form,
        }
    ).encode()


def read_brought_table(content: bytes) -> BroughtTable:
    """Read what a table says of itself, whichever space it is of.

    Raises:
        InvalidMeasurementError: it is none, or holds what is no cost.
    """
    try:
        document = cast(Mapping[str, JsonValue], parse_json(content.decode("utf-8")))
        found = (document["kind"], document["schema"])
        unit, own = str(document["unit"]), str(document["space"])
        source, costs = str(document.get("source", "")), document["costs"]
        layout = None if document.get("layout") is None else TableLayout(str(document["layout"]))
    except (UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidMeasurementError(f"this is no table that `hilnas tables import` made: {error}") from error
    if found != (_KIND, _SCHEMA) or unit not in UNITS:
        raise InvalidMeasurementError(
            f"a cost table of schema {_SCHEMA} in {' or '.join(UNITS)} is needed, not {found}"
        )
    table = BroughtTable(space_id=own, unit=unit, source=source, layout=layout, costs=costs)
    if not isinstance(costs, list) or table.num_entries == 0:
        raise InvalidMeasurementError("the cost table holds no costs: it needs nested lists of numbers")
    return table


def read_cost_table(content: bytes, space: DenseSpace) -> RoutingCosts:
    """Read a brought table as costs of a space, in milliseconds.

    Raises:
        InvalidMeasurementError: it is none, or of another space, or does not fit the routing of this one.
    """
    table = read_brought_table(content)
    if table.space_id != space.space_id:
        raise InvalidMeasurementError(
            f"the cost table is of space {table.space_id!r}, the search is in {space.space_id!r}"
        )
    return read_published_layout(table.costs, space.routing, table.unit).scaled(UNITS[table.unit], "ms")


def layout_of(content: bytes) -> TableLayout:
    """Form of a file that `brought_costs` reads: nested lists, or rows."""
    return TableLayout.PUBLISHED if content.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"[" else TableLayout.CSV


def brought_costs(content: bytes, space: DenseSpace, unit: str) -> RoutingCosts:
    """Read costs in the published layout, or from a CSV file with the columns `label` and `latency_us` or `latency_ms`.

    Labels are those that `hilnas tables export` writes. One row serves every place that has the same operator with the
    same shapes; a skip costs 0 where no row says more.

    Args:
        content: of the file.
        space: it is of.
        unit: of the published layout, which does not say it; a CSV file's column does.

    Raises:
        InvalidMeasurementError: the file is neither, or lacks an operator.
    """
    if len(content) > MAX_BYTES:
        raise InvalidMeasurementError(f"the file has more than {MAX_BYTES:,} bytes: no table of a space is as large")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidMeasurementError(f"the file is no text: {error}") from error
    if layout_of(content) is TableLayout.PUBLISHED:
        return read_published_layout(_lists(text), space.routing, unit)
    return _from_rows(text, space)


def _lists(text: str) -> JsonValue:
    try:
        document: JsonValue = json.loads(text)
    except ValueError:
        try:
            document = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise InvalidMeasurementError(f"the file holds no nested lists of numbers: {error}") from error
    return document


def _from_rows(text: str, space: DenseSpace) -> RoutingCosts:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    columns = [name.strip() for name in rows.fieldnames or ()]
    rows.fieldnames = columns
    unit = next((unit for unit in UNITS if f"latency_{unit}" in columns), None)
    if unit is None or "label" not in columns:
        raise InvalidMeasurementError(
            f"the file has columns {', '.join(columns)[:200] or 'none'}: it needs `label`, and `latency_us` or "
            "`latency_ms`"
        )
    given: dict[str, float] = {}
    for number, row in enumerate(rows, start=2):
        label, value = (row["label"] or "").strip(), row[f"latency_{unit}"] or ""
        try:
            given[label] = float(value)
        except ValueError as error:
            raise InvalidMeasurementError(f"line {number}, {label}: {value!r} is no number") from error
    return _costs_of(given, space, unit)


def _costs_of(given: Mapping[str, float], space: DenseSpace, unit: str) -> RoutingCosts:
    labels = {one.key: one.label for one in operator_graphs(space, batch=1, dtype=Dtype.FP32)}
    values: dict[tuple[str, str], float] = {}
    missing: list[str] = []
    for site in space.operator_sites():
        label = f"{site.place}.{site.operator}"
        if label not in given and site.graph is not None:
            label = labels[latency_key(site.graph, batch=1, dtype=Dtype.FP32)]
        if label in given:
            values[site.place, site.operator] = given[label]
        elif site.graph is None:
            values[site.place, site.operator] = 0.0
        elif label not in missing:
            missing.append(label)
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise InvalidMeasurementError(f"no row for {', '.join(missing[:5])}{more}: `hilnas tables export` lists labels")
    costs = arranged_costs(space, unit, values)
    return read_published_layout(costs.published_layout(), space.routing, unit)  # finite, and not negative


def _numbers(value: JsonValue, level: int = 0) -> Iterator[float]:
    """Every cost of nested lists. Raises InvalidMeasurementError for what is none, or nested deeper."""
    if isinstance(value, list) and level < _LEVELS:
        for one in value:
            yield from _numbers(one, level + 1)
    elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise InvalidMeasurementError(f"the cost table holds {str(value)[:60]!r}: costs are finite and not negative")
    else:
        yield float(value)
