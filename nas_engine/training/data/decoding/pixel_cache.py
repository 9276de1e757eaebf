"""Decoded pictures on disk, mapped into memory: what is looked at again and again is decoded once.

A file holds the pixels of pictures that are loaded together (a batch of held-out images). Its name is the hash of what
they were made of: the bytes of every file, size, channels, centre crop and filter, crop seeds, Pillow's version. So
other content has another name, wherever it lies and whoever wrote it, and a copy of a data set finds what is there.
Which bytes a path has is remembered by size, times and inode of the file, looked at with every load; a file that
changed at all is read again.

Files appear whole (renamed into place) and are verified with every load, so any number of processes share a folder, and
may be killed at any moment. What was not used longest is removed when there is too much.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL

from nas_engine.domain.errors import DatasetError
from nas_engine.training.data.decoding.decoders import Decoded, Decoders, Picture, on_threads
from nas_engine.training.data.decoding.picture import Decoding, Pixels, content_of

FORMAT = "hilnas pixels 1"
HEADER_BYTES = 4096  # a page, so that what is mapped begins at one
SETTLED_NS = 2 * 10**9
"""Files that changed so shortly before they were read may change again within the resolution of their times."""
SPARED_S = 600.0
"""What was used so lately is not removed for something else: of a set that is larger than the cache a part is kept,
rather than each batch removed before its turn comes again."""
ABANDONED_S = 3600.0
_PIXELS, _NAMES, _TEMPORARY = ".pixels", ".names", ".writing-"


@dataclass(frozen=True, slots=True)
class PixelCache:
    """A folder of decoded pictures. Thread-safe; shared by processes.

    Attributes:
        folder: made when something is kept.
        max_bytes: of all files together.
        min_free_bytes: of the disk, that are left free.
    """

    folder: Path
    max_bytes: int
    min_free_bytes: int = 1 << 30

    def load(self, pictures: Sequence[Picture], decoding: Decoding, decoders: Decoders) -> Pixels:
        """Pixels of pictures (N, H, W, C), decoded by `decoders` where they are not kept.

        Raises:
            DatasetError: a file cannot be read or decoded.
        """
        names = self.folder / (_digest([FORMAT, [os.fspath(one.path.absolute()) for one in pictures]]) + _NAMES)
        shape = (len(pictures), decoding.image_size, decoding.image_size, decoding.channels)
        read_ns = time.time_ns()
        files = [_state_of(one.path) for one in pictures]
        hashes = _known_hashes(names, files)
        if hashes is None and self._may_hold(names):
            hashes = list(on_threads().map(_hash_of, pictures))
            self._keep_names(names, files, hashes, read_ns)
        if hashes is not None:
            kept = self._kept(_key(pictures, hashes, decoding), shape)
            if kept is not None:
                return kept
        found = decoders.decode(pictures, decoding, hashed=True)
        pixels = stacked(found)
        hashes = [one.sha256 for one in found]
        self._keep(_key(pictures, hashes, decoding), pixels)
        self._keep_names(names, files, hashes, read_ns)
        return pixels

    def _may_hold(self, names: Path) -> bool:
        """Whether hashing files may spare decoding them: not where nothing was ever kept."""
        return bool(self._files()) or names.is_file()

    def _kept(self, key: str, shape: tuple[int, ...]) -> Pixels | None:
        """A verified copy of what is kept under a key; None where nothing is, or it is damaged."""
        path = self.folder / (key + _PIXELS)
        try:
            with path.open("rb") as file:
                header = json.loads(file.read(HEADER_BYTES))
                mapped = np.memmap(file, dtype=np.uint8, mode="r", offset=HEADER_BYTES, shape=shape)
            pixels: Pixels = np.array(mapped)
            if header != _header(key, pixels):
                raise ValueError("other bytes than were written")
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        _note_use(path)
        return pixels

    def _keep(self, key: str, pixels: Pixels) -> None:
        header = json.dumps(_header(key, pixels)).encode().ljust(HEADER_BYTES)
        with contextlib.suppress(OSError):  # it is decoded once more, that is all
            if self._has_room(len(header) + pixels.nbytes):
                _write(self.folder / (key + _PIXELS), header, pixels.data.cast("B"))

    def _keep_names(self, names: Path, files: Sequence[_File], hashes: Sequence[str], read_ns: int) -> None:
        document = {"read_ns": read_ns, "files": files, "sha256": hashes}
        with contextlib.suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(names, json.dumps(document).encode())

    def _files(self) -> list[os.DirEntry[str]]:
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            return [entry for entry in entries if entry.name.endswith((_PIXELS, _NAMES)) or _is_temporary(entry.name)]
        return []

    def _has_room(self, size_bytes: int) -> bool:
        """Whether so many bytes may be written, once what was not used for long is removed."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        now_s, files = time.time(), []
        for entry in self._files():
            with contextlib.suppress(FileNotFoundError):
                state = entry.stat()
                files.append((state.st_mtime, state.st_size, entry))
        free_bytes = _free_bytes(self.folder) - self.min_free_bytes
        excess = max(sum(size for _, size, _ in files) + size_bytes - self.max_bytes, size_bytes - free_bytes)
        for used_s, size, entry in sorted(files, key=lambda one: one[0]):
            spared = ABANDONED_S if _is_temporary(entry.name) else SPARED_S
            is_abandoned = _is_temporary(entry.name) and now_s - used_s > ABANDONED_S
            if (excess > 0 or is_abandoned) and now_s - used_s > spared:
                Path(entry.path).unlink(missing_ok=True)
                excess -= size
        return excess <= 0


def stacked(found: Sequence[Decoded]) -> Pixels:
    """Pixels of all, (N, H, W, C). Raises DatasetError, which names what could not be decoded."""
    wrong = [one.error for one in found if one.pixels is None]
    if wrong:
        shown, num_more = wrong[:_MOST_NAMED], len(wrong) - _MOST_NAMED
        more = f"; and {num_more} more of these {len(found)} images" if num_more > 0 else ""
        raise DatasetError(f"{'; '.join(shown)}{more}; `hilnas datasets check` names every such file")
    return np.stack([one.pixels for one in found if one.pixels is not None])


_MOST_NAMED = 5  # files of a batch that cannot be decoded; the others are counted

_File = list[int]
"""What changes with a file: size, times of content and of state in nanoseconds, inode and device."""


def _state_of(path: Path) -> _File:
    try:
        state = path.stat()
    except OSError as error:
        raise DatasetError(f"{path} cannot be decoded ({error}): remove or replace it") from error
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_dev]


def _hash_of(picture: Picture) -> str:
    return hashlib.sha256(content_of(picture.path)).hexdigest()


def _known_hashes(names: Path, files: Sequence[_File]) -> list[str] | None:
    """Hashes of files that did not change since they were remembered; None where any did."""
    try:
        document = json.loads(names.read_bytes())
        settled_ns = int(document["read_ns"]) - SETTLED_NS
        hashes = [str(one) for one in document["sha256"]]
        known = document["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if known != list(files) or len(hashes) != len(files) or any(max(one[1:3]) > settled_ns for one in files):
        return None
    _note_use(names)
    return hashes


def _key(pictures: Sequence[Picture], hashes: Sequence[str], decoding: Decoding) -> str:
    made_of = [FORMAT, PIL.__version__, decoding.text, decoding.interpolation.value]
    return _digest([*made_of, [[one, picture.crop_seed] for one, picture in zip(hashes, pictures, strict=True)]])


def _digest(document: object) -> str:
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()


def _header(key: str, pixels: Pixels) -> dict[str, object]:
    digest = hashlib.blake2b(pixels.data, digest_size=16).hexdigest()
    return {"format": FORMAT, "key": key, "shape": list(pixels.shape), "digest": digest}


def _write(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file that appears whole or not at all; the digest finds what a power cut makes of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY)
    try:
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                file.write(part)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _note_use(path: Path) -> None:
    with contextlib.suppress(OSError):  # removed meanwhile
        os.utime(path)


def _is_temporary(name: str) -> bool:
    return name.startswith(_TEMPORARY)


def _free_bytes(folder: Path) -> int:
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize
