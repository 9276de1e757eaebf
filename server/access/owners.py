"""Whose a thing is, for every kind of thing whose owner makes a difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from server.access.permissions import Kind
from server.access.principal import Principal
from server.core.database.transaction import Transaction, UnitOfWork

FindOwner = Callable[[Transaction, str], Principal | None]
"""The owner of the thing with an id, None for nobody; raises NotFoundError where there is no such thing."""


class Owners:
    """Finds owners; concerns bring how theirs are found.

    Args:
        finders: one for each kind with a rule in which ownership makes a difference.
    """

    def __init__(self, uow: UnitOfWork, finders: Mapping[Kind, FindOwner]) -> None:
        self._uow = uow
        self._finders = dict(finders)

    def owner_of(self, kind: Kind, id: str) -> Principal | None:
        """The owner of a thing, None for nobody. Raises NotFoundError."""
        return self._uow.read(lambda tx: self._finders[kind](tx, id))
