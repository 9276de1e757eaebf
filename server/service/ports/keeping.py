"""Ports for supernets, artifacts, events, tokens and idempotency keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import BinaryIO, Protocol

from server.service.paging import Page, PageRequest
from server.service.values.artifact import Artifact, ModelExport, ModelFormat, StoredBytes, WeightsOrigin
from server.service.values.event import Event, EventQuery, NewEvent
from server.service.values.space_table import SpaceTable
from server.service.values.supernet import Supernet, SupernetQuery, SupernetVersion
from server.service.values.token import ApiToken, IdempotencyScope, StoredResponse


class SupernetStore(Protocol):
    """Supernets and their versions."""

    def add(self, supernet: Supernet) -> None:
        """Store a new one."""

    def get(self, supernet_id: str) -> Supernet:
        """Read one."""

    def lock(self, supernet_id: str) -> Supernet:
        """Read one and hold it until the transaction ends."""

    def save(self, supernet: Supernet) -> Supernet:
        """Write a locked one with its version one higher."""

    def page(self, query: SupernetQuery, page: PageRequest) -> Page[Supernet]:
        """List, newest first."""

    def count(self, query: SupernetQuery) -> int:
        """How many `page` would list in all."""

    def add_version(self, version: SupernetVersion) -> None:
        """Store weights.

        Raises:
            ConflictError: the supernet has a version with this number.
        """

    def version(self, version_id: str) -> SupernetVersion:
        """Read one version."""

    def versions(self, supernet_id: str) -> tuple[SupernetVersion, ...]:
        """Every version, oldest first."""


class ArtifactRecords(Protocol):
    """What the database knows of artifacts; the bytes are in the `ByteStore`."""

    def put(self, artifact: Artifact) -> None:
        """Store one, if it is not there yet."""

    def get(self, sha256: str) -> Artifact:
        """Read one."""

    def find(self, sha256: str) -> Artifact | None:
        """Read one, None where there is none."""

    def page(self, page: PageRequest) -> Page[Artifact]:
        """List, newest first."""

    def add_export(self, export: ModelExport) -> None:
        """Remember which model file an architecture was exported to."""

    def export(
        self,
        latency_key: str,
        format: ModelFormat,
        weights: Sequence[WeightsOrigin],
        supernet_version_id: str | None,
    ) -> ModelExport | None:
        """The newest export under this latency key; with a version id only one made from that version."""

    def exports_of(self, arch_id: str) -> tuple[ModelExport, ...]:
        """Every export of an architecture, oldest first."""


class SpaceTableStore(Protocol):
    """Tables of results that are registered as search spaces."""

    def add(self, table: SpaceTable) -> bool:
        """Store one; False where the id is taken."""

    def find(self, space_id: str) -> SpaceTable | None:
        """Read one, None where there is none."""

    def all(self) -> tuple[SpaceTable, ...]:
        """Every one, by id."""


class EventStore(Protocol):
    """The event log."""

    def append(self, event: NewEvent) -> None:
        """Store an event when the transaction commits; its id is larger than that of any event committed before."""

    def after(self, event_id: int, query: EventQuery, limit: int) -> tuple[Event, ...]:
        """Events with a larger id, oldest first."""

    def page(self, query: EventQuery, page: PageRequest) -> Page[Event]:
        """List, newest first."""

    def last_id(self) -> int:
        """The largest id; 0 without events."""

    def prune(self, before: datetime) -> int:
        """Delete older ones; returns how many."""


class TokenStore(Protocol):
    """API tokens."""

    def add(self, token: ApiToken) -> None:
        """Store a new one."""

    def get(self, token_id: str) -> ApiToken:
        """Read one."""

    def by_secret(self, secret_sha256: str) -> ApiToken | None:
        """Find one by the digest of its secret."""

    def revoke(self, token_id: str) -> None:
        """Let it be used no more."""

    def touch(self, token_id: str) -> None:
        """Set last_used_at to now."""

    def all(self) -> tuple[ApiToken, ...]:
        """Every token, oldest first."""

    def lock_bootstrap(self) -> bool:
        """Hold the right to make the first tokens until the transaction ends; True if there are none."""


class IdempotencyStore(Protocol):
    """Idempotency keys with the answers they stand for."""

    def reserve(self, scope: IdempotencyScope, fingerprint: str) -> bool:
        """Take a key; False where it is taken. Waits for a transaction that is just taking it."""

    def find(self, scope: IdempotencyScope) -> tuple[str, StoredResponse] | None:
        """Fingerprint and answer stored under a key."""

    def complete(self, scope: IdempotencyScope, response: StoredResponse) -> None:
        """Store the answer under a reserved key."""

    def prune(self, before: datetime) -> int:
        """Delete older ones; returns how many."""


class ByteStore(Protocol):
    """Content-addressed bytes outside the database. Everything read is verified."""

    def put(
        self, source: BinaryIO, *, expected_sha256: str | None = None, limit_bytes: int | None = None
    ) -> StoredBytes:
        """Store a stream atomically; storing what is there already changes nothing.

        Raises:
            DigestMismatchError: the content is not what was announced; nothing is stored.
            ArtifactTooLargeError: it is larger than the limit; nothing is stored.
        """

    def put_bytes(self, content: bytes) -> StoredBytes:
        """`put` for bytes in memory."""

    def exists(self, sha256: str) -> bool:
        """Whether the content is there."""

    def size_bytes(self, sha256: str) -> int:
        """Its size. Raises NotFoundError."""

    def read(self, sha256: str) -> bytes:
        """The whole content, verified.

        Raises:
            NotFoundError: it is not there.
            DigestMismatchError: the file was damaged.
        """

    def open(self, sha256: str) -> BinaryIO:
        """The content for reading, verified before the first byte is given. Raises as `read`."""

    def read_range(self, sha256: str, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`.

        Raises:
            NotFoundError: it is not there.
            RangeNotSatisfiableError: offset beyond the end.
        """

    def delete(self, sha256: str) -> None:
        """Remove the content, if it is there."""
