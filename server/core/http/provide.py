"""What every route module stands on: how ids look in its paths, and how it gets the use cases of its concern: by their
type, from what the composition root put together.

A route module names what it asks for once, `SearchesDep = Annotated[Searches, provided(Searches)]`; there is no object
that knows every concern.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import quote

from fastapi import Depends, FastAPI
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request

from server.core.database.transaction import UnitOfWork
from server.core.http.patience import Patience

T = TypeVar("T")
SLASH_OF_A_NAME = "\ufdd0"  # what `NamesInPaths` puts in its place: no character, Unicode keeps it for such uses


class _IdConvertor(Convertor[str]):
    """``{search_id:id}`` in a route: an id, or the name or number that stands for it. A path with anything else in that
    place matches no route and is a 404; the colon of custom verbs (``/searches/{id}:pause``) never becomes part of it,
    and dots alone climb no path.
    """

    regex = r"(?!\.{1,2}(?:[/:]|$))[^/:\x00-\x1f\x7f]{1,200}"

    def convert(self, value: str) -> str:
        return value.replace(SLASH_OF_A_NAME, "/")

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("id", _IdConvertor())


def path_as_sent(request: Request) -> str:
    """A request's path, still percent-encoded: what a header or another address may hold."""
    raw = request.scope.get("raw_path")
    return raw.partition(b"?")[0].decode("latin-1") if isinstance(raw, bytes) else quote(request.url.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """What the API's composition root decides.

    Attributes:
        version: of this server.
        auth_required: False makes every caller an admin; for loopback only.
        allowed_hosts, allowed_origins: see `HostAndOriginGuard`.
        max_body_bytes: of JSON bodies.
        max_artifact_bytes: of uploaded artifacts.
        patience: with slow clients.
    """

    version: str
    auth_required: bool = True
    allowed_hosts: tuple[str, ...] = ("*",)
    allowed_origins: tuple[str, ...] = ()
    max_body_bytes: int = 1 << 20
    max_artifact_bytes: int = 2 << 30
    patience: Patience = field(default_factory=Patience)


class Provided:
    """The objects of one process that routes may ask for, each under its own class."""

    def __init__(self, *values: object) -> None:
        self._by_type = {type(value): value for value in values}
        if len(self._by_type) != len(values):
            raise TypeError("two objects of one class are provided: a route could not tell which it gets")

    def get(self, kind: type[T]) -> T:
        """The object of this class.

        Raises:
            LookupError: the composition root provides none.
        """
        if kind not in self._by_type:
            raise LookupError(f"no {kind.__name__} is provided: hand one to `Provided` in the composition root")
        return cast(T, self._by_type[kind])


def install_provided(app: FastAPI, provided: Provided) -> None:
    """Let the routes of `app` ask for these objects."""
    app.state.provided = provided


def provided_of(request: Request) -> Provided:
    """What the application of a request was given."""
    return cast(Provided, request.app.state.provided)


def provided(kind: type[Any]) -> Any:
    """The dependency that gives a route the process' object of this class."""

    async def find(request: Request) -> Any:  # async, or FastAPI would send it through its thread pool
        return provided_of(request).get(kind)

    return Depends(find)


UowDep = Annotated[UnitOfWork, provided(UnitOfWork)]
SettingsDep = Annotated[ApiSettings, provided(ApiSettings)]
