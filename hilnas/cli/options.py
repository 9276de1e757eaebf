"""Options and output that the commands share. Nothing is loaded here that a listing does without."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilnas.cli import STARTED_S
from hilnas.cli.completions import candidates, names_of
from hilnas.client.documents import Documents
from hilnas.client.errors import AuthenticationError, HilnasError, ServerUnreachableError
from hilnas.client.locating import Place, locate

if TYPE_CHECKING:
    from pydantic import BaseModel

    from hilnas.client.client import Hilnas
    from hilnas.client.core.exchange import RetryPolicy

ServerOption = Annotated[
    str | None,
    typer.Option("--server", help="Address of the server [HILNAS_URL, else server.json in HILNAS_HOME]."),
]
TokenOption = Annotated[
    str | None, typer.Option("--token", help="Access token [HILNAS_TOKEN, else admin.token in HILNAS_HOME].")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")]
OwnerOption = Annotated[
    str | None,
    typer.Option("--owner", help="What this principal owns, by its name or id.", autocompletion=names_of("principals")),
]
FindOption = Annotated[
    str | None,
    typer.Option("--find", metavar="WORDS", help="Those in whose name, labels, id and so on all words are."),
]
LabelOption = Annotated[
    list[str] | None, typer.Option("--label", metavar="NAME:VALUE", help="Those that carry all of these labels.")
]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Show it until it ends.")]


CandidateArgument = Annotated[
    str,
    typer.Argument(
        metavar="CANDIDATE",
        help="Id (cand_...), a part of it, or what `hilnas search front` calls it.",
        autocompletion=candidates,
    ),
]


class ExportFormat(StrEnum):
    """What an export is written as."""

    CSV = "csv"
    NDJSON = "ndjson"

    @property
    def media_type(self) -> str:
        """As HTTP names it."""
        return "text/csv" if self is ExportFormat.CSV else "application/x-ndjson"


_LONGEST_S = 1.2  # of a command that reaches no server; loading the SDK counts, on a busy machine it takes all of it
_LEAST_S = 0.1  # for trying again, in any case

FormatOption = Annotated[ExportFormat, typer.Option("--format", help="What to write.")]


@contextmanager
def connect(server: str | None, token: str | None) -> Iterator[Hilnas]:
    """The SDK's client of the server that the options and the environment mean."""
    from hilnas.client.client import Hilnas

    place = locate(server, token)
    with _explained(place), Hilnas(place.url, place.token, found=place.url_from, retry=_patience()) as nas:
        yield nas


@contextmanager
def documents(server: str | None, token: str | None) -> Iterator[Documents]:
    """The same server's answers as JSON, without the models: quicker to load."""
    place = locate(server, token)
    with _explained(place), Documents(place, retry=_patience()) as found:
        yield found


def _patience() -> RetryPolicy:
    """How long a server that has not answered yet is asked again: while commands load, one that starts gets ready."""
    from hilnas.client.core.exchange import RetryPolicy

    left_s = _LONGEST_S - (time.monotonic() - STARTED_S)
    return RetryPolicy(first_s=min(max(left_s, _LEAST_S), RetryPolicy().first_s))


@contextmanager
def _explained(place: Place) -> Iterator[None]:
    """Say, where a server cannot be reached or does not let in, what names another one or another token."""
    try:
        yield
    except ServerUnreachableError as error:
        hint = "is it running ('hilnas server')? --server, HILNAS_URL or HILNAS_HOME name another"
        raise ServerUnreachableError(f"{error}; {hint}") from error
    except AuthenticationError as error:
        if place.token is None:
            raise HilnasError(
                f"{place.url} ({place.url_from}) lets nobody in without a token, and there is {place.token_from}: "
                f"--token, HILNAS_TOKEN or HILNAS_HOME name one [{error.slug}]"
            ) from error
        raise HilnasError(
            f"{place.url} ({place.url_from}) does not accept the token ({place.token_from}): {error.detail}"
            f" [{error.slug}]"
        ) from error


def write_bytes(chunks: Iterable[bytes]) -> None:
    """Write an export to standard output as it comes."""
    for chunk in chunks:
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def print_file(path: Path | str, *, as_json: bool) -> None:
    """Say where a file was written; as JSON with its digest and size too."""
    if not as_json:
        typer.echo(path)
        return
    with Path(path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    print_json({"path": str(path), "sha256": digest, "size_bytes": Path(path).stat().st_size})


def print_json(value: BaseModel | Iterable[BaseModel] | Any) -> None:
    """Print one document, or a list of them; models or what is JSON already."""
    typer.echo(json.dumps(_plain(value), allow_nan=False))


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
