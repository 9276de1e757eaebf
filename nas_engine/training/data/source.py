"""Which data set a run uses, as a value that travels in specs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from nas_engine.domain.errors import DatasetError
from nas_engine.training.data.arrays import embedded, load_npz
from nas_engine.training.data.binary import load_cifar10, load_idx
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.data.folder import load_folder


class SourceKind(Enum):
    """Where images come from."""

    EMBEDDED = "fashion-mnist-12k"
    FOLDER = "folder"
    NPZ = "npz"
    CIFAR10 = "cifar10"
    FASHION_MNIST = "fashion-mnist"
    MNIST = "mnist"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSource:
    """One data set and how it is prepared.

    Attributes:
        kind: format.
        path: file or folder; None for the embedded set.
        image_size: height and width that images are brought to (bicubic); None keeps theirs.
        channels: 1 or 3; None keeps theirs.
        validation_fraction: share of the training images that is held out for the search.
        seed: of that split.
        centre_crop: for folders, share of the shorter side that the centre crop keeps.
    """

    kind: SourceKind = SourceKind.EMBEDDED
    path: str | None = None
    image_size: int | None = None
    channels: int | None = None
    validation_fraction: float = 0.2
    seed: int = 0
    centre_crop: float = 1.0

    def __post_init__(self) -> None:
        if (self.path is None) != (self.kind is SourceKind.EMBEDDED):
            problem = "needs a path" if self.path is None else "is part of the package and takes no path"
            raise DatasetError(f"data set {self.kind.value!r} {problem}")
        if self.channels not in (None, 1, 3):
            raise DatasetError(f"channels is {self.channels}: it must be 1 (grey) or 3 (RGB)")
        if self.image_size is not None and not 1 <= self.image_size <= 4096:
            raise DatasetError(f"image_size is {self.image_size}: it must lie between 1 and 4096 pixels")


def open_dataset(source: DatasetSource) -> ImageDataset:
    """Read, check and split a data set.

    Raises:
        DatasetError: what is wrong, in which file, and what to do.
    """
    path = Path(source.path or ".")
    size, channels = source.image_size, source.channels
    fraction, seed = source.validation_fraction, source.seed
    match source.kind:
        case SourceKind.EMBEDDED:
            return embedded(image_size=size, channels=channels, validation_fraction=fraction, seed=seed)
        case SourceKind.NPZ:
            return load_npz(path, image_size=size, channels=channels, validation_fraction=fraction, seed=seed)
        case SourceKind.CIFAR10:
            return load_cifar10(path, image_size=size, channels=channels, validation_fraction=fraction, seed=seed)
        case SourceKind.FASHION_MNIST | SourceKind.MNIST:
            return load_idx(
                path,
                name=source.kind.value,
                image_size=size,
                channels=channels,
                validation_fraction=fraction,
                seed=seed,
            )
        case SourceKind.FOLDER:
            return load_folder(
                path,
                image_size=size,
                channels=channels,
                validation_fraction=fraction,
                seed=seed,
                centre_crop=source.centre_crop,
            )
