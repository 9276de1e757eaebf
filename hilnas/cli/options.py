"""Options and output that the commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

import typer
from pydantic import BaseModel

from hilnas.cli.server_options import JsonOption, ServerOption, TokenOption
from hilnas.client.client import connect
from server.access.schemas import OwnerResource

__all__ = [
    "ExportFormat",
    "FormatOption",
    "JsonOption",
    "LimitOption",
    "OwnerOption",
    "ServerOption",
    "TokenOption",
    "connect",
    "owner_name",
    "print_json",
    "write_bytes",
]

LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")]
OwnerOption = Annotated[str | None, typer.Option("--owner", help="What this principal owns, by its name or id.")]


class ExportFormat(StrEnum):
    """What an export is written as."""

    CSV = "csv"
    NDJSON = "ndjson"

    @property
    def media_type(self) -> str:
        """As HTTP names it."""
        return "text/csv" if self is ExportFormat.CSV else "application/x-ndjson"


FormatOption = Annotated[ExportFormat, typer.Option("--format", help="What to write.")]


def write_bytes(chunks: Iterable[bytes]) -> None:
    """Write an export to standard output as it comes."""
    for chunk in chunks:
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def owner_name(owner: OwnerResource | None) -> str:
    """Name of an owner in a table; a dash for nobody."""
    return "-" if owner is None else owner.name


def print_json(model: BaseModel | Iterable[BaseModel]) -> None:
    """One document, or a list of them."""
    if isinstance(model, BaseModel):
        typer.echo(model.model_dump_json())
    else:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in model]))
