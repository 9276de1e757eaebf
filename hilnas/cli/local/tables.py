"""Tables of results on this machine: files that are looked at, or uploaded to become search spaces of a server."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from nas_engine.domain.architecture import Architecture
from nas_engine.domain.errors import InvalidSpaceError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metrics import is_cheap
from nas_engine.spaces.tables.document import MAX_BYTES, parse_table, table_document
from nas_engine.spaces.tables.files import read_npz
from nas_engine.spaces.tables.space import TableSpace

SUFFIXES = (".json", ".csv", ".npz")
NOTE = "a row of a table of results: it cannot be drawn, exported or measured"
NO_ROW = "the table has no row for this genotype: a search never asks it"


def table_content(path: Path, columns: Sequence[str] = (), genes_from: int = 0) -> bytes:
    """The bytes that stand for a table: of the file itself, or of the JSON document that an ``.npz`` becomes.

    Args:
        path: of the file.
        columns: of a CSV file, ``NAME=COLUMN``: what the file calls NAME is read as COLUMN, or left out where that is
            empty.
        genes_from: what the choices of the file are counted from.

    Raises:
        InvalidSpaceError: the file cannot be read, is too large, or lacks a column that is named.
    """
    content = _file_content(path)
    if columns:
        content = _renamed(path, content, columns)
    if genes_from:
        content = _counted_from_0(parse_table(content, path.stem), genes_from)
    return content


def _file_content(path: Path) -> bytes:
    if path.suffix.lower() == ".npz":
        return json.dumps(table_document(read_npz(path)), separators=(",", ":")).encode()
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidSpaceError(f"table {path} has more than {MAX_BYTES:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise InvalidSpaceError(f"table {path} cannot be read: {error.strerror}") from error


def open_table(path: Path) -> TableSpace:
    """The table in a file, with the identity that a server will give it. Raises InvalidSpaceError."""
    return parse_table(table_content(path), path.stem)


def _renamed(path: Path, content: bytes, columns: Sequence[str]) -> bytes:
    """A CSV file with other names in its header, and without the columns that are to be left out."""
    if path.suffix.lower() != ".csv":
        raise InvalidSpaceError(f"--column renames columns of .csv files, {path} is none: rename its members")
    names = {name: column for name, _, column in (one.partition("=") for one in columns)}
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    header = [cell.strip() for cell in rows[0]] if rows else []
    for name, column in names.items():
        if name not in header:
            turned = f" (turned round? --column {column}={name})" if column in header else ""
            raise InvalidSpaceError(
                f"table {path} has no column {name!r}{turned}: its columns are {', '.join(header)[:500]}"
            )
    kept = [place for place, cell in enumerate(header) if names.get(cell, cell)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([names.get(header[place], header[place]) for place in kept])
    for row in rows[1:]:
        # A row of another length is left as it is, for the message that names it.
        writer.writerow([row[place] for place in kept] if len(row) == len(header) else row)
    return text.getvalue().encode()


def _counted_from_0(table: TableSpace, first: int) -> bytes:
    """A table as a document whose choices count from 0. Options that were numbered are numbered anew."""
    rows = [dict(row) for row in cast("list[dict[str, JsonValue]]", table_document(table)["rows"])]
    for number, (row, genotype) in enumerate(zip(rows, table.rows, strict=True), start=1):
        if min(genotype) < first:
            raise InvalidSpaceError(
                f"table {table.name!r}, row {number}: genotype {list(genotype)} has a choice below {first}, which "
                "--genes-from says is the first"
            )
        row["genotype"] = [gene - first for gene in genotype]
    document = {"title": table.name, "num_classes": table.num_classes, "input_shape": list(table.input_shapes[0])}
    return json.dumps({**document, "rows": rows}, separators=(",", ":")).encode()


def row_document(table: TableSpace, architecture: Architecture) -> dict[str, JsonValue]:
    """What a table holds of one architecture, as plain JSON."""
    genotype = table.genotype_of(architecture)
    document: dict[str, JsonValue] = {
        "space": table.space_id,
        "table": table.name,
        "arch_id": architecture.arch_id,
        "genotype": None if genotype is None else list(genotype),
        "note": NOTE,
    }
    if genotype is None or not table.has_row(genotype):
        return {**document, "note": NO_ROW}
    for metric, found in table.lookup(genotype).items():
        whole = is_cheap(metric) and found.value.is_integer()
        document[metric.name] = int(found.value) if whole else found.value
        if found.standard_error > 0:
            document[f"{metric.name}_standard_error"] = found.standard_error
    return document
