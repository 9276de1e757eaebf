"""``hilnas images``: pack labelled images for boards, and look into a pack."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from hilnas.cli.options import JsonOption
from hilnas.cli.runner import new_app
from hilnas.cli.terminal import make_console
from hilnas.cli.working import busy
from nas_engine.domain.errors import DatasetError
from nas_engine.domain.measuring.image_set import ImageSetFile, Layout, Preprocessing, write_image_set
from nas_engine.settings.kinds.datasets import SourceKind

if TYPE_CHECKING:
    from nas_engine.training.data.dataset import ImageDataset, Split

app = new_app("Pack labelled images that boards classify.")
_console = make_console()


class PartName(StrEnum):
    """Part of a data set."""

    TEST = "test"
    VALIDATION = "validation"
    TRAIN = "train"


@app.command()
def pack(
    output: Annotated[Path, typer.Argument(help="File to write.")],
    data: Annotated[Path | None, typer.Option(help="Folder or file of the data set.")] = None,
    format: Annotated[SourceKind, typer.Option(help="Format of the data set.")] = SourceKind.FOLDER,
    part: Annotated[PartName, typer.Option(help="Which images.")] = PartName.TEST,
    num_images: Annotated[int | None, typer.Option(min=1, help="So many, drawn [all].")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of their order.")] = 0,
    image_size: Annotated[int | None, typer.Option(min=1, help="Height and width to resize to [as they are].")] = None,
    channels: Annotated[int | None, typer.Option(help="1 (grey) or 3 (RGB) [as they are].")] = None,
    layout: Annotated[str, typer.Option(help="Axes of the model's input: nchw or nhwc.")] = "nchw",
    mean: Annotated[
        str | None,
        typer.Option(help="Subtracted from pixels of 0 to 255, one or one per channel [of the training set]."),
    ] = None,
    std: Annotated[str | None, typer.Option(help="What that is divided by [of the training set].")] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the image set for people, shown in lists [the data set's].")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write images, labels and the model's preprocessing into one file.

    They are in a drawn order, so the first so many are an even sample. A model that takes pixels as they are wants
    `--mean 0 --std 1`.
    """
    from nas_engine.training.data.source import DatasetSource, open_dataset  # torch

    source = DatasetSource(
        kind=format,
        path=None if data is None else str(data),
        image_size=image_size,
        channels=channels,
    )
    with busy("looking at the data set"):
        dataset = open_dataset(source)
    for notice in dataset.notices:
        typer.echo(notice, err=True)
    split = _split(dataset, part)
    # In a drawn order: folders are sorted by class, and whoever takes the first so many wants an even sample.
    chosen = np.random.default_rng(seed).permutation(len(split)).astype(np.int64)[:num_images]
    normalisation = dataset.normalisation
    preprocessing = Preprocessing(
        mean=_numbers("--mean", mean, [255.0 * value for value in normalisation.mean]),
        std=_numbers("--std", std, [255.0 * value for value in normalisation.std]),
        layout=_layout(layout),
    )
    title = name or f"{dataset.name} {part.value}"
    with busy(f"reading and packing {len(chosen):,} images"):
        content = write_image_set(title, split.load(chosen), split.labels[chosen], preprocessing, dataset.num_classes)
    output.write_bytes(content)
    _print(output, as_json)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="An image set.")],
    as_json: JsonOption = False,
) -> None:
    """Check an image set and say what it holds."""
    _print(file, as_json)


def _split(dataset: ImageDataset, part: PartName) -> Split:
    match part:
        case PartName.TEST:
            return dataset.test
        case PartName.VALIDATION:
            return dataset.validation
        case PartName.TRAIN:
            return dataset.train


def _numbers(option: str, text: str | None, otherwise: list[float]) -> tuple[float, ...]:
    """One number per channel; one alone stands for all.

    Raises:
        DatasetError: it is no number, or not as many as there are channels.
    """
    if text is None:
        return tuple(otherwise)
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise DatasetError(f"{option} {text!r}: write numbers, with commas between them") from error
    if len(found) not in (1, len(otherwise)):
        raise DatasetError(f"{option} {text!r}: the images have {len(otherwise)} channels, give one number or one each")
    return tuple(found * len(otherwise) if len(found) == 1 else found)


def _layout(text: str) -> Layout:
    try:
        return Layout(text.lower())
    except ValueError as error:
        raise DatasetError(f"--layout {text!r}: use nchw or nhwc") from error


def _print(file: Path, as_json: bool) -> None:
    with file.open("rb") as stream:
        images = ImageSetFile(stream)
        stream.seek(0)
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    header = images.header
    if as_json:
        typer.echo(json.dumps({"sha256": sha256, "size_bytes": file.stat().st_size, **header.to_json()}))
        return
    how = header.preprocessing
    _console.print(
        f"{file}: {header.name!r}, {header.num_images} images of {header.width}x{header.height}, {header.channels} "
        f"channels, {header.num_classes} classes"
    )
    mean, std = (" ".join(f"{value:g}" for value in values) for values in (how.mean, how.std))
    _console.print(f"inputs {how.layout.value}: (pixel - {mean}) / {std}; sha256 {sha256}")
