"""Options of trainings without a server, the same of supernets and networks."""

from pathlib import Path
from typing import Annotated

import typer

from nas_engine.settings.kinds.datasets import SourceKind

LocalOption = Annotated[
    bool,
    typer.Option("--local", help="Train here without a server, resumably; under torchrun in all of its processes."),
]
DataOption = Annotated[Path | None, typer.Option("--data", help="With --local: folder or file of the data set.")]
FormatOption = Annotated[
    SourceKind | None, typer.Option("--format", help="With --local: kind of the data set [folder].")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="With --local: file of the trained weights, or of derived networks.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="With --local: auto, cpu or cuda.")]
