"""Trainings without a server, ``--local``: the spec that a server would take, trained by this process or torchrun's.

Needs the extra `engine`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hilnas.cli.terminal import make_console
from hilnas.client.errors import SpecFileError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.uncertainty import value_text
from nas_engine.settings.kinds.datasets import SourceKind
from nas_engine.settings.presets import TRAINING_PRESETS

DEVICES = ("auto", "cpu", "cuda")


class _Report(Protocol):
    """What a training tells of itself that is drawn."""

    @property
    def step(self) -> int: ...
    @property
    def num_steps(self) -> int: ...
    @property
    def loss(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """What ``--local`` needs beside a spec.

    Attributes:
        data: folder or file of the data set; None for the one that ships.
        kind: of the data set; None: a folder, or without `data` the one that ships.
        out: file of the trained weights.
        device: `auto`, `cpu` or `cuda`.
    """

    data: Path | None
    kind: SourceKind | None
    out: Path | None
    device: str


def train_locally(spec: dict[str, JsonValue], preset: str | None, options: LocalOptions) -> None:
    """Train here; started again, it goes on from the checkpoint beside the file of the weights.

    Raises:
        SpecFileError: no file is named for the weights, or the spec is none.
        EngineError: of the training.
    """
    from nas_engine.training.command import LocalRun, recipe_of, train_to_the_end

    if options.device not in DEVICES:
        raise SpecFileError(f"unknown device {options.device!r}: use one of {', '.join(DEVICES)}")
    if options.out is None:
        raise SpecFileError("--local writes the trained weights: name their file with --out FILE")
    # A registered data set says how its images are prepared; here the preset does, or the spec's `images`.
    images = {} if preset is None else {"images": TRAINING_PRESETS[preset].images.model_dump(mode="json")}
    try:
        recipe = recipe_of({**images, **spec})
    except ValidationError as error:
        first = error.errors()[0]
        raise SpecFileError(f"/{'/'.join(map(str, first['loc']))}: {first['msg']}") from error
    kind = options.kind or (SourceKind.EMBEDDED if options.data is None else SourceKind.FOLDER)
    data = None if options.data is None else str(options.data)
    run = LocalRun(kind=kind, data=data, out=options.out, device=options.device)
    console = make_console(stderr=True)
    if not console.is_terminal or "WORLD_SIZE" in os.environ:  # under torchrun several processes share the terminal
        train_to_the_end(recipe, run)  # a log gets a line of JSON for every report
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as shown:
        task = shown.add_task("getting ready", total=None)

        def tell(report: _Report) -> None:
            text = f"step, loss {value_text(report.loss, digits=4)}"
            shown.update(task, description=text, completed=report.step, total=report.num_steps)

        train_to_the_end(recipe, replace(run, tell=tell))
