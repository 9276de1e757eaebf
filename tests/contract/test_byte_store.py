"""The contract of `FileByteStore`, against every adapter."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

import pytest

from server.artifacts.files import FileByteStore
from server.core.errors import (
    ArtifactDamagedError,
    ArtifactTooLargeError,
    DigestMismatchError,
    InvalidValueError,
    NotFoundError,
    RangeNotSatisfiableError,
)

CONTENT = bytes(range(256)) * 20
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class ByteStoreContract:
    """What every byte store promises."""

    def test_content_is_found_again_under_its_digest(self, store: FileByteStore) -> None:
        stored = store.put(BytesIO(CONTENT))
        assert (stored.sha256, stored.size_bytes) == (SHA256, len(CONTENT))
        assert store.exists(SHA256)
        assert store.size_bytes(SHA256) == len(CONTENT)
        assert store.read(SHA256) == CONTENT
        with store.open(SHA256) as source:
            assert source.read() == CONTENT

    def test_storing_twice_changes_nothing(self, store: FileByteStore) -> None:
        assert store.put_bytes(CONTENT) == store.put_bytes(CONTENT)

    def test_the_empty_content_can_be_stored(self, store: FileByteStore) -> None:
        empty = store.put_bytes(b"")
        assert store.read(empty.sha256) == b""
        assert store.read_range(empty.sha256, 0, 10) == b""

    def test_ranges_end_at_the_end(self, store: FileByteStore) -> None:
        store.put_bytes(CONTENT)
        assert store.read_range(SHA256, 10, 5) == CONTENT[10:15]
        assert store.read_range(SHA256, len(CONTENT) - 2, 100) == CONTENT[-2:]
        with pytest.raises(RangeNotSatisfiableError):
            store.read_range(SHA256, len(CONTENT), 1)

    def test_an_unexpected_digest_stores_nothing(self, store: FileByteStore) -> None:
        with pytest.raises(DigestMismatchError):
            store.put(BytesIO(CONTENT + b"x"), expected_sha256=SHA256)
        assert not store.exists(SHA256)

    def test_too_much_content_stores_nothing(self, store: FileByteStore) -> None:
        with pytest.raises(ArtifactTooLargeError):
            store.put(BytesIO(CONTENT), limit_bytes=len(CONTENT) - 1)
        assert not store.exists(SHA256)

    def test_what_is_not_there_is_said_to_be_missing(self, store: FileByteStore) -> None:
        for look in (store.read, store.open, store.size_bytes):
            with pytest.raises(NotFoundError):
                look(SHA256)

    def test_a_name_that_is_no_digest_is_refused(self, store: FileByteStore) -> None:
        for name in ("../../etc/passwd", "AB" * 32, "", "0" * 63):
            with pytest.raises(InvalidValueError):
                store.read(name)

    def test_deleting_twice_is_harmless(self, store: FileByteStore) -> None:
        store.put_bytes(CONTENT)
        store.delete(SHA256)
        store.delete(SHA256)
        assert not store.exists(SHA256)


class TestFileByteStore(ByteStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> FileByteStore:
        return FileByteStore(tmp_path)

    def test_a_damaged_file_is_never_given_out(self, store: FileByteStore, tmp_path: Path) -> None:
        store.put_bytes(CONTENT)
        path = next((tmp_path / "objects").rglob(SHA256[2:]))
        path.write_bytes(CONTENT[:-1] + b"\x00")
        for look in (store.read, store.open):
            with pytest.raises(ArtifactDamagedError):
                look(SHA256)

    def test_nothing_stays_behind_in_incoming(self, store: FileByteStore, tmp_path: Path) -> None:
        with pytest.raises(ArtifactTooLargeError):
            store.put(BytesIO(CONTENT), limit_bytes=1)
        store.put_bytes(CONTENT)
        assert list((tmp_path / "incoming").iterdir()) == []
