"""What is special about an algorithm is asked of its declaration or its settings, never of its class."""

from __future__ import annotations

import re

import pytest

from nas_engine.domain.plugins.declarations import SearchedSpaces
from nas_engine.settings.algorithms import Nsga2Settings
from nas_engine.settings.base import OwnInputs
from nas_engine.settings.densenas import DenseNasSettings
from nas_engine.settings.kinds.algorithms import (
    BUILT_IN,
    BroughtAlgorithmSettings,
    algorithm_faults,
    deriving_settings,
    searched_spaces,
)
from tests.support.paths import ROOT


def test_one_that_derives_says_what_it_needs() -> None:
    table = "0" * 64
    settings = DenseNasSettings(dataset="stripes", batch_size=64, cost_table=table)
    assert deriving_settings(settings) is settings
    assert searched_spaces("densenas") is SearchedSpaces.DENSE
    assert settings.inputs() == OwnInputs(dataset="stripes", batch_size=64, cost_table=table)


def test_one_that_asks_and_is_told_needs_nothing_of_its_own() -> None:
    settings = Nsga2Settings()
    assert deriving_settings(settings) is None
    assert searched_spaces("nsga2") is SearchedSpaces.ANY
    assert settings.inputs() == OwnInputs()
    assert algorithm_faults(settings, ["macs"], shifting=False) == ()


def test_one_that_nobody_brings_is_not_held_to_anything_here() -> None:
    assert searched_spaces("nobody_brings_it") is SearchedSpaces.ANY
    assert deriving_settings(BroughtAlgorithmSettings(kind="nobody_brings_it")) is None


@pytest.mark.parametrize("folder", ["server", "hilnas", "nas_engine/search"])
def test_no_class_of_settings_is_asked_for(folder: str) -> None:
    names = "|".join(one.settings.__name__ for one in BUILT_IN if one.settings is not None)
    asked = re.compile(rf"isinstance\([^)]*\b({names})\b|case ({names})\(")
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for match in asked.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []
