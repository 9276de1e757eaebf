"""The golden model: one small network with fixed weights, whose speed tells whether a board is well."""

from __future__ import annotations

import hashlib
from functools import cache

from nas_engine.domain.architecture import Architecture
from nas_engine.domain.json_value import JsonValue
from server.spaces.catalog import SpaceCatalog

GOLDEN_SPACE = "spos"
GOLDEN_PARAMETERS: dict[str, JsonValue] = {"num_classes": 10, "input_size": 96}
GOLDEN_KEY = hashlib.sha256(b"hilnas golden model 1").hexdigest()
"""Latency key its exports are filed under; no network of a search has it."""

_SEED = 0


def golden_architecture() -> Architecture:
    """The first architecture of SPOS at 96 x 96: 54 million MACs, 2.1 million parameters."""
    space = SpaceCatalog().space(GOLDEN_SPACE, GOLDEN_PARAMETERS)
    return space.decode((0,) * len(space.genes))


@cache
def golden_onnx() -> bytes:
    """The golden model as ONNX: the same bytes every time."""
    return SpaceCatalog().export_onnx(golden_architecture(), batch=1, seed=_SEED)
