"""The reference pages name everything there is to use."""

from __future__ import annotations

import json
from pathlib import Path

from hilnas.cli.nouns import NOUNS
from server.bootstrap.settings import Settings

_REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
_GOLDEN = Path(__file__).parents[2] / "golden" / "openapi.json"


def test_every_command_and_setting_is_in_the_command_line_reference() -> None:
    page = (_REFERENCE / "cli.md").read_text(encoding="utf-8")
    assert [name for name in NOUNS if f"`hilnas {name}" not in page] == []
    assert [name for name in Settings.model_fields if f"`HILNAS_{name.upper()}`" not in page] == []


def test_every_resource_is_in_the_rest_reference() -> None:
    page = (_REFERENCE / "rest.md").read_text(encoding="utf-8")
    paths = json.loads(_GOLDEN.read_text(encoding="utf-8"))["paths"]
    resources = {path.split("/")[3].partition(":")[0] for path in paths if path.startswith("/api/v1/")}
    assert [name for name in sorted(resources) if f"`{name}" not in page] == []
