"""Use cases of changes: noted in the transaction of what they tell of, listed, and forgotten after a year."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from server.access.changes.change import (
    ANONYMOUS,
    SERVER,
    Actor,
    ActorKind,
    Change,
    ChangeAction,
    ChangeQuery,
    SubjectKind,
    kind_of,
)
from server.access.changes.recorded import Recorded
from server.access.changes.store import ChangeStore
from server.access.token import ApiToken
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.ids import IdPrefix, new_id
from server.core.paging import Page, PageRequest

T = TypeVar("T")
MAX_REASON = 500  # characters
_MAX_NAME = 200  # as long as a name may be


@dataclass(frozen=True, slots=True)
class Subject:
    """What a change is made to, as far as its id does not tell.

    Attributes:
        owner_id: None for nobody.
    """

    name: str = ""
    owner_id: str | None = None


DescribeSubject = Callable[[Transaction, str], Subject]
"""Name and owner of the thing with an id; what cannot be said of it is left out."""


class Subjects:
    """Tells name and owner of what is changed; concerns bring how those of theirs are found."""

    def __init__(self, of_kind: Mapping[SubjectKind, DescribeSubject]) -> None:
        self._of_kind = dict(of_kind)

    def describe(self, tx: Transaction, kind: SubjectKind, id: str) -> Subject:
        """Name and owner of a thing, as they are now."""
        find = self._of_kind.get(kind)
        return Subject() if find is None or not id else find(tx, id)


def actor_of(token: ApiToken | None) -> Actor:
    """Who acts with a token; None without authentication."""
    if token is None:
        return ANONYMOUS
    owner = token.owner
    return Actor(
        kind=ActorKind.TOKEN,
        id=owner.id,
        name=owner.name,
        token_id=token.id,
        token_name=token.name,
        roles=token.roles,
    )


def note_change(
    tx: Transaction,
    actor: Actor,
    action: ChangeAction,
    kind: SubjectKind,
    subject_id: str = "",
    *,
    subject: Subject = Subject(),
    members: Sequence[str] = (),
    reason: str = "",
) -> None:
    """Record what is done in this transaction: both are committed, or neither."""
    change = Change(
        id=new_id(IdPrefix.CHANGE),
        actor=actor,
        action=action,
        kind=kind,
        subject_id=subject_id,
        subject_name=subject.name[:_MAX_NAME],
        owner_id=subject.owner_id,
        members=tuple(members),
        reason=reason[:MAX_REASON],
        created_at=tx.now(),
    )
    ChangeStore(tx).add_change(change)


def note_own_change(
    tx: Transaction, action: ChangeAction, kind: SubjectKind, subject_id: str, subject: Subject, reason: str = ""
) -> None:
    """Record what the server does by itself."""
    note_change(tx, SERVER, action, kind, subject_id, subject=subject, reason=reason)


@dataclass(frozen=True, slots=True)
class Recorder(Generic[T]):
    """Runs what a route does in one transaction with the record of it: no change without one, and none of what failed.

    Attributes:
        recorded: what the route does; None where nothing is recorded of it.
        token: that was shown; None without authentication.
        path_id: what the path names, where `recorded` says so.
        members: of the request's body.
    """

    uow: UnitOfWork
    subjects: Subjects
    recorded: Recorded | None
    token: ApiToken | None
    path_id: str = ""
    members: tuple[str, ...] = ()

    def __call__(self, action: Callable[[], T], made: Callable[[T], str | None]) -> T:
        """Do it; use cases that `action` calls join the transaction. It may be run again after a failure to serialise.

        Args:
            made: id of what the path does not name, from what `action` gave; None where nothing was changed.
        """
        recorded = self.recorded
        if recorded is None:
            return action()

        def work(tx: Transaction) -> T:
            done = action()
            id = made(done)
            if id is not None:
                self._note(tx, recorded, self.path_id or id)
            return done

        return self.uow.write(work)

    def _note(self, tx: Transaction, recorded: Recorded, id: str) -> None:
        kind, actor = kind_of(id, recorded.kind), actor_of(self.token)
        subject = self.subjects.describe(tx, kind, id)
        if subject.owner_id is None and not recorded.subject and self.token is not None:
            subject = Subject(subject.name, actor.id)  # what somebody makes is theirs
        note_change(tx, actor, recorded.action, kind, id, subject=subject, members=self.members)


class Changes:
    """What was changed, by whom."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def page(self, query: ChangeQuery, page: PageRequest) -> Page[Change]:
        """List the changes that a query matches, newest first."""
        return self._uow.read(lambda tx: ChangeStore(tx).page_of_changes(query, page))

    def note_datasets(self, names: Iterable[str]) -> None:
        """Record which data sets a server that starts knows and its records did not, and which are gone: the operator
        names them in a file, which no request changes.
        """

        now = frozenset(names)

        def work(tx: Transaction) -> None:
            before = ChangeStore(tx).registered(SubjectKind.DATASET)
            reason = "as the operator's settings say"
            for action, changed in ((ChangeAction.REGISTER, now - before), (ChangeAction.UNREGISTER, before - now)):
                for name in sorted(changed):
                    note_own_change(tx, action, SubjectKind.DATASET, name, Subject(name), reason)

        self._uow.write(work)

    def prune(self, keep: timedelta) -> int:
        """Delete changes older than `keep`, but those that say which data sets there are; returns how many."""
        return self._uow.write(lambda tx: ChangeStore(tx).prune_changes(tx.now() - keep, SubjectKind.DATASET))
