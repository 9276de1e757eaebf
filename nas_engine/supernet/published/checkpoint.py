"""Tensors of a PyTorch checkpoint file, zip or legacy, read with numpy alone and without running what is in it.

Such a file is a pickle with numbers beside it, and a pickle names functions to call. Published supernets need that:
they hold objects of their authors' own classes beside the tensors, so `torch.load(weights_only=True)` refuses the whole
file. Here a name that builds tensors gets a builder of ours, and every other name gets `Inert`, which does nothing:
nothing outside this module is ever called. Sizes are bounded before anything is built.

Source of the formats: torch/serialization.py of PyTorch 2.13 (`_save`, `_legacy_save`).
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.errors import WeightsError

MAX_FILE_BYTES = 4 * 2**30
MAX_PICKLE_BYTES = 64 * 2**20
"""Of one pickle in a file, without its numbers; those of the published supernets have under 1 MiB."""

LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL: Final = 1001
_STATE_DICT = "state_dict"
_WRAPPER = "module."
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})


class Inert:
    """What stands for an object of a class that is not ours to build: it takes everything and does nothing."""

    def __new__(cls, *_: object, **__: object) -> Inert:
        return object.__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __call__(self, *_: object, **__: object) -> Inert:
        return self

    def __setstate__(self, _: object) -> None:
        pass

    def __setitem__(self, _: object, __: object) -> None:
        pass

    def append(self, _: object) -> None:
        """Take an item of a list's subclass."""

    def extend(self, _: object) -> None:
        """Take items of a list's subclass."""

    def add(self, _: object) -> None:
        """Take an item of a set's subclass."""


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    num_items: int


@dataclass(frozen=True, slots=True)
class _View:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


_STORAGE_DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


def _view(storage: object, offset: object, shape: object, strides: object, *_: object) -> object:
    """Stand for `torch._utils._rebuild_tensor_v2`: what a tensor is made of, checked; nothing is read yet."""
    if not isinstance(storage, _Storage) or not isinstance(offset, int):
        return Inert()
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or len(shape) != len(strides):
        return Inert()
    if not all(type(number) is int and number >= 0 for number in (offset, *shape, *strides)):
        return Inert()
    return _View(storage, offset, shape, strides)


def _parameter(view: object, *_: object) -> object:
    """Stand for `torch._utils._rebuild_parameter`."""
    return view


_BUILDERS: Mapping[tuple[str, str], Callable[..., object]] = {
    ("torch._utils", "_rebuild_tensor"): _view,
    ("torch._utils", "_rebuild_tensor_v2"): _view,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("collections", "OrderedDict"): OrderedDict,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, storages: dict[str, _Storage]) -> None:
        super().__init__(io.BytesIO(content), encoding="utf-8")
        self._storages = storages

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (builder := _BUILDERS.get((module_name, global_name))) is not None:
            return builder
        if module_name == "torch" and global_name in _STORAGE_DTYPES:
            return np.dtype(_STORAGE_DTYPES[global_name])
        return Inert

    def persistent_load(self, pid: Any, /) -> Any:
        match pid:
            case ("storage", np.dtype() as dtype, str() as key, _, int() as num_items, *_) if num_items >= 0:
                return self._storages.setdefault(key, _Storage(key, dtype, num_items))
            case _:
                return Inert()


class PublishedCheckpoint:
    """Tensors by name, of which each is read when it is asked for.

    Attributes:
        shapes: by name, in the file's order; the prefix ``module.`` of data-parallel training is taken off.
    """

    def __init__(self, path: Path, views: Mapping[str, _View], read: Callable[[_Storage], bytes]) -> None:
        self._path = path
        self._views = views
        self._read = read
        self.shapes: Mapping[str, tuple[int, ...]] = {name: view.shape for name, view in views.items()}

    def array(self, name: str) -> NDArray[np.float32]:
        """Read one tensor.

        Raises:
            WeightsError: it is not of 32-bit floats, its numbers are not all in the file, or one is not finite.
        """
        view = self._views[name]
        storage = view.storage
        if storage.dtype != np.float32:
            raise WeightsError(f"{self._path}: {name!r} holds {storage.dtype.name}, expected float32")
        num_items = math.prod(view.shape)
        last = view.offset + sum((size - 1) * stride for size, stride in zip(view.shape, view.strides, strict=True))
        if num_items > storage.num_items or (num_items and last >= storage.num_items):
            raise WeightsError(f"{self._path}: {name!r} reaches beyond its {storage.num_items} stored numbers")
        stored = np.frombuffer(self._read(storage), np.float32, storage.num_items)
        strides = [stride * stored.itemsize for stride in view.strides]
        array = np.lib.stride_tricks.as_strided(stored[view.offset :], view.shape, strides, writeable=False).copy()
        if not bool(np.isfinite(array).all()):
            raise WeightsError(f"{self._path}: {name!r} holds a non-finite number: the file is not usable")
        return array


def read_checkpoint(path: Path) -> PublishedCheckpoint:
    """Read which tensors a checkpoint holds; the file must stay where it is while they are read.

    Taken are the tensors under ``state_dict``, or all of a file that is a dictionary of tensors itself.

    Raises:
        WeightsError: the file cannot be read, is no PyTorch checkpoint, is cut short, or exceeds a bound.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise WeightsError(f"{path} has {size} bytes: a checkpoint may have {MAX_FILE_BYTES}")
        saved, read = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    except WeightsError:
        raise
    except Exception as error:  # a malformed pickle raises almost anything
        raise WeightsError(f"{path} is no readable PyTorch checkpoint: {type(error).__name__}: {error}") from error
    return PublishedCheckpoint(path, _views(path, saved), read)


def _views(path: Path, saved: object) -> dict[str, _View]:
    inner = saved.get(_STATE_DICT, saved) if isinstance(saved, dict) else None
    if not isinstance(inner, dict) or not inner:
        raise WeightsError(f"{path} holds no tensors: expected a dictionary of them, or one under {_STATE_DICT!r}")
    views: dict[str, _View] = {}
    wrapped = all(isinstance(name, str) and name.startswith(_WRAPPER) for name in inner)
    for name, value in inner.items():
        if not isinstance(name, str) or not isinstance(value, _View):
            raise WeightsError(f"{path}: {str(name)[:80]!r} is no tensor: a checkpoint of weights holds tensors alone")
        views[name.removeprefix(_WRAPPER) if wrapped else name] = value
    return views


def _read_zip(path: Path) -> tuple[object, Callable[[_Storage], bytes]]:
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise WeightsError(f"{path} is a zip archive, but no PyTorch checkpoint: it has no data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        order = entries.get(f"{folder}byteorder")
        if order is not None and order.file_size < 64 and archive.read(order).strip() != b"little":
            raise WeightsError(f"{path} was written by a big-endian machine: save it again on a little-endian one")
        for info in entries.values():
            if info.compress_type != zipfile.ZIP_STORED:
                raise WeightsError(f"{path}: {info.filename!r} is compressed, which PyTorch never does")
        if entries[pickles[0]].file_size > MAX_PICKLE_BYTES:
            raise WeightsError(f"{path}: its pickle has {entries[pickles[0]].file_size} bytes")
        saved, _ = _unpickled(path, archive.read(pickles[0]), {})

    def read(storage: _Storage) -> bytes:
        name, num_bytes = f"{folder}data/{storage.key}", storage.num_items * storage.dtype.itemsize
        with zipfile.ZipFile(path) as again:
            if name not in entries or entries[name].file_size != num_bytes:
                raise WeightsError(f"{path}: the {num_bytes} bytes of {name!r} are not there: the file is damaged")
            try:
                return again.read(name)
            except zipfile.BadZipFile as error:
                raise WeightsError(f"{path}: {name!r} is damaged: {error}") from error

    return saved, read


def _read_legacy(path: Path) -> tuple[object, Callable[[_Storage], bytes]]:
    """Read the five pickles of the format before PyTorch 1.6, and find the numbers behind them."""
    storages: dict[str, _Storage] = {}
    with path.open("rb") as file:
        start = 0

        def following() -> object:
            nonlocal start
            file.seek(start)
            value, length = _unpickled(path, file.read(MAX_PICKLE_BYTES), storages)
            start += length
            return value

        if following() != LEGACY_MAGIC or following() != LEGACY_PROTOCOL:
            raise WeightsError(f"{path} is no PyTorch checkpoint")
        system = following()
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise WeightsError(f"{path} was written by a big-endian machine: save it again on a little-endian one")
        saved, keys = following(), following()
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise WeightsError(f"{path} does not list its stored numbers: the file is damaged")
        places: dict[str, tuple[int, int]] = {}
        for key in keys:
            file.seek(start)
            header = file.read(8)
            if key not in storages or len(header) < 8:
                break  # what cannot be found is missed where it is asked for
            (num_items,) = struct.unpack("<q", header)
            places[key] = (start + 8, num_items)
            start += 8 + max(num_items, 0) * storages[key].dtype.itemsize

    def read(storage: _Storage) -> bytes:
        place, num_items = places.get(storage.key, (0, -1))
        num_bytes = storage.num_items * storage.dtype.itemsize
        with path.open("rb") as again:
            again.seek(place)
            content = again.read(num_bytes) if num_items == storage.num_items else b""
        if len(content) != num_bytes:
            raise WeightsError(f"{path}: the {num_bytes} bytes of storage {storage.key} are not there: it is cut short")
        return content

    return saved, read


def _unpickled(path: Path, content: bytes, storages: dict[str, _Storage]) -> tuple[object, int]:
    """Build the object of the pickle at the start, note the storages it names, and return it with its length."""
    length = 0
    for number, (operation, argument, position) in enumerate(pickletools.genops(content), start=1):
        # The reader makes room for the place that a PUT names, however far that is.
        if operation.name in _PUTS and isinstance(argument, int) and argument > number:
            raise WeightsError(f"{path} is no checkpoint that PyTorch wrote: its pickle puts to place {argument}")
        length = (position or 0) + 1
    return _Unpickler(content[:length], storages).load(), length
