"""The archive of an evidence bundle: a ZIP file of one fixed form, so that every byte follows from its members.

Members are stored as they are, one after the other, with a fixed date and mode, and the directory ends the file. What
any tool unpacks is therefore all there is: nothing hides between members, behind the end, or under a name twice.
"""

from __future__ import annotations

import hashlib
import re
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

CHUNK_BYTES = 256 * 1024
MAX_MEMBERS = 500
MAX_BYTES = 2**32 - 1
"""What a ZIP file without extensions can hold."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*(/[A-Za-z0-9][A-Za-z0-9._+-]*)*")
_MAX_NAME = 200
_LOCAL = struct.Struct("<4s5H3L2H")
_ENTRY = struct.Struct("<4s4B4H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_VERSION, _UNIX, _DATE = 20, 3, 0x21  # 1980-01-01: a ZIP file has no earlier one
_MODE = (stat.S_IFREG | 0o644) << 16


class BundleError(Exception):
    """A file is no intact bundle; the message names the member that is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveMember:
    """One file of a bundle.

    Attributes:
        sha256: of its content.
        crc: checksum that ZIP tools look at.
        offset: of its header in the archive.
    """

    name: str
    size_bytes: int
    sha256: str
    crc: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the directory says of one file, checked for its form; the content is not read yet."""

    name: str
    size_bytes: int
    crc: int
    offset: int


class ArchiveWriter:
    """Writes members one after the other into a seekable file, and then the directory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._members: list[ArchiveMember] = []

    def add(self, name: str, chunks: Iterable[bytes]) -> ArchiveMember:
        """Write one member. Raises BundleError: its name, or the size of the whole, does not fit."""
        if not _is_name(name) or any(name == member.name for member in self._members):
            raise BundleError(f"{_shown(name)} is no name for a file of a bundle, or stands in it already")
        offset, digest, crc, size_bytes = self._file.tell(), hashlib.sha256(), 0, 0
        self._file.write(_local_header(name, 0, 0))
        for chunk in chunks:
            self._file.write(chunk)
            digest.update(chunk)
            crc = crc_of(chunk, crc)
            size_bytes += len(chunk)
        end = self._file.tell()
        if end > MAX_BYTES - (1 << 20) or len(self._members) >= MAX_MEMBERS:
            raise BundleError(f"{_shown(name)} makes the bundle larger than {MAX_BYTES} bytes or {MAX_MEMBERS} files")
        self._file.seek(offset)
        self._file.write(_local_header(name, crc, size_bytes))
        self._file.seek(end)
        member = ArchiveMember(name=name, size_bytes=size_bytes, sha256=digest.hexdigest(), crc=crc, offset=offset)
        self._members.append(member)
        return member

    def finish(self) -> None:
        """Write the directory; nothing can be added after it."""
        start = self._file.tell()
        directory = b"".join(_entry(one.name, one.crc, one.size_bytes, one.offset) for one in self._members)
        self._file.write(directory + _end(len(self._members), len(directory), start))
        self._file.flush()


def read_entries(file: BinaryIO) -> tuple[Entry, ...]:
    """Read the directory of a bundle, and the headers it points to, without any content.

    Raises:
        BundleError: the archive is not of the one form; the message names what is wrong with which file.
    """
    size = file.seek(0, 2)
    if size < _END.size:
        raise BundleError(f"the file has {size} bytes: it is no bundle, or was cut short")
    file.seek(size - _END.size)
    ending = file.read(_END.size)
    magic, _, _, num, _, directory_bytes, start, _ = _END.unpack(ending)
    if magic != b"PK\x05\x06":
        raise BundleError("the file does not end as a bundle does: it was cut short, or something follows its end")
    if num > MAX_MEMBERS or directory_bytes > num * (_ENTRY.size + _MAX_NAME):
        raise BundleError(f"the directory lists {num} files in {directory_bytes} bytes: at most {MAX_MEMBERS} are read")
    if ending != _end(num, directory_bytes, start) or start + directory_bytes + _END.size != size:
        raise BundleError("the end of the file contradicts its size: something was added, removed or changed")
    file.seek(start)
    entries = tuple(_parsed(file.read(directory_bytes), num))
    at = 0
    for entry in entries:
        if entry.offset != at:
            raise BundleError(f"{_shown(entry.name)} does not lie where the file before it ends")
        header = _local_header(entry.name, entry.crc, entry.size_bytes)
        file.seek(at)
        if at + len(header) + entry.size_bytes > start or file.read(len(header)) != header:
            raise BundleError(f"{_shown(entry.name)}: its header contradicts the directory")
        at += len(header) + entry.size_bytes
    if at != start:
        raise BundleError("bytes lie between the last file and the directory that belong to no file")
    return entries


def content_of(file: BinaryIO, entry: Entry) -> Iterator[bytes]:
    """Read a member in chunks, as long as the directory says it is."""
    file.seek(entry.offset + _LOCAL.size + len(entry.name))
    left = entry.size_bytes
    while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
        left -= len(chunk)
        yield chunk


def crc_of(content: bytes, before: int = 0) -> int:
    """Compute the checksum that ZIP tools look at, going on from what came before."""
    return zlib.crc32(content, before)


def _parsed(directory: bytes, num: int) -> Iterator[Entry]:
    at, seen = 0, set[str]()
    for number in range(num):
        head = directory[at : at + _ENTRY.size]
        if len(head) < _ENTRY.size:
            raise BundleError(f"the directory ends before entry {number + 1} of {num}")
        magic, _, _, _, _, flags, method, _, _, crc, packed, unpacked, length, *rest = _ENTRY.unpack(head)
        attributes, offset = rest[-2:]
        raw = directory[at + _ENTRY.size : at + _ENTRY.size + length]
        name = raw.decode("latin-1")
        _check_entry(name, flags, method, packed, unpacked, attributes)
        if name in seen:
            raise BundleError(f"{_shown(name)} stands in the bundle twice")
        seen.add(name)
        written = _entry(name, crc, unpacked, offset)
        if magic != b"PK\x01\x02" or directory[at : at + len(written)] != written:
            raise BundleError(f"{_shown(name)}: its entry in the directory is not as bundles have them")
        at += len(written)
        yield Entry(name=name, size_bytes=unpacked, crc=crc, offset=offset)
    if at != len(directory):
        raise BundleError("the directory goes on behind its last entry")


def _check_entry(name: str, flags: int, method: int, packed: int, unpacked: int, attributes: int) -> None:
    """Say what an entry tries, in the words of whoever looks for it. Raises BundleError."""
    shown, mode = _shown(name), attributes >> 16
    if name.startswith(("/", "\\")) or ":" in name or ".." in re.split(r"[/\\]", name):
        raise BundleError(f"{shown} leads out of the folder it is unpacked in")
    if not _is_name(name):
        raise BundleError(f"{shown} is no name for a file of a bundle")
    if stat.S_ISLNK(mode):
        raise BundleError(f"{shown} is a link: a bundle holds files alone")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise BundleError(f"{shown} is no regular file")
    if flags & 1:
        raise BundleError(f"{shown} is encrypted")
    if method != 0 or packed != unpacked:
        raise BundleError(f"{shown} is compressed, {packed} bytes to {unpacked}: a bundle stores files as they are")


def _is_name(name: str) -> bool:
    return len(name) <= _MAX_NAME and _NAME.fullmatch(name) is not None


def _shown(name: str) -> str:
    return ascii(name[:_MAX_NAME])


def _local_header(name: str, crc: int, size_bytes: int) -> bytes:
    sizes: Sequence[int] = (crc, size_bytes, size_bytes, len(name), 0)
    return _LOCAL.pack(b"PK\x03\x04", _VERSION, 0, 0, 0, _DATE, *sizes) + name.encode("latin-1")


def _entry(name: str, crc: int, size_bytes: int, offset: int) -> bytes:
    head = (b"PK\x01\x02", _VERSION, _UNIX, _VERSION, 0, 0, 0, 0, _DATE, crc, size_bytes, size_bytes)
    return _ENTRY.pack(*head, len(name), 0, 0, 0, 0, _MODE, offset) + name.encode("latin-1")


def _end(num: int, directory_bytes: int, start: int) -> bytes:
    return _END.pack(b"PK\x05\x06", 0, 0, num, num, directory_bytes, start, 0)
