"""Which data set a run uses, as a value that travels in specs; and the readers of the kinds that ship with hilnas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nas_engine.domain.errors import DatasetError
from nas_engine.domain.plugins.declarations import DatasetDeclaration, ImageArrays, WantedImages
from nas_engine.domain.plugins.door_survey import resolved
from nas_engine.domain.plugins.doors import Brought, Door, PluginError
from nas_engine.domain.plugins.guard import Guard
from nas_engine.settings.images import AS_IT_IS, ImageForm, Interpolation
from nas_engine.settings.kinds.datasets import FileSettings, FolderSettings, SourceKind, declared_datasets
from nas_engine.settings.kinds.declared import SettingsError, read_settings
from nas_engine.training.data.arrays import embedded, load_npz
from nas_engine.training.data.binary import CIFAR10, CIFAR100, load_cifar, load_idx
from nas_engine.training.data.dataset import ArraySplit, ImageDataset, make_dataset
from nas_engine.training.data.files import fit_array
from nas_engine.training.data.folder import load_folder

LOADING_TIMEOUT_S = 3600.0
"""Longest time that what a package brings may take to give its images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSource:
    """One data set and how it is prepared.

    Attributes:
        kind: format, by the name of its declaration.
        path: file or folder; None for the embedded set, and where what a package brings needs none.
        image_size: height and width that images are brought to; None keeps theirs.
        channels: 1 or 3; None keeps theirs.
        validation_fraction: share of the training images that is held out for the search.
        seed: of that split.
        centre_crop: for folders, share of the shorter side that the centre crop keeps.
        settings: of what a package brings, as its declaration takes them.
        form: filter by which images are brought to their size, and what they are normalised by.
    """

    kind: str = SourceKind.EMBEDDED
    path: str | None = None
    image_size: int | None = None
    channels: int | None = None
    validation_fraction: float = 0.2
    seed: int = 0
    centre_crop: float = 1.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    form: ImageForm = AS_IT_IS

    def __post_init__(self) -> None:
        if self.kind in tuple(SourceKind) and (self.path is None) != (self.kind == SourceKind.EMBEDDED):
            problem = "needs a path" if self.path is None else "is part of the package and takes no path"
            raise DatasetError(f"data set {str(self.kind)!r} {problem}")
        if self.channels not in (None, 1, 3):
            raise DatasetError(f"channels is {self.channels}: it must be 1 (grey) or 3 (RGB)")
        if self.image_size is not None and not 1 <= self.image_size <= 4096:
            raise DatasetError(f"image_size is {self.image_size}: it must lie between 1 and 4096 pixels")


def open_dataset(source: DatasetSource) -> ImageDataset:
    """Read, check and split a data set.

    Raises:
        DatasetError: what is wrong, in which file, and what to do.
        PluginError: a package that brings its kind cannot be used, or misbehaves.
    """
    found = declared_datasets().get(source.kind)
    document = dict(source.settings)
    if source.path is not None:
        document["path"] = source.path
    if source.kind == SourceKind.FOLDER:
        document["centre_crop"] = source.centre_crop
    wanted = WantedImages(
        name=source.kind,
        image_size=source.image_size,
        channels=source.channels,
        validation_fraction=source.validation_fraction,
        seed=source.seed,
        interpolation=source.form.interpolation.value,
    )
    try:
        settings = read_settings(found.declaration, document)
    except SettingsError as error:
        raise DatasetError(str(error)) from error
    if found.is_built_in:
        dataset: ImageDataset = found.declaration.resolve()(settings, wanted)
    else:
        dataset = brought_dataset(found, resolved(Door.DATASETS, DatasetDeclaration, found), settings, wanted)
    return dataset.in_form(source.form)


def read_embedded(settings: None, wanted: WantedImages) -> ImageDataset:
    """Read the Fashion-MNIST subset in the package."""
    del settings
    return embedded(**_preparation(wanted))


def read_npz(settings: FileSettings, wanted: WantedImages) -> ImageDataset:
    """Read an .npz file."""
    return load_npz(Path(settings.path), **_preparation(wanted))


def read_cifar10(settings: FileSettings, wanted: WantedImages) -> ImageDataset:
    """Read CIFAR-10's published files."""
    return load_cifar(Path(settings.path), CIFAR10, **_preparation(wanted))


def read_cifar100(settings: FileSettings, wanted: WantedImages) -> ImageDataset:
    """Read CIFAR-100's published files, with its fine labels."""
    return load_cifar(Path(settings.path), CIFAR100, **_preparation(wanted))


def read_fashion_mnist(settings: FileSettings, wanted: WantedImages) -> ImageDataset:
    """Read Fashion-MNIST's published files."""
    return load_idx(Path(settings.path), name=SourceKind.FASHION_MNIST.value, **_preparation(wanted))


def read_mnist(settings: FileSettings, wanted: WantedImages) -> ImageDataset:
    """Read MNIST's published files."""
    return load_idx(Path(settings.path), name=SourceKind.MNIST.value, **_preparation(wanted))


def read_folder(settings: FolderSettings, wanted: WantedImages) -> ImageDataset:
    """Read folders of images."""
    return load_folder(Path(settings.path), centre_crop=settings.centre_crop, **_preparation(wanted))


def _preparation(wanted: WantedImages) -> dict[str, Any]:
    return {
        "image_size": wanted.image_size,
        "channels": wanted.channels,
        "validation_fraction": wanted.validation_fraction,
        "seed": wanted.seed,
        "interpolation": Interpolation(wanted.interpolation),
    }


def brought_dataset(
    found: Brought[DatasetDeclaration], read: Callable[[Any, WantedImages], Any], settings: Any, wanted: WantedImages
) -> ImageDataset:
    """Let a package give its images by `read`, and prepare them as those of any other kind are.

    Raises:
        PluginError: it raises, hangs, or gives what are no images.
    """
    guard = _guard(found)
    arrays = guard.call("reading its images", lambda: read(settings, wanted))
    if not isinstance(arrays, ImageArrays):
        raise guard.fault(f"it gave a {type(arrays).__name__}: it must be ImageArrays")
    try:
        for part, x, y in (("train", arrays.x_train, arrays.y_train), ("test", arrays.x_test, arrays.y_test)):
            _check_arrays(part, x, y)
        if not all(isinstance(name, str) for name in arrays.classes):
            raise DatasetError(f"classes is {arrays.classes!r}: they must be the names of the classes, texts")
        train, test = (
            ArraySplit(
                fit_array(
                    ArraySplit(x, y).pixels, wanted.image_size, wanted.channels, Interpolation(wanted.interpolation)
                ),
                y.astype(np.int64),
            )
            for x, y in ((arrays.x_train, arrays.y_train), (arrays.x_test, arrays.y_test))
        )
        return make_dataset(
            wanted.name,
            train,
            test,
            tuple(arrays.classes),
            validation_fraction=wanted.validation_fraction,
            seed=wanted.seed,
        )
    except PluginError:
        raise
    except Exception as error:  # arrays of any kind may have come
        raise guard.fault(f"its images cannot be used: {' '.join(str(error).split())}") from error


@cache
def _guard(found: Brought[DatasetDeclaration]) -> Guard:
    """One a declaration: what never returned is not waited for again in this process."""
    return Guard(found, LOADING_TIMEOUT_S)


def _check_arrays(part: str, x: Any, y: Any) -> None:
    for name, given in ((f"x_{part}", x), (f"y_{part}", y)):
        if not isinstance(given, np.ndarray):
            raise DatasetError(f"{name} is a {type(given).__name__}: it must be a numpy array")
    if not np.issubdtype(y.dtype, np.integer):
        raise DatasetError(f"y_{part} is {y.dtype}: labels are integers, class indices from 0")
