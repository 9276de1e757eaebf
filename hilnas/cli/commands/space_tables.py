"""The commands of ``hilnas spaces`` that ask a server: registering and listing tables of results."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table

from hilnas.cli.local.tables import table_content
from hilnas.cli.options import connect, print_json
from hilnas.cli.terminal import make_console
from hilnas.cli.working import uploaded
from nas_engine.spaces.tables.document import parse_table


def register_table(
    file: Path,
    space_id: str,
    *,
    columns: Sequence[str],
    genes_from: int,
    as_json: bool,
    server: str | None,
    token: str | None,
) -> None:
    """Upload a table and make it a search space."""
    content = table_content(file, columns, genes_from)
    found = parse_table(content, file.stem)  # what is malformed is said before anything is sent
    if found.lacks_choice_0:
        sys.stderr.write(
            f"warning: no gene of {file.name} is ever 0: choices count from 0, and {found.missing_rows:,} of "
            f"{found.size:,} genotypes have no row; if yours count from 1, say --genes-from 1\n"
        )
    is_csv = content.lstrip()[:1] != b"{"
    with TemporaryDirectory() as folder, connect(server, token) as nas:
        path = Path(folder) / "table"
        path.write_bytes(content)
        stored = uploaded(nas, path, "text/csv" if is_csv else "application/json", file.name)
        space = nas.spaces.register_table(space_id, stored.sha256)
    if as_json:
        print_json(space)
        return
    columns = ", ".join(space.columns)
    make_console().print(f"[bold]{space.id}[/]  {space.num_rows:,} rows of {columns}", highlight=False)


def list_registered(*, as_json: bool, server: str | None, token: str | None) -> None:
    """The tables of a server."""
    with connect(server, token) as nas:
        found = [space for space in nas.spaces.all() if not space.has_graphs]
    if as_json:
        print_json(found)
        return
    table = Table("space", "title", "genes", "genotypes", "rows", "columns")
    for space in found:
        rows = "-" if space.num_rows is None else f"{space.num_rows:,}"
        table.add_row(space.id, space.title, str(space.num_genes), f"{space.size:,}", rows, ", ".join(space.columns))
    make_console().print(table)
