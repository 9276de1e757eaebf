"""Imported cost tables on the wire."""

from __future__ import annotations

from pydantic import AwareDatetime

from nas_engine.cost.cost_table import TableLayout
from server.access.schemas import Owner
from server.core.http.resources import Json, Resource, Sha256


class CostTableResource(Resource):
    """A table of costs that was imported: published, or measured elsewhere. A DenseNAS search pays with it."""

    sha256: Sha256
    """SHA-256 of the table: what `algorithm.cost_table` of a spec names; its file is the artifact of this hash."""

    source: str
    """Where it comes from, for people, as whoever imported it said."""

    space_id: str | None
    """Id of the search space whose operators it holds; null where it cannot be read."""

    layout: TableLayout | None
    """Form in which it was imported: `published` (nested lists) or `csv`; null where that was not written down yet."""

    unit: str | None
    """Unit of its costs, `ms` or `us`; null where it cannot be read."""

    num_entries: int | None
    """Number of its costs, one for each operator at each place of the space; null where it cannot be read."""

    size_bytes: int
    """Size of its file in bytes."""

    created_at: AwareDatetime
    """Time at which it was first imported, RFC 3339 in UTC."""

    owner: Owner = None
    """Principal that first imported it; null without authentication."""

    problem: str = ""
    """Why it cannot be read, so that no search can use it; empty where it can."""


class CostTableDetail(CostTableResource):
    """An imported table with its costs."""

    costs: Json
    """Costs as nested lists, in the arrangement of the published files; null where the table cannot be read."""
