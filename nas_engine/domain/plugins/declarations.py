"""What an entry point declares, door by door; all of these are names of `hilnas`.

Declarations are light: a name, a line for people, the type of the settings, and where the implementation is. Each says
what its implementation is called with.
"""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING

from nas_engine.domain.plugins.doors import Declaration, PluginError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class SpaceDeclaration(Declaration):
    """A search space: `implementation(settings)` gives a `SearchSpace`, `implementation()` where it has none.

    The settings are the space's parameters, each with a default. API process and worker import it: no torch.
    """


MAX_SCHEMA_CHARACTERS = 16_384
"""Longest JSON schema of a runtime's settings that agents report and servers take."""


class AlgorithmForm(Enum):
    """How an algorithm finds architectures: it asks and is told, or derives them from training."""

    ASK_TELL = "ask_tell"
    DERIVATION = "derivation"


class SearchedSpaces(Enum):
    """Spaces that an algorithm searches: `any`, `graphs` (those with networks: no table of results), `dense` (those
    whose blocks are densely connected, DenseNAS's)."""

    ANY = "any"
    GRAPHS = "graphs"
    DENSE = "dense"


@dataclass(frozen=True, kw_only=True)
class AlgorithmDeclaration(Declaration):
    """A search algorithm: `implementation(problem, settings, seed)` gives a `SearchAlgorithm`; workers import it.

    Attributes:
        max_objectives: how many objectives it serves; None for any number.
        shifts: whether the supernet may be shifted during its searches: it then takes `withdraw` and `revise`.
        form: what others bring asks and is told.
        spaces: which it searches; others are refused where a search is launched.
    """

    max_objectives: int | None = None
    shifts: bool = False
    form: AlgorithmForm = AlgorithmForm.ASK_TELL
    spaces: SearchedSpaces = SearchedSpaces.ANY


@dataclass(frozen=True, kw_only=True)
class RuntimeDeclaration(Declaration):
    """An inference engine of boards: `implementation(settings)` gives a `Runtime`; agents import it.

    Its settings are a dataclass: agents have no pydantic.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.settings is not None and not is_dataclass(self.settings):
            raise PluginError(f"settings of runtime {self.name} are no dataclass: agents have no pydantic")


@dataclass(frozen=True, kw_only=True)
class DatasetDeclaration(Declaration):
    """A kind of data set: `implementation(settings, wanted)` gives `ImageArrays`; workers import it.

    One whose settings all have defaults, and that declares its classes, is a data set of its own name as it stands;
    others, and further ones of the kind, are registered in the operator's file.

    Attributes:
        num_classes: of the images; None where it follows from the settings, and the operator's file says it.
        image_shape: (channels, height, width) as stored; None where images differ.
        num_train, num_test: images in all, validation images among those of training; None where only a worker can
            count them.
    """

    num_classes: int | None = None
    image_shape: tuple[int, int, int] | None = None
    num_train: int | None = None
    num_test: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedImages:
    """What images are to be brought to, and how they are parted. What gives `ImageArrays` need not heed it.

    Attributes:
        name: of the data set, for people.
        image_size: height and width in pixels; None keeps theirs.
        channels: 1 (grey) or 3 (RGB); None keeps theirs.
        validation_fraction: share of the training images that is held out for searches.
        seed: of that split.
        interpolation: filter by which images are brought to their size, `bilinear` or `bicubic`.
    """

    name: str
    image_size: int | None = None
    channels: int | None = None
    validation_fraction: float = 0.2
    seed: int = 0
    interpolation: str = "bicubic"


@dataclass(frozen=True, slots=True, eq=False)
class ImageArrays:
    """Images with labels in memory, as a data set that others bring gives them; N images of (height, width, channels).

    Attributes:
        x_train, x_test: (N, H, W, C) uint8, C 1 or 3.
        y_train, y_test: (N,) class indices.
        classes: class names by index.
    """

    x_train: NDArray[np.uint8]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.uint8]
    y_test: NDArray[np.int64]
    classes: tuple[str, ...]
