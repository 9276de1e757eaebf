"""Rows as values: what is nested, what is repeated for sorting, and descriptions that have drifted apart."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel

from nas_engine.domain.json_value import JsonValue
from server.core.database.documents import dumped, reader
from server.core.database.rows import Rows
from server.core.database.store import where_given
from server.core.database.types import EnumText, JsonOf


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Shade(Enum):
    DARK = (1, "dark")

    @property
    def label(self) -> str:
        return self.value[1]


@dataclass(frozen=True)
class Size:
    width: int
    height: int | None = None


@dataclass(frozen=True, kw_only=True)
class Owner:
    name: str


@dataclass(frozen=True, kw_only=True)
class Box:
    id: str
    colour: Colour
    size: Size
    lid: Size | None = None
    tags: frozenset[Colour] = frozenset()
    owner: Owner

    @property
    def area(self) -> int:
        return self.size.width * (self.size.height or 1)

    @property
    def owner_name(self) -> str:
        return self.owner.name


def box_table(*more: sa.Column[Any]) -> tuple[sa.Table, sa.Table]:
    metadata = sa.MetaData()
    owners = sa.Table("owners", metadata, sa.Column("name", sa.String(20), primary_key=True))
    boxes = sa.Table(
        "boxes",
        metadata,
        sa.Column("id", sa.String(20), primary_key=True),
        sa.Column("colour", EnumText(Colour), nullable=False),
        sa.Column("size", JsonOf(Size), nullable=False),
        sa.Column("area", sa.Integer, nullable=False),
        sa.Column("lid_width", sa.Integer),
        sa.Column("lid_height", sa.Integer),
        sa.Column("tags", JsonOf(frozenset[Colour]), nullable=False),
        sa.Column("owner_name", sa.ForeignKey("owners.name")),
        *more,
    )
    return boxes, owners


PATHS = {"lid_width": "lid.width", "lid_height": "lid.height"}


def box_rows() -> tuple[Rows[Box], sa.Connection]:
    boxes, owners = box_table()
    connection = sa.create_engine("sqlite://").connect()
    boxes.metadata.create_all(connection)
    connection.execute(sa.insert(owners).values(name="Ada"))
    return Rows(Box, boxes, paths=PATHS, joined={"owner": Rows(Owner, owners)}), connection


RED = Box(id="1", colour=Colour.RED, size=Size(2, 3), owner=Owner(name="Ada"))
BLUE = Box(id="2", colour=Colour.BLUE, size=Size(5), lid=Size(1), tags=frozenset(Colour), owner=Owner(name="Ada"))


def test_values_come_back_as_they_were() -> None:
    rows, connection = box_rows()
    connection.execute(sa.insert(rows.table), [rows.row_of(RED), rows.row_of(BLUE)])
    found = connection.execute(rows.select().order_by(rows.table.c.id))
    assert [rows.value_of(row) for row in found] == [RED, BLUE]


def test_columns_hold_what_they_are_sorted_and_filtered_by() -> None:
    rows, connection = box_rows()
    connection.execute(sa.insert(rows.table), [rows.row_of(RED), rows.row_of(BLUE)])
    c = rows.table.c
    by_area = connection.execute(sa.select(c.id, c.area).order_by(c.area)).all()
    assert [tuple(row) for row in by_area] == [("2", 5), ("1", 6)]
    for wanted, ids in (
        ({c.colour: Colour.RED}, ["1"]),
        ({c.colour: (Colour.RED, Colour.BLUE), c.area: None}, ["1", "2"]),
        ({c.colour: (), c.area: 5}, ["2"]),
    ):
        found = connection.execute(where_given(rows.select().order_by(c.id), wanted))
        assert [row.id for row in found] == ids


def test_texts_are_stored_as_the_members_say() -> None:
    rows, connection = box_rows()
    connection.execute(sa.insert(rows.table).values(rows.row_of(BLUE)))
    raw = connection.execute(sa.text("SELECT colour, size, tags, lid_width FROM boxes")).one()
    assert tuple(raw) == ("blue", '{"width": 5, "height": null}', '["blue", "red"]', 1)


def test_an_enum_column_takes_members_only() -> None:
    rows, connection = box_rows()
    with pytest.raises(sa.exc.StatementError, match="'red' is no Colour"):
        connection.execute(rows.select(rows.table.c.colour == "red"))


def test_an_unknown_text_in_the_database_is_named() -> None:
    rows, connection = box_rows()
    connection.execute(sa.insert(rows.table).values(rows.row_of(RED)))
    connection.execute(sa.text("UPDATE boxes SET colour = 'mauve'"))
    with pytest.raises(ValueError, match="'mauve', which is no Colour"):
        connection.execute(rows.select()).all()


def test_an_enum_can_be_stored_by_another_attribute() -> None:
    table = sa.Table("t", sa.MetaData(), sa.Column("shade", EnumText(Shade, by="label")))
    connection = sa.create_engine("sqlite://").connect()
    table.create(connection)
    connection.execute(sa.insert(table).values(shade=Shade.DARK))
    assert connection.execute(sa.select(table)).scalar_one() is Shade.DARK
    assert connection.execute(sa.text("SELECT shade FROM t")).scalar_one() == "dark"


def test_a_column_without_a_field_is_refused() -> None:
    boxes, owners = box_table(sa.Column("weight", sa.Integer))
    with pytest.raises(TypeError, match=r"boxes.weight: Box has no 'weight'"):
        Rows(Box, boxes, paths=PATHS, joined={"owner": Rows(Owner, owners)})
    Rows(Box, boxes, paths=PATHS, joined={"owner": Rows(Owner, owners)}, beside=("weight",))


def test_a_field_without_a_column_is_refused() -> None:
    boxes, _ = box_table()
    with pytest.raises(TypeError, match=r"Box.owner: no column holds it"):
        Rows(Box, boxes, paths=PATHS)


def test_a_path_of_a_column_that_is_not_there_is_refused() -> None:
    boxes, owners = box_table()
    with pytest.raises(TypeError, match=r"no columns \['lid_depth'\]"):
        Rows(Box, boxes, paths={**PATHS, "lid_depth": "lid.depth"}, joined={"owner": Rows(Owner, owners)})


def test_pydantic_models_are_values_too() -> None:
    class Point(BaseModel, frozen=True):
        x: int
        y: int = 0

    table = sa.Table("points", sa.MetaData(), sa.Column("x", sa.Integer), sa.Column("y", sa.Integer))
    rows = Rows(Point, table)
    connection = sa.create_engine("sqlite://").connect()
    table.create(connection)
    connection.execute(sa.insert(table).values(rows.row_of(Point(x=3))))
    assert rows.value_of(connection.execute(rows.select()).one()) == Point(x=3)


@dataclass(frozen=True)
class Parcel:
    boxes: tuple[Size, ...]
    colour: Colour | None = None
    note: JsonValue = None


class TestDocuments:
    def test_documents_follow_the_fields(self) -> None:
        parcel = Parcel((Size(1, 2),), Colour.RED, {"fragile": [True, None]})
        document = {
            "boxes": [{"width": 1, "height": 2}],
            "colour": "red",
            "note": {"fragile": [True, None]},
        }
        assert dumped(parcel) == document
        assert reader(Parcel)(document) == parcel

    def test_what_an_old_document_lacks_has_its_default_and_what_it_has_besides_is_left(self) -> None:
        assert reader(Parcel)({"boxes": [{"width": 1}], "weight_g": 3}) == Parcel((Size(1),))

    def test_tuples_of_different_items_keep_their_places(self) -> None:
        assert reader(tuple[str, Colour])(["a", "blue"]) == ("a", Colour.BLUE)
        with pytest.raises(ValueError, match="zip"):
            reader(tuple[str, Colour])(["a"])
