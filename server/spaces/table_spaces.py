"""Tables of results as search spaces: found by id or digest, read from uploaded bytes, kept while used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import InvalidSpaceError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import is_cheap
from nas_engine.spaces.registry import BUILT_IN_IDS
from nas_engine.spaces.tables.document import MAX_BYTES, parse_table
from nas_engine.spaces.tables.space import SPACE_ID, TableSpace
from server.core.errors import ArtifactTooLargeError, InvalidValueError, NotFoundError
from server.spaces.architecture import ArchitectureRecord, KnownValue

MAX_TABLES = 8  # kept in memory


class TableSource(Protocol):
    """Where tables come from; `server.spaces.result_tables.SpaceTables`."""

    def ids(self) -> Sequence[str]:
        """Ids of the registered tables."""

    def digest_of(self, space_id: str) -> str | None:
        """sha256 of the table behind an id; None where no table has it."""

    def content(self, sha256: str, limit_bytes: int) -> bytes:
        """Read the bytes of a table. Raises NotFoundError, ArtifactTooLargeError."""


class NoTables:
    """A source without tables, for processes that register none."""

    def ids(self) -> Sequence[str]:
        return ()

    def digest_of(self, space_id: str) -> str | None:
        del space_id
        return None

    def content(self, sha256: str, limit_bytes: int) -> bytes:
        del limit_bytes
        raise NotFoundError("artifact", sha256)


class TableSpaces:
    """Finds tables. Thread-safe: tables are immutable, the cache is locked."""

    def __init__(self, source: TableSource) -> None:
        self._source = source
        self._table = lru_cache(maxsize=MAX_TABLES)(self._read)

    def ids(self) -> Sequence[str]:
        """Ids of the registered tables."""
        return self._source.ids()

    def find(self, space_id: str, parameters: Mapping[str, JsonValue]) -> TableSpace | None:
        """The table behind a space id; None where it is no table's.

        Raises:
            InvalidSpaceError: the table is not there, malformed, or the parameters are not those of a table.
        """
        if space_id == SPACE_ID:
            match parameters:
                case {"sha256": str(digest), **rest} if not rest:
                    return self._table(digest)
                case _:
                    raise InvalidSpaceError(
                        f"space {SPACE_ID!r} takes one parameter, sha256: that of the uploaded table; or register the "
                        "table and name its id"
                    )
        # A table that was registered before a package brings a space of that name stays what the name stands for.
        sha256 = None if space_id in BUILT_IN_IDS else self._source.digest_of(space_id)
        if sha256 is None:
            return None
        if dict(parameters) not in ({}, {"sha256": sha256}):
            raise InvalidSpaceError(f"search space {space_id!r} is a table: it takes no parameters")
        return self._table(sha256)

    def _read(self, sha256: str) -> TableSpace:
        try:
            content = self._source.content(sha256, MAX_BYTES)
        except NotFoundError as error:
            message = f"no table {sha256[:12]}... was uploaded: PUT it to /api/v1/artifacts/{sha256} first"
            raise InvalidSpaceError(message) from error
        except ArtifactTooLargeError as error:
            raise InvalidSpaceError(f"the artifact {sha256[:12]}... is too large for a table: {error}") from error
        except InvalidValueError as error:
            raise InvalidSpaceError(f"space parameter sha256: {error}") from error
        return parse_table(content, sha256[:12])


def table_record(table: TableSpace, genotype: Genotype) -> ArchitectureRecord:
    """An architecture of a table with the counts of its row, where it has one."""
    architecture = table.decode(genotype)
    known: dict[str, float] = {}
    if table.has_row(genotype):
        known = {metric.name: found.value for metric, found in table.lookup(genotype).items() if is_cheap(metric)}
    return ArchitectureRecord(architecture=architecture, genotype=table.canonical(genotype), values=known)


def table_values(table: TableSpace, genotype: Genotype) -> Mapping[Metric, KnownValue]:
    """What the row of a genotype holds; nothing where it has none."""
    if not table.has_row(genotype):
        return {}
    return {
        metric: KnownValue(value=found.value, standard_error=found.standard_error or None)
        for metric, found in table.lookup(genotype).items()
    }
