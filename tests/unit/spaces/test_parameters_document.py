"""Parameters of spaces are written alike, whichever kind they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import pytest
from pydantic import BaseModel

from nas_engine.domain.plugins.settings_document import settings_document
from nas_engine.domain.search_space import Gene
from nas_engine.spaces.choice_space import ChoiceSpace


class Kind(Enum):
    SMALL = "small"


@dataclass(frozen=True)
class Inner:
    widths: tuple[int, ...] = (4, 8)


@dataclass(frozen=True)
class AsDataclass:
    num_classes: int = 3
    input_size: int = 8
    input_channels: int = 1
    kind: Kind = Kind.SMALL
    inner: Inner = field(default_factory=Inner)


class InnerModel(BaseModel):
    widths: tuple[int, ...] = (4, 8)


class AsModel(BaseModel):
    num_classes: int = 3
    input_size: int = 8
    input_channels: int = 1
    kind: Kind = Kind.SMALL
    inner: InnerModel = InnerModel()


class OneGene(ChoiceSpace[AsDataclass | AsModel]):
    @property
    def genes(self) -> tuple[Gene, ...]:
        return (Gene("a", ("x",), "a"),)


@pytest.mark.parametrize("settings", [AsDataclass(), AsModel()], ids=["dataclass", "pydantic"])
def test_a_choice_space_takes_either_kind_of_parameters(settings: AsDataclass | AsModel) -> None:
    expected = {"num_classes": 3, "input_size": 8, "input_channels": 1, "kind": "small", "inner": {"widths": [4, 8]}}
    assert OneGene(settings).parameters == expected == settings_document(settings)


def test_no_settings_are_an_empty_document() -> None:
    assert settings_document(None) == {}
