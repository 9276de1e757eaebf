"""Names, numbers and parts of ids in place of whole ids: found here, wherever a path, filter or document takes one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from nas_engine.domain.json_value import JsonValue
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.types import Digest
from server.core.errors import AmbiguousReferenceError
from server.core.ids import SHORT_CHARACTERS, is_id, short_id

MAX_LISTED = 5  # matches that an error names
_DIGEST = re.compile("[0-9a-f]{64}")
_MIN_BEGINNING = 4  # characters of an id's beginning or end; of fewer nearly everything matches


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """Things of one kind that are counted within a thing of another kind, as the candidates of a search.

    Attributes:
        within: kind of the thing they are counted in.
        owner_id: column that holds its id.
        number: column that holds the number, 1 for the first.
    """

    within: str
    owner_id: sa.Column[Any]
    number: sa.Column[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stead:
    """Things of another kind, each of which may be named in place of one thing, as a supernet for its newest version.

    Attributes:
        kind: of the thing that is named.
        id: column of its id.
        meant: column beside it, with the id of what is meant.
    """

    kind: str
    id: sa.Column[Any]
    meant: sa.Column[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Referent:
    """Things of one kind, and by what they can be named.

    Attributes:
        noun: of one of them, for people.
        id: column of ids; of digests, where they have no ids.
        names: what gives their names.
        digests: columns of which a beginning names one too.
        numbered: how they are counted, where they are: ``OWNER.NUMBER`` names one.
        stead: what may be named instead.
    """

    noun: str
    id: sa.Column[Any]
    names: tuple[sa.ColumnElement[Any], ...] = ()
    digests: tuple[sa.Column[Any], ...] = ()
    numbered: Numbered | None = None
    stead: Stead | None = None

    def is_whole(self, reference: str) -> bool:
        """Whether a reference is an id in full already, so that nothing is looked up."""
        if self.id.type is Digest:
            return _DIGEST.fullmatch(reference) is not None
        return is_id(reference) and self.stead is None

    def name_in(self, tx: Transaction, id: str) -> str:
        """Read what a thing is called; empty where there is none of that id, or things of this kind have no names."""
        if not self.names:
            return ""
        query = sa.select(self.names[0]).where(self.id == id)
        name: str | None = tx.connection.execute(query).scalar_one_or_none()
        return name or ""

    @classmethod
    def with_spec(cls, noun: str, table: sa.Table) -> Referent:
        """What lies in a table with its spec, which holds its name."""
        name = sa.type_coerce(table.c.spec, sa.JSON)["name"].as_string()
        return cls(noun=noun, id=table.c.id, names=(name,))


class References:
    """Finds the id that a reference means.

    Args:
        referents: by kind.
        parameters: kind of what each parameter of a path or query names.
        members: kinds of what each member of a request's document may name, by its place; the first that fits is meant.
    """

    def __init__(
        self,
        uow: UnitOfWork,
        referents: Mapping[str, Referent],
        parameters: Mapping[str, str],
        members: Mapping[tuple[str, ...], tuple[str, ...]],
    ) -> None:
        self._uow = uow
        self._referents = referents
        self._parameters = parameters
        self._members = members

    def resolved(self, parameter: str, reference: str) -> str:
        """Give the id that the value of a parameter means; the value as it is where it names nothing.

        Raises:
            AmbiguousReferenceError: it means several things.
        """
        kind = self._parameters.get(parameter)
        return reference if kind is None else self._of_kinds((kind,), reference)

    def resolved_document(self, document: JsonValue) -> JsonValue:
        """Give a document with ids in place of what names them; what names nothing stays.

        Raises:
            AmbiguousReferenceError: a reference means several things.
        """
        for place, kinds in self._members.items():
            document = self._resolved_at(document, place, kinds)
        return document

    def _resolved_at(self, document: JsonValue, place: tuple[str, ...], kinds: tuple[str, ...]) -> JsonValue:
        if not place:
            return self._of_kinds(kinds, document) if isinstance(document, str) else document
        name, *rest = place
        if not isinstance(document, Mapping) or name not in document:
            return document
        return {**document, name: self._resolved_at(document[name], tuple(rest), kinds)}

    def _of_kinds(self, kinds: tuple[str, ...], reference: str) -> str:
        if any(self._referents[kind].is_whole(reference) for kind in kinds):
            return reference

        def look(tx: Transaction) -> str:
            meant = (self._meant(tx, self._referents[kind], reference) for kind in kinds)
            return next((id for id in meant if id is not None), reference)

        return self._uow.read(look)

    def _meant(self, tx: Transaction, referent: Referent, reference: str) -> str | None:
        """The id that a reference means; None where it names nothing."""
        exact = [referent.id == reference]
        named = [name == reference for name in referent.names]
        for conditions in (exact, named, self._numbered(tx, referent, reference), _beginnings(referent, reference)):
            if not conditions:
                continue
            query = sa.select(referent.id).where(sa.or_(*conditions)).order_by(referent.id.desc())
            found = tuple(str(id) for (id,) in tx.connection.execute(query.limit(MAX_LISTED + 1)))
            if len(found) == 1:
                return found[0]
            if found:
                raise AmbiguousReferenceError(referent.noun, reference, self._listed(tx, referent, found))
        if (stead := referent.stead) is None:
            return None
        instead = self._meant(tx, self._referents[stead.kind], reference)
        meant = tx.connection.execute(sa.select(stead.meant).where(stead.id == instead)).scalar_one_or_none()
        return None if meant is None else str(meant)

    def _numbered(self, tx: Transaction, referent: Referent, reference: str) -> list[sa.ColumnElement[bool]]:
        owner, dot, rest = reference.rpartition(".")
        if referent.numbered is None or not dot:
            return []
        owner_id = self._meant(tx, self._referents[referent.numbered.within], owner)
        within = referent.numbered.owner_id == owner_id
        if rest.isdecimal() and len(rest) <= SHORT_CHARACTERS:
            return [sa.and_(within, referent.numbered.number == int(rest))]
        return [sa.and_(within, condition) for condition in _beginnings(referent, rest)]

    def _listed(self, tx: Transaction, referent: Referent, ids: tuple[str, ...]) -> tuple[str, ...]:
        """What each of several is called so that it alone is meant."""
        listed = list(ids)
        if referent.numbered is not None:
            columns = (referent.id, referent.numbered.owner_id, referent.numbered.number)
            rows = tx.connection.execute(sa.select(*columns).where(referent.id.in_(ids)))
            called = {id: f"{short_id(owner)}.{number}" for id, owner, number in rows}
            listed = [f"{called[id]} ({id})" for id in ids]
        return (*listed[:MAX_LISTED], *(("and more",) if len(listed) > MAX_LISTED else ()))


def _beginnings(referent: Referent, reference: str) -> list[sa.ColumnElement[bool]]:
    """Conditions of what begins, or ends as short ids do, with the reference."""
    text = reference.lower()
    if len(text) < _MIN_BEGINNING or not text.replace("_", "").isalnum():
        return []
    columns = (referent.id, *referent.digests)
    found: list[sa.ColumnElement[bool]] = [column.startswith(text, autoescape=True) for column in columns]
    if "_" not in text:
        # Without the prefix of its kind; and the end, which is all that differs between ids of one moment.
        found.append(referent.id.like(f"%\\_{text}%", escape="\\"))
        if len(text) >= SHORT_CHARACTERS:
            found.append(referent.id.endswith(text, autoescape=True))
    return found
