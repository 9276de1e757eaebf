"""Tables of results as one file: JSON with repeated runs, CSV, and what is refused with its row."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest

from nas_engine.domain.errors import InvalidSpaceError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metrics import MACS, PARAMS, TOP1
from nas_engine.domain.objective import Constraint
from nas_engine.search.cheap_filter import TableFilter, filter_of
from nas_engine.spaces.tables import document as table_document
from nas_engine.spaces.tables.document import parse_table
from nas_engine.spaces.tables.document import table_document as document_of

ROWS: list[dict[str, Any]] = [
    {"genotype": [0, 0], "top1": [0.50, 0.52], "latency_us": 100.0, "macs": 1000},
    {"genotype": [0, 1], "top1": [0.60, 0.62], "latency_us": 150.0, "macs": 2000},
    {"genotype": [1, 0], "top1": [0.70, 0.72], "latency_us": 240.5, "macs": 3000},
]
GENES = [
    {"name": "stem", "options": ["narrow", "wide"], "group": "stage1", "kind": "structural"},
    {"name": "body", "options": ["skip", "conv3"], "group": "stage2"},
]


def as_bytes(document: JsonValue | dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def with_row(place: int, **changes: Any) -> bytes:
    rows = [dict(row) for row in ROWS]
    rows[place] = {name: value for name, value in {**rows[place], **changes}.items() if value is not None}
    return as_bytes({"rows": rows})


def test_a_document_gives_genes_runs_and_an_identity() -> None:
    content = as_bytes({"title": "mine", "genes": GENES, "num_classes": 7, "input_shape": [1, 28, 28], "rows": ROWS})
    table = parse_table(content, "upload")
    assert (table.name, table.num_classes, table.input_shapes) == ("mine", 7, ((1, 28, 28),))
    assert [(gene.name, gene.group, gene.kind.value) for gene in table.genes] == [
        ("stem", "stage1", "structural"),
        ("body", "stage2", "leaf"),
    ]
    assert table.parameters == {"sha256": hashlib.sha256(content).hexdigest()}
    found = table.lookup((1, 0))[TOP1]
    assert found.value == pytest.approx(0.71)
    assert found.standard_error == pytest.approx(0.01)
    assert table.extremes(MACS) == (1000.0, 3000.0)
    assert table.extremes(PARAMS) is None


def test_a_table_of_any_origin_can_be_written_and_read_again() -> None:
    table = parse_table(as_bytes({"genes": GENES, "rows": ROWS}), "upload")
    again = parse_table(as_bytes(document_of(table)), "again")
    assert again.rows == table.rows
    assert [again.runs(row) for row in again.rows] == [table.runs(row) for row in table.rows]
    assert [gene.options for gene in again.genes] == [gene.options for gene in table.genes]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (with_row(2, top1=[0.7]), "row 3: top1 has another number of runs than in row 1"),
        (with_row(1, top1=None), "row 2: members are genotype, latency_us, macs"),
        (with_row(1, params=4), "row 2: members are .*params"),
        (with_row(1, latency_us="fast"), "row 2: latency_us is fast: give a number"),
        (with_row(1, latency_us=True), "row 2: latency_us is True"),
        (with_row(2, latency_us=0), "row 3: latency_us is 0, not above 0"),
        (with_row(2, top1=[71, 72]), "row 3: top1 is 71, not a fraction from 0 to 1"),
        (with_row(1, macs=1.5), "row 2: macs is 1.5, not a whole number"),
        (with_row(1, macs=float("nan")), "row 2: macs is not finite"),
        (with_row(1, macs=10**400), "macs is too large"),
        (with_row(2, genotype=[0, 0]), r"row 3: genotype \[0, 0\] is that of row 1 already"),
        (with_row(1, genotype=[0, 1, 0]), "row 2: 3 genes, row 1 has 2"),
        (with_row(1, genotype=[0, 0.5]), "row 2: genotype is .* not a list"),
        (with_row(1, genotype=[0, -1]), "row 2: choices of genotype"),
        (with_row(1, genotype=[0, 10**30]), "row 2: choices of genotype"),
        (as_bytes({"rows": [{"genotype": [0], "speed": 1}]}), "row 1: unknown metric 'speed'"),
        (as_bytes({"rows": []}), "needs rows"),
        (as_bytes({"rows": [3]}), "row 1: an object"),
        (as_bytes({"rows": ROWS, "path": "/etc/passwd"}), "unknown members path"),
        (as_bytes({"rows": ROWS, "genes": GENES[:1]}), "describes 1 genes, its genotypes have 2"),
        (as_bytes({"rows": ROWS, "genes": [GENES[0], GENES[0]]}), "names a gene twice"),
        (as_bytes({"rows": ROWS, "genes": [GENES[0], {"name": "b", "options": ["one"]}]}), "uses choice 1 of gene 'b'"),
        (as_bytes({"rows": ROWS, "genes": [GENES[0], {"name": "b", "options": ["a", "a"]}]}), "gene 1"),
        (as_bytes({"rows": ROWS, "num_classes": 0}), "num_classes is 0"),
        (as_bytes({"rows": ROWS, "input_shape": [3, 32]}), "input_shape"),
        (as_bytes({"rows": ROWS, "title": "a\nb"}), "title"),
        (b'{"rows": [', "not valid JSON"),
        (b'{"rows": ' + b"[" * 100_000, "not valid JSON"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"gene1,macs\n0,1\n0.5,2", r"row 2 \(line 3\): gene columns must hold whole numbers"),
        (b"gene1,macs\n0,1\n0,2", r"row 2: genotype \[0\] is that of row 1"),
        (b"gene1;top1\n0;0.5", "separates its columns by ';': save it with commas"),
        (b"gene1\ttop1\n0\t0.5", "separates its columns by tabs"),
        (b"gene1,acc\n0,0.5", "found gene1, acc; rename them, or say what they are .*--column acc=top1"),
        (b"macs\n1", "genotypes are"),
        (b"", "needs a header line"),
    ],
)
def test_a_malformed_table_is_refused_with_one_error_that_names_the_place(content: bytes, message: str) -> None:
    with pytest.raises(InvalidSpaceError, match=message):
        parse_table(content, "upload")


def test_a_table_that_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(InvalidSpaceError, match="bytes: 8,388,608 are allowed"):
        parse_table(b" " * (table_document.MAX_BYTES + 1), "upload")


def test_a_filter_keeps_a_search_among_the_rows_and_within_the_columns_bounds() -> None:
    table = parse_table(as_bytes({"rows": ROWS}), "upload")
    check = filter_of(table, [Constraint(MACS, maximum=2500.0)])
    assert check((0, 1)).feasible
    assert check((0, 1)).values == {MACS: 2000.0}
    assert set(check((1, 0)).violations) == {"macs"}
    assert check((1, 1)).violations == {"table_row": 1.0}
    assert np.isclose(TableFilter(table, [])((1, 0)).total_violation, 0.0)


def test_blank_last_lines_are_left_out_and_one_in_between_is_named() -> None:
    table = parse_table(b"gene1,macs\n0,1\n1,2\n\n , \n,\n", "upload")
    assert table.rows == ((0,), (1,))
    with pytest.raises(InvalidSpaceError, match=r"row 2 \(line 3\): 0 cells, the header has 2"):
        parse_table(b"gene1,macs\n0,1\n\n1,2\n", "upload")


def test_the_row_nearest_to_bounds_that_none_meets_is_found() -> None:
    table = parse_table(as_bytes({"rows": ROWS}), "upload")
    accurate, small = Constraint(TOP1, minimum=0.7), Constraint(MACS, maximum=2500.0)
    assert table.nearest_miss([accurate]) is None
    assert table.nearest_miss([small]) is None
    assert table.nearest_miss([Constraint(PARAMS, maximum=1.0)]) is None, "the table does not hold it"
    assert table.nearest_miss([accurate, small]) == ((0, 1), {TOP1: pytest.approx(0.61), MACS: 2000.0})
    assert table.nearest_miss([Constraint(TOP1, minimum=0.9)]) == ((1, 0), {TOP1: pytest.approx(0.71)})
