"""The kinds of data sets by name: those that ship with hilnas, then those that installed packages bring."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from typing import Any, cast

from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.domain.plugins.declarations import DatasetDeclaration
from nas_engine.domain.plugins.door_survey import Survey, called_in_process
from nas_engine.domain.plugins.doors import Declared, Door, declared
from nas_engine.domain.plugins.survey import surveyed_door
from nas_engine.settings.kinds.declared import SettingsError, read_settings, settings_schema


class SourceKind(StrEnum):
    """Names of the kinds that ship with hilnas."""

    EMBEDDED = "fashion-mnist-12k"
    FOLDER = "folder"
    NPZ = "npz"
    CIFAR10 = "cifar10"
    CIFAR100 = "cifar100"
    FASHION_MNIST = "fashion-mnist"
    MNIST = "mnist"


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSettings:
    """A folder of images.

    Attributes:
        path: of the folder.
        centre_crop: share of the shorter side that is kept where images are judged.
    """

    path: str
    centre_crop: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSettings:
    """A file, or a folder of published files, at `path`."""

    path: str


def _ships(kind: SourceKind, title: str, settings: type[Any] | None, reader: str, **facts: Any) -> DatasetDeclaration:
    place = f"nas_engine.training.data.source:{reader}"
    return DatasetDeclaration(name=kind.value, title=title, settings=settings, implementation=place, **facts)


BUILT_IN = (
    _ships(
        SourceKind.EMBEDDED,
        "Fashion-MNIST, 12,000 images, 28x28 grey",
        None,
        "read_embedded",
        num_classes=10,
        image_shape=(1, 28, 28),
        num_train=10_000,
        num_test=2_000,
    ),
    _ships(SourceKind.FOLDER, "Folders of images, one for each class", FolderSettings, "read_folder"),
    _ships(SourceKind.NPZ, "Images and labels in an .npz file", FileSettings, "read_npz"),
    _ships(SourceKind.CIFAR10, "CIFAR-10 in its published binary files", FileSettings, "read_cifar10"),
    _ships(SourceKind.CIFAR100, "CIFAR-100 in its published binary files", FileSettings, "read_cifar100"),
    _ships(SourceKind.FASHION_MNIST, "Fashion-MNIST in its published files", FileSettings, "read_fashion_mnist"),
    _ships(SourceKind.MNIST, "MNIST in its published files", FileSettings, "read_mnist"),
)
"""Kinds that ship with hilnas, in the order they are documented."""

BUILT_IN_NAMES = tuple(declaration.name for declaration in BUILT_IN)


def too_few_images(name: str, num_images: int, part: str, batch_size: int) -> str:
    """Say that a part of a data set is smaller than a batch, and what batch fits."""
    return (
        f"batch_size {batch_size} exceeds the {num_images} {part} images of data set {name!r}: "
        f"make batch_size {num_images} at most, or give more images"
    )


@cache
def surveyed_datasets() -> Survey:
    """What the installed packages bring, each described by a document; none of them is imported here."""
    return surveyed_door(Door.DATASETS, BUILT_IN_NAMES)


@cache
def declared_datasets() -> Declared[DatasetDeclaration]:
    """Every kind that can be used, by name. For workers: declarations of others are imported."""
    return declared(Door.DATASETS, DatasetDeclaration, BUILT_IN, refused=surveyed_datasets().problems)


def describe_dataset(declaration: DatasetDeclaration, argument: JsonValue) -> JsonValue:
    """Describe what a package declares; `is_data_set` says that it can be used by its own name as it stands."""
    del argument
    try:
        read_settings(declaration, {})
        needs_settings = False
    except SettingsError:
        needs_settings = True
    return {
        "title": declaration.title,
        "settings_schema": settings_schema(declaration),
        "num_classes": declaration.num_classes,
        "image_shape": None if declaration.image_shape is None else list(declaration.image_shape),
        "num_train": declaration.num_train,
        "num_test": declaration.num_test,
        "is_data_set": declaration.num_classes is not None and not needs_settings,
    }


def dataset_faults(kind: str, settings: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """Find what is wrong with the settings of a kind that a package brings; its declaration is asked elsewhere.

    Raises:
        PluginError: no package brings it, or the one that does cannot be used.
    """
    return _faults(kind, canonical_json(dict(settings)))


@lru_cache(maxsize=256)
def _faults(kind: str, given: str) -> tuple[str, ...]:
    answer = called_in_process(
        Door.DATASETS, DatasetDeclaration, f"{__name__}:faults_of", kind, given, shipped=BUILT_IN_NAMES
    )
    return tuple(cast("list[str]", answer))


def faults_of(declaration: DatasetDeclaration, given: str) -> JsonValue:
    """Answer `dataset_faults`; called in the process that looks at packages."""
    try:
        read_settings(declaration, json.loads(given))
    except SettingsError as error:
        return [f"{'.'.join(map(str, path)) or 'settings'}: {message}" for path, message in error.faults]
    return []
