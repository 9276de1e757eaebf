"""The commands of ``hilnas spaces`` that ask a server: registering and listing tables of results."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table

from hilnas.cli.local_tables import open_table, table_content
from hilnas.cli.options import connect, print_json
from hilnas.cli.terminal import make_console


def register_table(file: Path, space_id: str, *, as_json: bool, server: str | None, token: str | None) -> None:
    """Upload a table and make it a search space."""
    open_table(file)  # what is malformed is said before anything is sent
    with TemporaryDirectory() as folder, connect(server, token) as nas:
        path = Path(folder) / "table"
        path.write_bytes(table_content(file))
        stored = nas.artifacts.upload(path, "text/csv" if file.suffix.lower() == ".csv" else "application/json")
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
