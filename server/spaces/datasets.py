"""Data sets by name: the embedded one, and those the operator registers in a file on the server.

Clients name data sets; only the operator's file holds paths. An entry looks like::

    {"flowers": {"kind": "folder", "path": "/data/flowers", "num_classes": 102, "centre_crop": 0.875}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from nas_engine.domain.errors import DatasetError
from nas_engine.settings.field_docs import Documented
from server.spaces.descriptions import DatasetDescription

EMBEDDED: Final = "fashion-mnist-12k"


Kind = Literal["fashion-mnist-12k", "folder", "npz", "cifar10", "fashion-mnist", "mnist"]


class RegisteredDataset(Documented):
    """One data set that workers can open."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    """Format of the files."""

    path: str | None = None
    """File or folder on the worker; absent for the embedded set."""

    title: str = ""
    """For people."""

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

    @model_validator(mode="after")
    def _crops_folders_alone(self) -> Self:
        if self.centre_crop != 1.0 and self.kind != "folder":
            raise ValueError(f"centre_crop goes with folders: leave it out for {self.kind}")
        return self


_Registry = TypeAdapter(
    dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)], RegisteredDataset]
)


_EMBEDDED = RegisteredDataset(kind=EMBEDDED, title="Fashion-MNIST, 12,000 images, 28x28 grey", num_classes=10)


class DatasetCatalog:
    """`DatasetCatalog` over the embedded set and the operator's file."""

    def __init__(self, registered: Mapping[str, RegisteredDataset] | None = None) -> None:
        self._by_name = {EMBEDDED: _EMBEDDED, **(registered or {})}

    @classmethod
    def from_file(cls, path: Path | None) -> DatasetCatalog:
        """Read the operator's JSON file; None registers the embedded set alone.

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

    def all(self) -> Sequence[DatasetDescription]:
        """Every one, by name."""
        return [_describe(name, self._by_name[name]) for name in sorted(self._by_name)]

    def registered(self, name: str) -> RegisteredDataset:
        """How a worker opens it.

        Raises:
            DatasetError: there is none of that name.
        """
        if name not in self._by_name:
            raise DatasetError(f"unknown data set {name!r}: registered are {', '.join(sorted(self._by_name))}")
        return self._by_name[name]


def _describe(name: str, dataset: RegisteredDataset) -> DatasetDescription:
    embedded = dataset.kind == EMBEDDED
    size, channels = dataset.image_size, dataset.channels
    return DatasetDescription(
        name=name,
        title=dataset.title or name,
        num_classes=dataset.num_classes,
        image_shape=(1, 28, 28) if embedded else (channels, size, size) if size and channels else None,
        num_train=8_000 if embedded else None,
        num_validation=2_000 if embedded else None,
        num_test=2_000 if embedded else None,
    )
