"""Reference vectors that are committed beside the tests (tests/vectors/*.json)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "vectors"


@cache
def vectors(name: str) -> Any:
    """The content of ``tests/vectors/NAME.json``."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def known_answers(space: str) -> list[dict[str, Any]]:
    """Published models of one space (the label used in known_answers.json)."""
    return [model for model in vectors("known_answers")["models"] if model["space"] == space]
