"""Long work in a terminal: a spinner or a bar that is redrawn; in a log a line for every change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from hilnas.cli.terminal import make_console

if TYPE_CHECKING:
    from hilnas.client.client import Hilnas
    from server.artifacts.schemas import ArtifactResource

Say = Callable[[str], None]


@contextmanager
def working(console: Console, text: str = "") -> Iterator[Say]:
    """Show that something goes on; what it yields tells how it stands.

    Args:
        text: how it stands at first; empty: nothing is said before the first word.
    """
    said = ""

    def log(now: str) -> None:
        nonlocal said
        if now and now != said:
            console.print(now, markup=False, highlight=False, soft_wrap=True)
        said = now

    if not console.is_terminal:
        log(text)
        yield log
        return
    with console.status(escape(text)) as status:
        yield lambda now: status.update(escape(now))


@contextmanager
def busy(text: str) -> Iterator[None]:
    """Show on standard error that something goes on which tells nothing by itself; a log gets nothing."""
    console = make_console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(escape(text)):
        yield


def uploaded(nas: Hilnas, file: Path, media_type: str, name: str = "") -> ArtifactResource:
    """Upload a file and show how far it went, on standard error.

    Args:
        name: of it for people; empty: the file's.
    """
    with transferring(make_console(stderr=True), name or file.name, file.stat().st_size) as on_bytes:
        return nas.artifacts.upload(file, media_type, on_bytes=on_bytes)


@contextmanager
def transferring(console: Console, name: str, size_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """Show the transfer of a file; what it yields is told how many more bytes went. A log gets nothing.

    Args:
        size_bytes: all there are; None where nobody knows.
    """
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task(escape(name), total=size_bytes)
        yield lambda num_bytes: progress.advance(task, num_bytes)
