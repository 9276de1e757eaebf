"""Resources: read from values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

import pytest
from pydantic import ValidationError

from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import TOP1
from server.core.http.resources import Resource


class _Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class _Part:
    colours: frozenset[_Colour] = frozenset({_Colour.RED})


@dataclass(frozen=True)
class _Value:
    id: str
    colour: _Colour
    metric: Metric
    part: _Part


class _PartResource(Resource):
    colours: list[Literal["red"]]


class _ValueResource(Resource):
    id: str
    colour: Literal["red"]
    metric: Literal["top1"]
    part: _PartResource
    name: str
    size: int


def test_a_resource_takes_members_first_then_values_in_order() -> None:
    value = _Value("a", _Colour.RED, TOP1, _Part())

    class Spec:
        id, name = "not this one", "b"

    found = _ValueResource.of(value, Spec(), size=3)
    assert found.model_dump_json() == (
        '{"id":"a","colour":"red","metric":"top1","part":{"colours":["red"]},"name":"b","size":3}'
    )
    assert _ValueResource.of(value, Spec(), size=3, id="c").id == "c"
    with pytest.raises(ValidationError, match="size"):
        _ValueResource.of(value, Spec())
