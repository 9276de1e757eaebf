"""Idempotency keys: the answer is stored in the transaction of the effect, so a repeated request has no second one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from server.service.errors import ConflictError, IdempotencyKeyReusedError
from server.service.ports.unit_of_work import Transaction, UnitOfWork
from server.service.values.token import IdempotencyScope, IdempotentResult, StoredResponse

KEEP = timedelta(hours=72)


class Idempotency:
    """Runs an action once per key."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def run(self, scope: IdempotencyScope, fingerprint: str, action: Callable[[], StoredResponse]) -> IdempotentResult:
        """Do `action` and store its answer, or give the stored one.

        Whatever use cases `action` calls join this transaction: effect and answer are committed together. An action
        that raises stores nothing, and may be repeated with the same key. It may be run again after a serialisation
        failure, so it must have no effect outside the database.

        Args:
            fingerprint: sha256 of the request's content; the same key must come with the same content.

        Raises:
            IdempotencyKeyReusedError: the key was used for other content.
        """

        def work(tx: Transaction) -> IdempotentResult:
            if tx.idempotency.reserve(scope, fingerprint):
                response = action()
                tx.idempotency.complete(scope, response)
                return IdempotentResult(response, replayed=False)
            found = tx.idempotency.find(scope)
            if found is None:
                raise ConflictError(f"idempotency key {scope.key!r} is in use by a request that is still running")
            stored_fingerprint, response = found
            if stored_fingerprint != fingerprint:
                raise IdempotencyKeyReusedError(scope.key)
            return IdempotentResult(response, replayed=True)

        return self._uow.write(work)

    def prune(self) -> int:
        """Forget keys older than 72 hours; returns how many."""
        return self._uow.write(lambda tx: tx.idempotency.prune(tx.now() - KEEP))
