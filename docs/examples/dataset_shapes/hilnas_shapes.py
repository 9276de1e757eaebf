"""A data set that is drawn, not downloaded: squares, discs and stripes at random places, with noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilnas import DatasetDeclaration, ImageArrays, WantedImages

CLASSES = ("square", "disc", "stripes")
SIZE = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapesSettings:
    """Settings of the data set; with the defaults it can be used as it is, under its own name."""

    num_train: int = 600
    num_test: int = 150
    noise: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if not 30 <= self.num_train <= 1_000_000 or not 3 <= self.num_test <= 1_000_000:
            raise ValueError(f"num_train {self.num_train}, num_test {self.num_test}: give 30, 3 or more, to 1,000,000")
        if not 0 <= self.noise <= 1:
            raise ValueError(f"noise is {self.noise}: it must lie between 0 and 1")


def draw(settings: ShapesSettings, wanted: WantedImages) -> ImageArrays:
    """Draw all images; hilnas brings them to the size and channels that are wanted, and parts them."""
    del wanted
    rng = np.random.default_rng(settings.seed)
    y_train, y_test = (np.arange(num) % len(CLASSES) for num in (settings.num_train, settings.num_test))
    x_train, x_test = (np.stack([_image(label, settings.noise, rng) for label in y]) for y in (y_train, y_test))
    return ImageArrays(x_train, y_train, x_test, y_test, CLASSES)


def _image(label: int, noise: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    row, column = rng.integers(8, SIZE - 8, size=2)
    radius = int(rng.integers(4, 8))
    inside = {
        "square": (abs(rows - row) < radius) & (abs(columns - column) < radius),
        "disc": (rows - row) ** 2 + (columns - column) ** 2 < radius**2,
        "stripes": (rows + row) // 3 % 2 == 0,
    }[CLASSES[label]]
    values = inside + noise * rng.standard_normal((SIZE, SIZE))
    return (255 * np.clip(values, 0, 1)).astype(np.uint8)[:, :, None]


SHAPES = DatasetDeclaration(
    name="shapes",
    title="Squares, discs and stripes, 28x28 grey, drawn",
    settings=ShapesSettings,
    implementation="hilnas_shapes:draw",
    num_classes=len(CLASSES),
    image_shape=(1, SIZE, SIZE),
    num_train=600,
    num_test=150,
)
