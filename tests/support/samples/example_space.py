"""The example space of the documentation, imported from its file."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from tests.support.paths import ROOT

FILE = ROOT / "docs" / "examples" / "tiny_space.py"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("tiny_space", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


_MODULE = _load()
TinyParameters = _MODULE.TinyParameters
TinySpace = _MODULE.TinySpace
