"""Rows that every benchmark prints and, with ``--json FILE``, writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison.

    Attributes:
        row: what is compared.
        ours: our figure, in `unit`.
        peer: the other side's figure, in `unit`.
        ratio: peer over ours; for costs the advantage, > 1 where ours is lower.
        unit: e.g. ``ms``.
    """

    row: str
    ours: float
    peer: float
    ratio: float
    unit: str


def report(rows: Sequence[Row], json_file: Path | None) -> None:
    """Print the table and write the file where one is given."""
    width = max(len(row.row) for row in rows)
    print(f"{'':{width}}  {'ours':>12}  {'peer':>12}  {'ratio':>9}  unit")
    for row in rows:
        print(f"{row.row:{width}}  {row.ours:12.4g}  {row.peer:12.4g}  {row.ratio:9.4g}  {row.unit}")
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
