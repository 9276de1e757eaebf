"""What the SDK raises. Every problem document of the server becomes a `ProblemError` of a fitting kind.

HilnasError
  ServerUnreachableError        no connection, or no answer in time; a ConnectionError
  ProtocolError                 an answer that this version cannot read
  SpecFileError                 a spec file that cannot be read
  ServerAddressError            an address or a token that cannot be one; a ValueError
  ProxySettingsError            an environment variable names no proxy that can be used
  InvalidNameError              an id or a name that can name nothing; a ValueError
  MissingPackageError           a package that a method needs is not installed; an ImportError
  WaitTimeoutError              what was waited for has not ended in time; a TimeoutError
  UnsuccessfulError             what was waited for failed or was cancelled; `ended` is its last state
  ProblemError                  the server refused; `slug` says why, `errors` where
    AuthenticationError         401
    PermissionDeniedError       403
    NotFoundError               404; a LookupError
    ConflictError               409, 412
    InvalidRequestError         400, 413, 415, 422; a ValueError
    TooManyRequestsError        429
    ServerFailedError           5xx
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas_engine.domain.json_value import JsonValue


class HilnasError(Exception):
    """Base of every error the SDK raises on purpose."""


class ServerUnreachableError(HilnasError, ConnectionError):
    """No connection to the server, or no answer in time."""


class ProtocolError(HilnasError):
    """The answer is not one that this version of the SDK can read."""


class SpecFileError(HilnasError):
    """A spec file cannot be read: it is missing, or neither JSON nor YAML."""


class ServerAddressError(HilnasError, ValueError):
    """An address that is none, or a token that cannot be one; the message says where it was found."""


class ProxySettingsError(HilnasError):
    """An environment variable names a proxy that cannot be used; the message names it, and how to go without."""


class InvalidNameError(HilnasError, ValueError):
    """An id or a name that can name nothing."""


class MissingPackageError(HilnasError, ImportError):
    """A package that a method needs is not installed; the message says how to install it."""


class WaitTimeoutError(HilnasError, TimeoutError):
    """What was waited for has not ended in time. It goes on."""


class UnsuccessfulError(HilnasError):
    """What was waited for has failed, or was cancelled.

    Attributes:
        ended: its last state.
    """

    def __init__(self, message: str, ended: object) -> None:
        super().__init__(message)
        self.ended = ended


@dataclass(frozen=True, slots=True)
class ProblemPlace:
    """One wrong place of the request.

    Attributes:
        detail: what is wrong there.
        where: JSON pointer or parameter name; empty when the server named none.
        feasible_minimum, feasible_maximum: the range the value may lie in, where one is known.
    """

    detail: str
    where: str = ""
    feasible_minimum: float | None = None
    feasible_maximum: float | None = None


class ProblemError(HilnasError):
    """The server refused or failed, and said why.

    Attributes:
        status: HTTP status.
        slug: last segment of the problem's type; stable, the thing to switch on.
        detail: what was wrong this time.
        errors: the wrong places of the request.
        request_id: what to look for in the server's log.
        members: every member of the document.
    """

    def __init__(self, status: int, document: Mapping[str, JsonValue]) -> None:
        self.status = status
        self.slug = str(document.get("type", "about:blank")).rpartition("/")[2]
        self.detail = str(document.get("detail") or document.get("title") or f"HTTP status {status}")
        errors = document.get("errors")
        listed = errors if isinstance(errors, Sequence) and not isinstance(errors, str) else ()
        self.errors = tuple(_place(error) for error in listed if isinstance(error, Mapping))
        self.request_id = str(document.get("request_id", ""))
        self.members = dict(document)
        super().__init__(self._text())

    def _text(self) -> str:
        places = "".join(f"\n  {place.where or '(request)'}: {place.detail}" for place in self.errors)
        is_repeated = bool(self.errors) and all(place.detail in self.detail for place in self.errors)
        if not is_repeated:
            return f"{self.detail} [{self.slug}]{places}"
        if len(self.errors) == 1:
            return f"{self.detail} [{self.slug}]"
        return f"{self.members.get('title') or 'the request is wrong'} [{self.slug}]{places}"


class AuthenticationError(ProblemError):
    """401: a valid token is needed."""

    def explain(self, text: str) -> None:
        """Say what is wrong in other words than the server's, which speak of requests."""
        self.args = (text,)


class PermissionDeniedError(ProblemError):
    """403: the token's role does not permit this."""


class NotFoundError(ProblemError, LookupError):
    """404: there is no such thing."""


class ConflictError(ProblemError):
    """409 or 412: the resource's state is in the way."""


class InvalidRequestError(ProblemError, ValueError):
    """400, 413, 415 or 422: the request is wrong; see `errors`."""


class TooManyRequestsError(ProblemError):
    """429: wait, then try again."""


class ServerFailedError(ProblemError):
    """5xx: the server failed or cannot answer now."""


def problem_error(status: int, document: Mapping[str, JsonValue]) -> ProblemError:
    """The error for one problem document."""
    kinds: dict[int, type[ProblemError]] = {
        401: AuthenticationError,
        403: PermissionDeniedError,
        404: NotFoundError,
        409: ConflictError,
        412: ConflictError,
        429: TooManyRequestsError,
    }
    fallback = ServerFailedError if status >= 500 else InvalidRequestError
    return kinds.get(status, fallback)(status, document)


def _place(error: Mapping[str, JsonValue]) -> ProblemPlace:
    where = error.get("pointer") or error.get("parameter") or ""
    return ProblemPlace(
        detail=str(error.get("detail", "")),
        where=str(where),
        feasible_minimum=_number(error.get("feasible_minimum")),
        feasible_maximum=_number(error.get("feasible_maximum")),
    )


def _number(value: JsonValue) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
