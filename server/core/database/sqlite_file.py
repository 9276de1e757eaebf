"""Damage that SQLite itself does not see when it opens a file: it finds a lost page when it reads it, takes an empty
file for a new database, and passes over what it cannot read of the log beside it.

The layouts of file and log are those of https://www.sqlite.org/fileformat2.html, sections 1.3 and 4.
"""

from __future__ import annotations

import sqlite3
import struct
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

MAX_QUICK_BYTES = 256 << 20
"""Largest file that is looked through at a start after an end that was not clean: that takes about a second."""
MAX_FINDINGS = 100
_LOOKS = 3  # what is amiss may be a write of another process that is under way
_PAUSE_S = 0.3
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_MAGIC = b"SQLite format 3\0"
_LOG_HEAD_BYTES, _FRAME_HEAD_BYTES = 32, 24
_LOG_MAGICS = {0x377F0682: "<u4", 0x377F0683: ">u4"}  # by the order of bytes in which its checksums are computed
Words = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class _Log:
    """What a log beside a database holds.

    Attributes:
        fault: why it cannot be read, or what of it is lost; empty where nothing is.
        pages: numbers of the pages in it, as far as it is committed.
        num_pages: of the database after its last commit; 0 without any.
    """

    fault: str = ""
    pages: frozenset[int] = frozenset()
    num_pages: int = 0


def damage_of(path: Path, *, used: bool) -> str | None:
    """Say what of a database file is cut off, emptied, or unreadable in its log; None where nothing is.

    Reads the first bytes of the file and the log as a whole, and writes nothing. What is no database is left for
    SQLite to name.

    Args:
        used: there were data once, so that an empty file is no beginning.
    """
    return _persisting(lambda: _damage(path, used=used))


def was_ended_cleanly(path: Path) -> bool:
    """Whether the last process that had the file open closed it, and none has it open now."""
    log = _log_path(path)
    return not log.exists() or log.stat().st_size == 0


def looked_through(path: Path, *, thorough: bool) -> list[str]:
    """What SQLite finds when it reads the whole file, at most `MAX_FINDINGS` lines; writes nothing.

    Args:
        thorough: every index is compared with its table, and in a whole file every reference followed; else the first
            finding ends it.

    Raises:
        sqlite3.Error: it cannot be read at all.
    """
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        wanted = f"integrity_check({MAX_FINDINGS})" if thorough else "quick_check(1)"
        found: list[str] = []
        try:
            for (line,) in connection.execute(f"PRAGMA {wanted}"):
                found += [" ".join(str(line).split())] if line != "ok" else []
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF not in _DAMAGED:
                raise
            found.append(str(error))  # so badly that it cannot go on
        if not thorough or found:
            return found
        broken = connection.execute("PRAGMA foreign_key_check")
        return [
            f"row {row} of table {table} refers to a row of {parent} that is not there"
            for table, row, parent, _ in islice(broken, MAX_FINDINGS)
        ]


def _persisting(look: Callable[[], str | None]) -> str | None:
    fault = look()
    for _ in range(_LOOKS - 1):
        if fault is None:
            return None
        time.sleep(_PAUSE_S)
        fault = look()
    return fault


def _damage(path: Path, *, used: bool) -> str | None:
    try:
        with path.open("rb") as file:
            head = file.read(100)
        log = _read_log(_log_path(path), _page_bytes(head))
        size = path.stat().st_size  # after the log: whoever shortens that has written its pages to the file before
    except FileNotFoundError:
        return None
    if not size and (used or log.pages):
        return (
            "its file is empty, though there were data: restore a backup, or delete the file to begin with an empty "
            "database"
        )
    page_bytes = _page_bytes(head)
    if page_bytes is None:
        return None
    if log.fault:
        return log.fault
    num_pages = log.num_pages or _pages_said(head)
    lost = sum(number not in log.pages for number in range(size // page_bytes + 1, num_pages + 1))
    if lost:
        return (
            f"its file is cut off: it has {size} bytes, its {num_pages} pages take {num_pages * page_bytes}; {lost} of "
            "them are lost: restore a backup"
        )
    return None


def _log_path(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _page_bytes(head: bytes) -> int | None:
    """Bytes of a page, None where the head is none of a database."""
    if len(head) < 100 or not head.startswith(_MAGIC):
        return None
    size = int.from_bytes(head[16:18], "big")
    return 65_536 if size == 1 else size if size >= 512 and not size & (size - 1) else None


def _pages_said(head: bytes) -> int:
    """How many pages the head says there are; 0 where it was written by something that does not keep that number."""
    return int.from_bytes(head[28:32], "big") if head[24:28] == head[92:96] else 0


def _read_log(path: Path, page_bytes: int | None) -> _Log:
    """Read the log from its beginning to the last commit that holds, as SQLite does after a crash."""
    try:
        log = path.open("rb")
    except FileNotFoundError:
        return _Log()
    with log:
        head = log.read(_LOG_HEAD_BYTES)
        rest = log.read(1)
        if not rest or page_bytes is None:  # a head alone holds nothing
            return _Log()
        log.seek(_LOG_HEAD_BYTES)
        magic, _, log_page_bytes, _, salts, *stated = struct.unpack(">4I8s2I", head)
        order = _LOG_MAGICS.get(magic)
        sums = (0, 0)
        if order is not None:
            sums = _checksum(sums, np.frombuffer(head[:24], order))
        if order is None or sums != tuple(stated) or log_page_bytes != page_bytes:
            return _Log(
                f"its log {path.name} cannot be read, and what was committed last is in it alone: restore a backup, or "
                "move the log away to go on without that"
            )
        pages: set[int] = set()
        committed, num_pages, num_frames, broken_at = frozenset[int](), 0, 0, 0
        while len(frame := log.read(_FRAME_HEAD_BYTES + page_bytes)) == _FRAME_HEAD_BYTES + page_bytes:
            number, commit, frame_salts, *stated = struct.unpack(">2I8s2I", frame[:_FRAME_HEAD_BYTES])
            if frame_salts != salts:  # left from before the log was begun anew
                break
            num_frames += 1
            if broken_at:  # a process that was killed leaves one frame half-written, and none behind it
                if commit:
                    return _Log(
                        f"its log {path.name} is damaged in frame {broken_at}, and what was committed from there on is "
                        "in it alone: restore a backup, or move the log away to go on without all that is in it"
                    )
                continue
            sums = _checksum(sums, np.frombuffer(frame[:8] + frame[_FRAME_HEAD_BYTES:], order))
            if sums != tuple(stated):
                broken_at = num_frames
                continue
            pages.add(number)
            if commit:
                committed, num_pages = frozenset(pages), commit
        return _Log("", committed, num_pages)


_MASK = 0xFFFFFFFF
_FIBONACCI: dict[int, Words] = {}


def _checksum(sums: tuple[int, int], words: Words) -> tuple[int, int]:
    """The log's running checksum after further words, of which there is an even number.

    Each word w is added to the sums (s, t) as (t, s + t + w), so that the sums are two neighbours of a Fibonacci
    sequence modulo 2^32, and word k of n counts F(n - k - 1) and F(n - k) times in them.
    """
    num = len(words)
    if num not in _FIBONACCI:
        numbers = [0, 1]
        while len(numbers) < num + 2:
            numbers.append((numbers[-1] + numbers[-2]) & _MASK)
        _FIBONACCI[num] = np.array(numbers, np.uint32)
    fibonacci = _FIBONACCI[num]
    falling = fibonacci[num::-1]
    first, second = sums
    before_first = first * int(fibonacci[num - 1]) + second * int(fibonacci[num])
    before_second = first * int(fibonacci[num]) + second * int(fibonacci[num + 1])
    own = words.astype(np.uint32)
    added = (int(falling[1:] @ own), int(falling[:-1] @ own))  # modulo 2^32, as unsigned numbers of 32 bits overflow
    return (before_first + added[0]) & _MASK, (before_second + added[1]) & _MASK
