"""The service's one error tree; the API, the RPC servicers and the worker map these to their own answers.

ServiceError
  NotFoundError                  there is no such thing
  AmbiguousReferenceError        a name or the beginning of an id means several things
  InvalidSpecError               a spec cannot be run; one violation per place, with the feasible range
  InvalidModelError              an uploaded model is none that a board should be given
  InvalidValueError              a value is non-finite, out of range or malformed
  InvalidStateTransitionError    the resource's state does not allow this
  ConflictError                  something with that identity exists already, or is in use
  PreconditionFailedError        the resource has changed since it was read
  LeaseLostError                 the caller's lease is no longer the current one: stop, and report nothing as done
  NotAuthenticatedError          no valid token
  NotPermittedError              the token's roles, or the device's state, do not permit this
  QuotaExceededError             an owner has, or sends, as much as it may
  IdempotencyKeyReusedError      the key was used for a different request
  ArtifactError
    DigestMismatchError          the bytes do not have the digest they were announced with
    ArtifactTooLargeError        more bytes than allowed
    RangeNotSatisfiableError     the range lies outside the content
    ArtifactDamagedError         the stored bytes are corrupted or lost; storing them again heals
  UnavailableError               the service cannot answer now; trying again later is right
    StorageFullError             a disk of the service is full, or nearly
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class ServiceError(Exception):
    """Base of every error the service raises on purpose."""


class NotFoundError(ServiceError):
    """There is no such thing.

    Attributes:
        kind: what was looked for, e.g. ``search``.
        id: under which id.
    """

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(f"there is no {kind} {id!r}: check its id")
        self.kind = kind
        self.id = id


class AmbiguousReferenceError(ServiceError):
    """A name, or a part of an id, means several things.

    Attributes:
        kind: what was looked for, e.g. ``search``.
        reference: as it was given.
        matches: what it may mean, each by something that means it alone.
    """

    def __init__(self, kind: str, reference: str, matches: Sequence[str]) -> None:
        super().__init__(f"{reference!r} is more than one {kind}: use one of {', '.join(matches)}")
        self.kind = kind
        self.reference = reference
        self.matches = tuple(matches)


def json_pointer(path: tuple[str | int, ...]) -> str:
    """RFC 6901 pointer of a path of member names and indices; the whole document is ``""``."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


@dataclass(frozen=True, slots=True)
class SpecViolation:
    """One thing that is wrong with a spec.

    Attributes:
        pointer: JSON pointer into the spec, e.g. ``/constraints/0/maximum``.
        message: what is wrong and what is allowed.
        feasible_minimum, feasible_maximum: the range a bound may lie in, where there is one.
    """

    pointer: str
    message: str
    feasible_minimum: float | None = None
    feasible_maximum: float | None = None


class InvalidSpecError(ServiceError):
    """A spec cannot be run. Every violation found is in `violations`, not only the first."""

    def __init__(self, violations: Sequence[SpecViolation]) -> None:
        super().__init__("; ".join(f"{v.pointer or '/'}: {v.message}" for v in violations))
        self.violations = tuple(violations)


class InvalidValueError(ServiceError):
    """A value is non-finite, out of range or malformed."""


class InvalidModelError(ServiceError):
    """An uploaded model is none that a board should be given; the message says why."""


class InvalidStateTransitionError(ServiceError):
    """The resource's state does not allow this.

    Attributes:
        kind, id: which resource.
        current: the state it is in.
        wanted: the state that was asked for.
        allowed: the states it could go to.
    """

    def __init__(
        self, kind: str, id: str, current: str, wanted: str, allowed: Sequence[str], instead: str = ""
    ) -> None:
        """See class; `instead` says what to do where there is nothing to change any more."""
        ended = f"it has ended: {instead}" if instead else "it has ended, there is nothing to change any more"
        options = f"allowed: {', '.join(allowed)}" if allowed else ended
        super().__init__(f"{kind} {id} is {current} and cannot become {wanted}; {options}")
        self.kind = kind
        self.id = id
        self.current = current
        self.wanted = wanted
        self.allowed = tuple(allowed)


class ConflictError(ServiceError):
    """Something with that identity exists already, or is in use."""


class PreconditionFailedError(ServiceError):
    """The resource has changed since it was read.

    Attributes:
        version: the version it has now.
    """

    def __init__(self, kind: str, id: str, expected: int, version: int) -> None:
        super().__init__(f"{kind} {id} has version {version}, not {expected}: read it again and decide anew")
        self.version = version


class LeaseLostError(ServiceError):
    """The caller's lease is no longer the current one: it must stop, roll back and ask for other work."""

    def __init__(self, job_id: str, lease_epoch: int) -> None:
        super().__init__(f"lease with fence {lease_epoch} of job {job_id} is lost: stop working on it")
        self.job_id = job_id
        self.lease_epoch = lease_epoch


class NotAuthenticatedError(ServiceError):
    """No valid token was given."""


class NotPermittedError(ServiceError):
    """The token's roles, or the device's state, do not permit this."""


class QuotaExceededError(ServiceError):
    """An owner has, or sends, as much as it may.

    Attributes:
        variable: the setting that holds the limit.
        limit: its value.
        retry_after_s: when it may be tried again; None where waiting changes nothing.
    """

    def __init__(self, what: str, variable: str, limit: int, wanted: int, retry_after_s: int | None) -> None:
        hint = "ask for less" if retry_after_s is None else f"try again in {retry_after_s} s"
        super().__init__(
            f"{what}: at most {limit} are allowed, this would make {wanted}; {hint}, or let an admin raise {variable}"
        )
        self.variable = variable
        self.limit = limit
        self.retry_after_s = retry_after_s


class IdempotencyKeyReusedError(ServiceError):
    """The key was used for a different request before."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"idempotency key {key!r} belongs to a different request: use a fresh key for every new action"
        )


class ArtifactError(ServiceError):
    """Bytes cannot be stored or read."""


class DigestMismatchError(ArtifactError):
    """The bytes do not have the digest they were announced or filed under."""

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"content has sha256 {actual}, not {expected}: send it again")
        self.expected = expected
        self.actual = actual


class ArtifactTooLargeError(ArtifactError):
    """More bytes than allowed."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"content is larger than the limit of {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class RangeNotSatisfiableError(ArtifactError):
    """The range lies outside the content."""

    def __init__(self, offset: int, size_bytes: int) -> None:
        super().__init__(f"offset {offset} lies outside the {size_bytes} bytes of the content")
        self.size_bytes = size_bytes


class ArtifactDamagedError(ArtifactError):
    """Stored bytes are corrupted or lost. Storing the same content again heals."""

    def __init__(self, sha256: str, reason: str) -> None:
        super().__init__(f"artifact {sha256} cannot be read, {reason}: upload the same content again, which heals it")
        self.sha256 = sha256


class UnavailableError(ServiceError):
    """The service cannot answer now; trying again later is right.

    Attributes:
        retry_after_s: when to try again.
    """

    def __init__(self, message: str, *, retry_after_s: int = 2) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StorageFullError(UnavailableError):
    """A disk of the service is full, or below its floor of free space; reading goes on."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message}: free space on the server, then try again", retry_after_s=60)
