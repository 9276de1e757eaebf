"""Trainings without a server, ``--local``: the spec that a server would take, trained by this process or torchrun's.

Needs the extra `engine`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hilnas.cli.terminal import make_console
from hilnas.client.errors import SpecFileError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.uncertainty import value_text
from nas_engine.settings.images import ImagePreparation
from nas_engine.settings.kinds.algorithms import deriving_settings
from nas_engine.settings.kinds.datasets import SourceKind
from nas_engine.settings.presets import TRAINING_PRESETS
from server.core.errors import InvalidSpecError

if TYPE_CHECKING:
    from nas_engine.training.command import LocalRun

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
        cost_table: file of the table that a search which trains by itself pays by.
    """

    data: Path | None
    kind: SourceKind | None
    out: Path | None
    device: str
    cost_table: Path | None = None


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
    kind = options.kind or (SourceKind.EMBEDDED if options.data is None else SourceKind.FOLDER)
    data = None if options.data is None else str(options.data)
    run = LocalRun(kind=kind, data=data, out=options.out, device=options.device)
    if "algorithm" in spec:
        _derive(spec, run, options.cost_table)
        return
    # A registered data set says how its images are prepared; here the preset does, or the spec's `images`.
    images = {} if preset is None else {"images": TRAINING_PRESETS[preset].images.model_dump(mode="json")}
    with _faults_of_spec():
        recipe = recipe_of({**images, **spec})
    with _drawn(run) as drawn:
        train_to_the_end(recipe, drawn)


def _derive(spec: Mapping[str, JsonValue], run: LocalRun, cost_table: Path | None) -> None:
    """Derive what a search with an algorithm that trains by itself derives, as a server would be given it."""
    from nas_engine.search.local_derivation import LocalDerivation, derive_here
    from nas_engine.training.command import leave_the_others
    from server.candidates.spec import parse_search_spec

    with _faults_of_spec():
        images = ImagePreparation.model_validate(spec.get("images", {}))
        search = parse_search_spec({name: value for name, value in spec.items() if name != "images"})
    settings = deriving_settings(search.algorithm)
    if settings is None:
        raise SpecFileError(f"a search with the algorithm {search.algorithm.kind} needs a server: it trains nothing")
    wanted = LocalDerivation(
        space=search.space, settings=settings, seed=search.seed, images=images, cost_table=cost_table
    )
    with _drawn(run) as drawn:
        derive_here(wanted, drawn)
    leave_the_others()


@contextmanager
def _faults_of_spec() -> Iterator[None]:
    """Say the first fault of a document. Raises SpecFileError."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        raise SpecFileError(f"/{'/'.join(map(str, first['loc']))}: {first['msg']}") from error
    except InvalidSpecError as error:
        raise SpecFileError(str(error)) from error


@contextmanager
def _drawn(run: LocalRun) -> Iterator[LocalRun]:
    """The run with its reports drawn on a terminal; a log gets a line of JSON for every report."""
    console = make_console(stderr=True)
    if not console.is_terminal or "WORLD_SIZE" in os.environ:  # under torchrun several processes share the terminal
        yield run
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as shown:
        task = shown.add_task("getting ready", total=None)

        def tell(report: _Report) -> None:
            text = f"step, loss {value_text(report.loss, digits=4)}"
            shown.update(task, description=text, completed=report.step, total=report.num_steps)

        yield replace(run, tell=tell)
