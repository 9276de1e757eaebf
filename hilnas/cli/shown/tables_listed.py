"""Tables that searches pay with: those that were measured here, and those that were imported."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from hilnas.cli.shown import listings
from hilnas.client.documents import Document, Documents
from hilnas.client.errors import NotFoundError, ProblemError

MEASURED, IMPORTED = "measured", "imported"
"""What `kind` is in the documents of this file."""


def newest_tables(nas: Documents, owner: str | None, limit: int) -> Sequence[Document]:
    """Measured and imported tables, newest first."""
    params = {"owner": owner}
    found = [{"kind": MEASURED, **one} for one in nas.items("latency-tables", params=params, limit=limit)]
    with suppress(NotFoundError):  # a server that has no such listing yet
        found += [_imported(one) for one in nas.items("cost-tables", params=params, limit=limit)]
    return sorted(found, key=lambda one: datetime.fromisoformat(one["created_at"]), reverse=True)[:limit]


def read_table(nas: Documents, reference: str) -> Document:
    """Read a latency table, or an imported one where nothing that is measured is called so; `kind` says which.

    Raises:
        NotFoundError: it is neither.
    """
    try:
        return {"kind": MEASURED, **nas.get("latency-tables", reference)}
    except NotFoundError as error:
        try:
            return _imported(nas.get("cost-tables", reference))
        except ProblemError:  # as it is no hash
            raise error from None


def _imported(found: Document) -> dict[str, Any]:
    """An imported table as listings have it, under its hash."""
    return {"kind": IMPORTED, "id": found["sha256"], **found}


def _state(found: Document) -> str:
    """How a table stands; an imported one is complete, or cannot be read."""
    if found["kind"] == MEASURED:
        return str(found["state"])
    return "cannot be read" if found["problem"] else "imported"


def _entries(found: Document) -> str:
    """Operators that have a cost, of all."""
    if found["kind"] == MEASURED:
        return f"{found['num_measured']}/{found['num_operators']}"
    return listings.member("num_entries")(found)


TABLES: tuple[listings.Column, ...] = (
    ("id", lambda one: one["id"] if one["kind"] == MEASURED else one["id"][:12]),
    ("name", lambda one: str(one.get("name") or one.get("source") or "-")),
    ("state", _state),
    ("layout", listings.member("layout")),
    ("space", listings.member("space_id")),
    ("batch", listings.member("batch")),
    ("dtype", listings.member("dtype")),
    ("entries", _entries),
    ("hardware key", lambda one: str(one.get("hardware_key") or "-")[:12]),
    ("created", listings.time("created_at")),
    ("owner", listings.owner),
)
IMPORTED_TABLE: tuple[listings.Column, ...] = (
    ("sha256", listings.member("sha256")),
    ("source", listings.member("source")),
    ("space", listings.member("space_id")),
    ("layout", listings.member("layout")),
    ("unit", listings.member("unit")),
    ("entries", listings.member("num_entries")),
    ("cannot be read", lambda one: str(one["problem"] or "-")),
    ("created", listings.time("created_at")),
    ("owner", listings.owner),
)
