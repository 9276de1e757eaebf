"""Tables of results on this machine: files that are looked at, or uploaded to become search spaces of a server."""

from __future__ import annotations

import json
from pathlib import Path

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


def table_content(path: Path) -> bytes:
    """The bytes that stand for a table: of the file itself, or of the JSON document that an ``.npz`` becomes.

    Raises:
        InvalidSpaceError: the file cannot be read, or is too large.
    """
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
