"""Tables of results as search spaces: what is registered, and the bytes behind it."""

from __future__ import annotations

from collections.abc import Sequence

from server.access.principal import NOBODY, Creator
from server.artifacts.artifacts import Artifacts
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import ArtifactTooLargeError, ConflictError
from server.spaces.catalog import SpaceCatalog
from server.spaces.descriptions import SpaceDescription
from server.spaces.result_table import SpaceTable
from server.spaces.store import SpaceTableStore

TABLE_SPACE = "table"
"""The space of every table; its one parameter, ``sha256``, says which."""


class SpaceTables:
    """What is registered; adapters read tables through it."""

    def __init__(self, uow: UnitOfWork, artifacts: Artifacts) -> None:
        self._uow = uow
        self._artifacts = artifacts

    def ids(self) -> Sequence[str]:
        """Ids of the registered tables."""
        return [table.id for table in self._uow.read(lambda tx: SpaceTableStore(tx).all_space_tables())]

    def digest_of(self, space_id: str) -> str | None:
        """sha256 of the table behind an id; None where no table has it."""
        found = self._uow.read(lambda tx: SpaceTableStore(tx).find_space_table(space_id))
        return None if found is None else found.sha256

    def content(self, sha256: str, limit_bytes: int) -> bytes:
        """The bytes of a table.

        Raises:
            NotFoundError: no such artifact was uploaded.
            ArtifactTooLargeError: it is larger than a table may be; it is not read.
        """
        if self._artifacts.get(sha256).size_bytes > limit_bytes:
            raise ArtifactTooLargeError(limit_bytes)
        return self._artifacts.read(sha256)

    def register(
        self, space_id: str, sha256: str, spaces: SpaceCatalog, creator: Creator = NOBODY
    ) -> tuple[SpaceDescription, bool]:
        """Make an uploaded table a search space; registering the same again changes nothing.

        Returns:
            The space, and whether it is new.

        Raises:
            NotFoundError: no such artifact was uploaded.
            ConflictError: the id is taken by another table, or by a built-in space.
            InvalidValueError: the id is none that a spec could name.
            nas_engine's InvalidSpaceError: the table is malformed; its row is named.
        """
        # Read in full before the transaction: what is registered can be searched.
        spaces.describe(TABLE_SPACE, {"sha256": sha256})

        def work(tx: Transaction) -> bool:
            table = SpaceTable(
                id=space_id, sha256=sha256, created_by=creator.token_id, owner=creator.owner, created_at=tx.now()
            )
            known = SpaceTableStore(tx).find_space_table(space_id)
            if known is None and (space_id == TABLE_SPACE or space_id in spaces.space_ids()):
                raise ConflictError(f"{space_id!r} is a built-in search space: choose another id for the table")
            if known is not None and known.sha256 != sha256:
                raise ConflictError(
                    f"search space {space_id!r} is the table {known.sha256[:12]}... already: what an id stands for "
                    "never changes, choose another"
                )
            return known is None and SpaceTableStore(tx).add_space_table(table)

        is_new = self._uow.write(work)
        return spaces.describe(space_id, {}), is_new
