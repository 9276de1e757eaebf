"""Idempotency-Key: a repeated POST gives the first one's answer and has no second effect.

The answer is stored in the transaction of the effect (see `server.core.idempotency`), so a crash between the
two cannot happen. Failures are not stored: the same request may be sent again with the same key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Header
from starlette.requests import Request
from starlette.responses import Response

from server.access.auth import Caller, Permitted
from server.access.changes.changes import Recorder
from server.access.changes.recording import PermittedChange
from server.access.limits.orders import ADDS_TO, Orders
from server.core.database.transaction import Transaction
from server.core.errors import InvalidSpecError
from server.core.http.problem_handlers import spec_problem
from server.core.http.problem_types import CONFLICT, IDEMPOTENCY_KEY_INVALID, IDEMPOTENCY_KEY_REUSED
from server.core.http.problems import FieldError, Problem, ProblemType
from server.core.http.provide import provided
from server.core.http.resources import Resource
from server.core.idempotency import Idempotency, IdempotencyScope, StoredResponse

MAX_KEY_LENGTH = 255
ONCE = (IDEMPOTENCY_KEY_INVALID, IDEMPOTENCY_KEY_REUSED, CONFLICT)
"""What a route with an Idempotency-Key may answer besides."""
IdempotencyKey = Annotated[
    str | None,
    # What does not fit is refused by `Once`, with a problem of its own: pydantic would call it an invalid request.
    Header(
        alias="Idempotency-Key",
        json_schema_extra={"minLength": 1, "maxLength": MAX_KEY_LENGTH, "pattern": "^[!-~]+$"},
        description="1 to 255 visible ASCII characters, fresh for every new action. Kept for 72 hours.",
    ),
]


def stored_response(status: int, resource: Resource, headers: Mapping[str, str] | None = None) -> StoredResponse:
    """The answer that an action gives."""
    return StoredResponse(status=status, headers=tuple((headers or {}).items()), body=resource.model_dump_json())


async def _body_digest(request: Request) -> str:
    """sha256 of the body as it came; what a repeated request must equal."""
    return hashlib.sha256(await request.body()).hexdigest()


@dataclass(frozen=True, slots=True)
class Once:
    """Runs a permitted action, at most once per key, holds what it orders to the quotas of its caller, and records it.

    Attributes:
        recorder: of who did it; what is answered again is recorded no second time.
        operation: the route, by the name of its function.
        caller: who acts.
        key: the Idempotency-Key; None runs the action every time.
        fingerprint: of the request's body.
    """

    idempotency: Idempotency
    recorder: Recorder[StoredResponse]
    orders: Orders
    operation: str
    caller: Caller
    method: str
    path: str
    key: str | None
    fingerprint: str

    def __call__(
        self,
        action: Callable[[], StoredResponse],
        *,
        refused_as: ProblemType | None = None,
        made: Callable[[StoredResponse], str | None] | None = None,
    ) -> Response:
        """Answer with what `action` (or its first run) gave.

        Args:
            refused_as: the problem that tells of a spec that `action` refuses; None leaves it to the handlers.
            made: id of what was made or changed, None where nothing was; absent: the answer is it, unless the path
                names it, and was made by this request where it is not 200.

        Raises:
            Problem: idempotency-key-invalid, or `refused_as`.
            IdempotencyKeyReusedError: the key was used with another body.
            QuotaExceededError: its caller has as much of what it orders as it may.
        """
        try:
            return self._answer(action, made or self._made)
        except InvalidSpecError as error:
            if refused_as is None:
                raise
            raise spec_problem(error, refused_as) from error

    def _answer(self, action: Callable[[], StoredResponse], made: Callable[[StoredResponse], str | None]) -> Response:
        if self.key is None:
            return _response(self._ordered(action, made), replayed=False)
        if not 1 <= len(self.key) <= MAX_KEY_LENGTH or not all("!" <= character <= "~" for character in self.key):
            detail = f"Idempotency-Key must be 1 to {MAX_KEY_LENGTH} visible ASCII characters"
            raise Problem(IDEMPOTENCY_KEY_INVALID, detail, errors=(FieldError(detail, parameter="Idempotency-Key"),))
        scope = IdempotencyScope(caller=self.caller.id, method=self.method, path=self.path, key=self.key)
        result = self.idempotency.run(scope, self.fingerprint, lambda: self._ordered(action, made))
        return _response(result.response, replayed=result.replayed)

    def _ordered(
        self, action: Callable[[], StoredResponse], made: Callable[[StoredResponse], str | None]
    ) -> StoredResponse:
        if self.operation not in ADDS_TO:
            return self.recorder(action, made)

        def work(tx: Transaction) -> StoredResponse:
            self.orders.check(tx, self.operation, self.caller.creator.owner)
            return self.recorder(action, made)

        return self.recorder.uow.write(work)

    def _made(self, answer: StoredResponse) -> str | None:
        if self.recorder.path_id:
            return self.recorder.path_id
        return None if answer.status == HTTPStatus.OK else str(json.loads(answer.body)["id"])


def _once(
    idempotency: Annotated[Idempotency, provided(Idempotency)],
    recorder: PermittedChange,
    orders: Annotated[Orders, provided(Orders)],
    request: Request,
    caller: Permitted,
    fingerprint: Annotated[str, Depends(_body_digest)],
    key: IdempotencyKey = None,
) -> Once:
    operation = str(request.scope["route"].name)
    return Once(idempotency, recorder, orders, operation, caller, request.method, request.url.path, key, fingerprint)


PermittedOnce = Annotated[Once, Depends(_once)]
"""For routes that change something: what the policy permits, and at most once per key."""


def _response(stored: StoredResponse, *, replayed: bool) -> Response:
    headers = {**dict(stored.headers), **({"Idempotency-Replayed": "true"} if replayed else {})}
    return Response(stored.body, status_code=stored.status, headers=headers, media_type="application/json")
