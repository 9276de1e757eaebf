"""The table of amendments, and its store."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from server.access.store import PRINCIPALS
from server.candidates.search import Search
from server.candidates.search_store import searches
from server.candidates.spec import SearchSpec, stored_search_spec
from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.store import Store
from server.core.database.types import Id, JsonOf, Timestamp
from server.core.paging import Page, PageRequest
from server.searches.amending.amendment import Amendment, SpecChange

search_amendments = sa.Table(
    "search_amendments",
    metadata,
    sa.Column("search_id", Id, sa.ForeignKey("searches.id"), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("step_seq", sa.BigInteger, nullable=False),
    sa.Column("amended_at", Timestamp, nullable=False),
    sa.Column("token_id", Id),
    sa.Column("principal_id", Id, sa.ForeignKey("principals.id")),
    sa.Column("changes", JsonOf(tuple[SpecChange, ...]), nullable=False),
    sa.Column("changes_constraints", sa.Boolean, nullable=False),
    sa.Column("spec_before", JsonOf(SearchSpec, load=stored_search_spec), nullable=False),
)

AMENDMENTS = Rows(
    Amendment, search_amendments, paths={"principal_id": "principal.id"}, joined={"principal": PRINCIPALS}
)


class AmendmentStore(Store):
    """Amendments as rows, kept for ever."""

    def add_amendment(self, amendment: Amendment) -> None:
        """Store the next amendment of a locked search."""
        self._insert(AMENDMENTS, amendment)

    def num_amendments(self, search_id: str) -> int:
        """Count the amendments of a search."""
        c = search_amendments.c
        statement = sa.select(sa.func.count()).select_from(search_amendments).where(c.search_id == search_id)
        return int(self._connection.execute(statement).scalar_one())

    def launched_spec(self, search_id: str) -> SearchSpec | None:
        """Read the spec as it was launched; None where it was not amended since."""
        c = search_amendments.c
        first = self._first(AMENDMENTS, AMENDMENTS.select(c.search_id == search_id, c.seq == 1))
        return None if first is None else first.spec_before

    def page_of_amendments(self, search_id: str, page: PageRequest) -> Page[Amendment]:
        """List the amendments of a search, newest first."""
        c = search_amendments.c
        return self._page(
            AMENDMENTS,
            AMENDMENTS.select(c.search_id == search_id),
            page,
            value_column=c.seq,
            id_column=c.search_id,
            descending=True,
        )

    def are_constraints_newer(self, search: Search) -> bool:
        """Whether constraints of a search were amended since its last step."""
        return search.id in self.with_newer_constraints([search.id])

    def with_newer_constraints(self, search_ids: Sequence[str]) -> frozenset[str]:
        """Those of the searches whose constraints were amended since their last step."""
        c = search_amendments.c
        statement = (
            sa.select(c.search_id)
            .join(searches, searches.c.id == c.search_id)
            .where(c.search_id.in_(search_ids), c.changes_constraints, c.step_seq == searches.c.checkpoint_seq)
        )
        return frozenset(self._connection.execute(statement).scalars())
