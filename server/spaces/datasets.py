"""Data sets by name: the embedded one, and those the operator registers in a file on the server.

Clients name data sets; only the operator's file holds paths. An entry looks like::

    {"flowers": {"kind": "folder", "path": "/data/flowers", "num_classes": 102, "centre_crop": 0.875}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from nas_engine.domain.errors import DatasetError
from nas_engine.domain.plugins.doors import Door, PluginError, entries, own_provider
from nas_engine.domain.text import did_you_mean
from nas_engine.settings.base import Identifier
from nas_engine.settings.field_docs import Documented
from nas_engine.settings.kinds.datasets import BUILT_IN, BUILT_IN_NAMES, SourceKind, dataset_faults, surveyed_datasets
from server.spaces.descriptions import DatasetDescription

EMBEDDED = SourceKind.EMBEDDED.value


class RegisteredDataset(Documented):
    """One data set that workers can open."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Identifier
    """Kind of data set: format of the files, or the name of what a package brings."""

    path: str | None = None
    """File or folder on the worker; absent for the embedded set, and where a package needs none."""

    title: str = ""
    """Title of the data set for people, shown in lists."""

    num_classes: int = Field(ge=2)
    """Checked against the files when a worker opens them."""

    image_size: int | None = Field(default=None, ge=1, le=4096)
    """Side of the images, pixels, for those who list data sets; workers bring images to the space's input."""

    channels: Literal[1, 3] | None = None
    """Of the images, for those who list data sets; absent: as stored."""

    centre_crop: float = Field(default=1.0, gt=0, le=1)
    """Of folders, share of the shorter side that is kept where images are judged (ImageNet: 0.875, 256 -> 224)."""

    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the training images that searches validate on."""

    seed: int = Field(default=0, ge=0)
    """Of that split."""

    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of a kind that a package brings; `GET /api/v1/dataset-kinds` has their JSON schema."""

    @model_validator(mode="after")
    def _of_a_kind_there_is(self) -> Self:
        if self.centre_crop != 1.0 and self.kind != SourceKind.FOLDER:
            raise ValueError(f"centre_crop goes with folders: leave it out for {self.kind}")
        if self.settings and self.kind in BUILT_IN_NAMES:
            raise ValueError(f"settings go with what packages bring: leave them out for {self.kind}")
        installed = tuple(entry.name for entry in entries(Door.DATASETS))
        if self.kind not in (*BUILT_IN_NAMES, *installed):
            raise ValueError(f"unknown kind {self.kind!r}: known are {', '.join((*BUILT_IN_NAMES, *installed))}")
        return self


_Registry = TypeAdapter(
    dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)], RegisteredDataset]
)


class DatasetCatalog:
    """Data sets by name: those of the kinds that need no file, then those of the operator's file, which may replace
    them. One whose package cannot be used is left out, with the reason; the others stay.
    """

    def __init__(self, registered: Mapping[str, RegisteredDataset] | None = None) -> None:
        self._by_name = {EMBEDDED: _EMBEDDED, **_brought_ready(), **(registered or {})}
        self._unusable: dict[str, str] = {}
        for name, dataset in (registered or {}).items():
            problem = _problem(dataset)
            if problem:
                self._unusable[name] = f"data set {name!r} cannot be used: {problem}"
                del self._by_name[name]

    @classmethod
    def from_file(cls, path: Path | None) -> DatasetCatalog:
        """Read the operator's JSON file; None registers what needs no file alone.

        Raises:
            DatasetError: the file cannot be read, or an entry is wrong (named).
        """
        if path is None:
            return cls()
        try:
            return cls(_Registry.validate_python(json.loads(path.read_text())))
        except OSError as error:
            raise DatasetError(f"data set file {path} cannot be read: {error.strerror}") from error
        except (ValidationError, json.JSONDecodeError) as error:
            raise DatasetError(f"data set file {path} is not valid: {error}") from error

    def describe(self, name: str) -> DatasetDescription | None:
        """One data set; None where there is none of that name."""
        found = self._by_name.get(name)
        return None if found is None else _describe(name, found)

    def absence(self, name: str) -> str:
        """Say why there is no data set of that name: its package cannot be used, or nobody registered it."""
        if name in self._unusable:
            return self._unusable[name]
        for problem in surveyed_datasets().problems:
            if problem.name == name:
                return f"data set {problem}"
        known = ", ".join(sorted(self._by_name))
        return f"unknown data set {name!r}: known are {known}{did_you_mean(name, self._by_name)}"

    def all(self) -> Sequence[DatasetDescription]:
        """Every one, by name."""
        return [_describe(name, self._by_name[name]) for name in sorted(self._by_name)]

    def registered(self, name: str) -> RegisteredDataset:
        """How a worker opens it.

        Raises:
            DatasetError: there is none of that name.
        """
        if name not in self._by_name:
            raise DatasetError(self.absence(name))
        return self._by_name[name]


_SHIPPED = {declaration.name: declaration for declaration in BUILT_IN}
_EMBEDDED = RegisteredDataset(
    kind=EMBEDDED, title=_SHIPPED[EMBEDDED].title, num_classes=_SHIPPED[EMBEDDED].num_classes or 0
)


def _brought_ready() -> dict[str, RegisteredDataset]:
    """Data sets that packages bring and that need no settings, each under its own name."""
    ready = {}
    for name, found in surveyed_datasets().found.items():
        facts: Any = found.description
        if facts["is_data_set"]:
            ready[name] = RegisteredDataset(kind=name, title=facts["title"], num_classes=facts["num_classes"])
    return ready


def _problem(dataset: RegisteredDataset) -> str:
    """Why the package of a registered data set cannot be used, or what is wrong with its settings; else empty."""
    if dataset.kind in BUILT_IN_NAMES:
        return ""
    path: dict[str, Any] = {} if dataset.path is None else {"path": dataset.path}
    try:
        return "; ".join(dataset_faults(dataset.kind, {**dataset.settings, **path}))
    except PluginError as error:
        return str(error)


def _describe(name: str, dataset: RegisteredDataset) -> DatasetDescription:
    size, channels = dataset.image_size, dataset.channels
    own_shape = (channels, size, size) if size and channels else None
    if dataset.kind in BUILT_IN_NAMES:
        shipped = _SHIPPED[dataset.kind]
        facts: Any = {"image_shape": shipped.image_shape, "num_train": shipped.num_train, "num_test": shipped.num_test}
        provider = own_provider()
    else:
        found = surveyed_datasets().found[dataset.kind]
        facts, provider = found.description, found.provider
    shape = own_shape or facts["image_shape"]
    num_train, num_validation = facts["num_train"], None
    if num_train is not None:
        num_validation = round(num_train * dataset.validation_fraction)
        num_train -= num_validation
    return DatasetDescription(
        name=name,
        title=dataset.title or name,
        num_classes=dataset.num_classes,
        image_shape=None if shape is None else tuple(shape),
        num_train=num_train,
        num_validation=num_validation,
        num_test=facts["num_test"],
        kind=dataset.kind,
        provider=provider,
    )
