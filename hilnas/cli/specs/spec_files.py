"""Spec files: one JSON document, also accepted as YAML."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import cast

import yaml

from hilnas.client.errors import SpecFileError
from nas_engine.domain.json_value import JsonValue


def read_spec_file(path: Path) -> dict[str, JsonValue]:
    """The document in a ``.json``, ``.yaml`` or ``.yml`` file; ``-`` reads standard input.

    Raises:
        SpecFileError: it is missing, malformed, or no mapping.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SpecFileError(f"{path} is no text: a spec is YAML or JSON, in UTF-8") from error
    try:
        # Every JSON document is YAML too, but YAML's messages would only puzzle whoever wrote JSON.
        document = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise SpecFileError(f"{path} is malformed: {error}") from error
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise SpecFileError(f"{path} holds no spec: a mapping of names to values is needed")
    return cast("dict[str, JsonValue]", document)
