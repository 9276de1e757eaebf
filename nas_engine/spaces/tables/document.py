"""A table of results as one self-contained file: JSON, or CSV. Read from bytes, so that nothing names a path.

JSON::

    {"title": "my results", "num_classes": 10, "input_shape": [3, 32, 32],
     "genes": [{"name": "layer1", "options": ["skip", "conv3", "conv5"], "group": "stage1"}, ...],
     "rows": [{"genotype": [0, 2, 1], "top1": [0.912, 0.915], "latency_us": 830.5, "macs": 7713280}, ...]}

Only ``rows`` is needed. A metric is a number, or a list with one number per run. CSV has the columns ``gene1``,
``gene2``, ... in genotype order and one per metric; blank last lines are left out. Choices are counted from 0, rows in
messages from 1.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.errors import InvalidSpaceError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metrics import declarations
from nas_engine.domain.search_space import Gene, GeneKind
from nas_engine.spaces.tables.checks import MAX_CHOICES, MAX_GENES, MAX_ROWS
from nas_engine.spaces.tables.space import TableColumn, TableSpace

MAX_BYTES = 8 << 20
_LABELS = {metric.name: metric for metric in (one.metric for one in declarations())}
_KEYS = ("title", "num_classes", "input_shape", "genes", "rows")


def parse_table(content: bytes, name: str) -> TableSpace:
    """The table in a file's bytes; its sha256 identifies the space.

    Args:
        content: JSON where it starts with ``{``, else CSV; UTF-8.
        name: for messages, and for people where the file has no title.

    Raises:
        InvalidSpaceError: too large, malformed, or a value that cannot be; the row or line is named.
    """
    if len(content) > MAX_BYTES:
        raise InvalidSpaceError(f"table {name!r} has {len(content):,} bytes: {MAX_BYTES:,} are allowed")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidSpaceError(f"table {name!r} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    sha256 = hashlib.sha256(content).hexdigest()
    return _from_json(text, name, sha256) if text.lstrip().startswith("{") else _from_csv(text, name, sha256)


def table_document(table: TableSpace) -> dict[str, JsonValue]:
    """A table as its JSON document, so that a table of any origin can be uploaded."""
    genes: list[JsonValue] = [
        {"name": gene.name, "options": list(gene.options), "group": gene.group} for gene in table.genes
    ]
    rows: list[JsonValue] = []
    for genotype in table.rows:
        row: dict[str, JsonValue] = {"genotype": list(genotype)}
        for metric, runs in table.runs(genotype).items():
            row[metric.name] = runs[0] if len(runs) == 1 else list(runs)
        rows.append(row)
    shape = list(table.input_shapes[0])
    return {
        "title": table.name,
        "num_classes": table.num_classes,
        "input_shape": shape,
        "genes": genes,
        "rows": rows,
    }


def _from_json(text: str, name: str, sha256: str) -> TableSpace:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidSpaceError(f"table {name!r} is not valid JSON: {str(error)[:200]}") from error
    unknown = sorted(set(document) - set(_KEYS))
    if unknown:
        raise InvalidSpaceError(
            f"table {name!r} has unknown members {', '.join(unknown)}: known are {', '.join(_KEYS)}"
        )
    rows = document.get("rows")
    if not isinstance(rows, list) or not rows or len(rows) > MAX_ROWS:
        raise InvalidSpaceError(f"table {name!r} needs rows: a list of 1 to {MAX_ROWS:,} objects")
    if not isinstance(rows[0], dict) or "genotype" not in rows[0]:
        raise InvalidSpaceError(f"table {name!r}, row 1: an object with genotype and metrics is needed")
    labels = [label for label in rows[0] if label != "genotype"]
    genotypes = [_genotype(row, labels, name, number) for number, row in enumerate(rows, start=1)]
    widths = {len(genotype) for genotype in genotypes}
    if len(widths) != 1:
        number = next(i for i, genotype in enumerate(genotypes, start=1) if len(genotype) != len(genotypes[0]))
        raise InvalidSpaceError(
            f"table {name!r}, row {number}: {len(genotypes[number - 1])} genes, row 1 has {len(genotypes[0])}"
        )
    return TableSpace(
        _title(document.get("title", name), name),
        np.asarray(genotypes, dtype=np.int64),
        [TableColumn(_LABELS[label], _values(rows, label, name)) for label in labels],
        genes=None if document.get("genes") is None else _genes(document["genes"], name),
        num_classes=_count(document.get("num_classes", 10), "num_classes", name),
        input_shape=_shape(document.get("input_shape", [3, 32, 32]), name),
        sha256=sha256,
    )


def _genotype(row: JsonValue, labels: Sequence[str], name: str, number: int) -> list[int]:
    if not isinstance(row, dict) or set(row) != {"genotype", *labels}:
        members = ", ".join(row) if isinstance(row, dict) else str(row)[:80]
        raise InvalidSpaceError(
            f"table {name!r}, row {number}: members are {members}; row 1 has genotype, {', '.join(labels)}"
        )
    unknown = [label for label in labels if label not in _LABELS]
    if unknown:
        raise InvalidSpaceError(
            f"table {name!r}, row {number}: unknown metric {unknown[0]!r}; known are {', '.join(_LABELS)}"
        )
    genes = row["genotype"]
    if not isinstance(genes, list) or not 0 < len(genes) <= MAX_GENES or not all(type(gene) is int for gene in genes):
        raise InvalidSpaceError(
            f"table {name!r}, row {number}: genotype is {str(genes)[:80]}, not a list of 1 to {MAX_GENES} integers"
        )
    if not all(0 <= gene < MAX_CHOICES for gene in cast("list[int]", genes)):
        raise InvalidSpaceError(f"table {name!r}, row {number}: choices of genotype {genes} are 0 to {MAX_CHOICES - 1}")
    return cast("list[int]", genes)


def _values(rows: Sequence[Mapping[str, JsonValue]], label: str, name: str) -> NDArray[np.float64]:
    first = rows[0][label]
    num_runs = len(first) if isinstance(first, list) else 0
    for number, row in enumerate(rows, start=1):
        value = row[label]
        runs = value if isinstance(value, list) else [value]
        if not runs or not all(type(run) in (int, float) for run in runs):
            raise InvalidSpaceError(
                f"table {name!r}, row {number}: {label} is {str(value)[:80]}: give a number, or a list of numbers"
            )
        if (len(value) if isinstance(value, list) else 0) != num_runs:
            raise InvalidSpaceError(
                f"table {name!r}, row {number}: {label} has another number of runs than in row 1: give the same number"
            )
    try:
        return np.asarray([row[label] for row in rows], dtype=np.float64)
    except OverflowError as error:
        raise InvalidSpaceError(f"table {name!r}: a value of {label} is too large") from error


def _genes(document: JsonValue, name: str) -> list[Gene]:
    if not isinstance(document, list) or not 0 < len(document) <= MAX_GENES:
        raise InvalidSpaceError(f"table {name!r}: genes is not a list of 1 to {MAX_GENES} objects")
    return [_gene(gene, name, place) for place, gene in enumerate(document)]


def _gene(document: JsonValue, name: str, place: int) -> Gene:
    match document:
        case {"name": str(gene), "options": [*options], **rest} if gene and set(rest) <= {"group", "kind"}:
            group, kind = rest.get("group", "stage0"), rest.get("kind", "leaf")
            texts = [option for option in options if isinstance(option, str)]
            sound = len(texts) == len(options) == len(set(texts)) and 0 < len(options) <= MAX_CHOICES
            if sound and isinstance(group, str) and kind in ("leaf", "structural"):
                return Gene(name=gene[:100], options=tuple(texts), group=group[:100], kind=GeneKind(kind))
        case _:
            pass
    raise InvalidSpaceError(
        f"table {name!r}, gene {place}: {str(document)[:120]} is not an object with name, options (distinct texts) "
        "and, if wanted, group and kind (leaf or structural)"
    )


def _title(value: JsonValue, name: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable():
        raise InvalidSpaceError(f"table {name!r}: title is {str(value)[:80]!r}, not a text of 1 to 200 characters")
    return value


def _count(value: JsonValue, what: str, name: str) -> int:
    if type(value) is not int or not 0 < value <= 1_000_000:
        raise InvalidSpaceError(f"table {name!r}: {what} is {str(value)[:80]}, not a whole number above 0")
    return value


def _shape(value: JsonValue, name: str) -> tuple[int, int, int]:
    if not isinstance(value, list) or len(value) != 3:
        raise InvalidSpaceError(f"table {name!r}: input_shape is {str(value)[:80]}, not [channels, height, width]")
    channels, height, width = (_count(side, "input_shape", name) for side in value)
    return channels, height, width


def _from_csv(text: str, name: str, sha256: str) -> TableSpace:
    try:
        lines = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise InvalidSpaceError(f"table {name!r} cannot be read as CSV: {error}") from error
    while lines and not any(cell.strip() for cell in lines[-1]):
        lines.pop()  # blank last lines, which editors and spreadsheets leave
    if len(lines) < 2:
        raise InvalidSpaceError(f"table {name!r} needs a header line and at least one row")
    header = [cell.strip() for cell in lines[0]]
    if len(header) == 1 and (found := next((one for one in ";\t|" if one in header[0]), None)) is not None:
        shown = "tabs" if found == "\t" else repr(found)
        raise InvalidSpaceError(f"table {name!r} separates its columns by {shown}: save it with commas")
    unknown = [cell for cell in header if not cell.startswith("gene") and cell not in _LABELS]
    if unknown or len(set(header)) != len(header):
        raise InvalidSpaceError(
            f"table {name!r}: columns must be gene1, gene2, ... and {', '.join(_LABELS)}, each once; "
            f"found {', '.join(header)[:200]}; rename them, or say what they are (hilnas spaces register --column "
            "acc=top1; --column id= leaves one out)"
        )
    cells = np.asarray([_numbers(name, header, number, line) for number, line in enumerate(lines[1:], start=1)])
    genes = [i for i, cell in enumerate(header) if cell.startswith("gene")]
    genotypes = cells[:, genes]
    whole = np.isfinite(genotypes) & (genotypes == np.round(genotypes)) & (np.abs(genotypes) < MAX_CHOICES)
    if not whole.all():
        number = int(np.argwhere(~whole)[0, 0]) + 1
        raise InvalidSpaceError(
            f"table {name!r}, {_csv_row(number)}: gene columns must hold whole numbers below {MAX_CHOICES}"
        )
    columns = [TableColumn(_LABELS[cell], cells[:, i]) for i, cell in enumerate(header) if cell in _LABELS]
    return TableSpace(name, genotypes.astype(np.int64), columns, sha256=sha256)


def _numbers(name: str, header: list[str], number: int, line: list[str]) -> list[float]:
    if len(line) != len(header):
        raise InvalidSpaceError(f"table {name!r}, {_csv_row(number)}: {len(line)} cells, the header has {len(header)}")
    values = []
    for column, cell in zip(header, line, strict=True):
        try:
            values.append(float(cell))
        except ValueError as error:
            raise InvalidSpaceError(
                f"table {name!r}, {_csv_row(number)}, column {column}: {cell[:80]!r} is not a number"
            ) from error
    return values


def _csv_row(number: int) -> str:
    return f"row {number} (line {number + 1})"
