"""RKNN for tests: where the real converter is, and files with the layout of rknn-toolkit2 2.5.0, without weights."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

RKNN_PYTHON = Path(os.environ.get("HILNAS_RKNN_PYTHON") or ROOT / ".venv-rknn/bin/python")
NEEDS_CONVERTER = pytest.mark.skipif(
    not RKNN_PYTHON.is_file(), reason=f"no RKNN converter environment at {RKNN_PYTHON}: make it with `make rknn`"
)


def rknn_file(*, magic: bytes = b"RKNN", version: int = 6, **changes: Any) -> bytes:
    """A model with one NCHW image input; keys of its trailing description can be changed."""
    trailer: dict[str, Any] = {
        "connection": [],
        "graph": [
            {"left": "input", "left_tensor_id": 0, "right": "norm_tensor", "right_tensor_id": 0},
            {"left": "output", "left_tensor_id": 0, "right": "norm_tensor", "right_tensor_id": 1},
        ],
        "norm_tensor": [{"size": [1, 3, 8, 6], "tensor_id": 0}, {"size": [1, 10], "tensor_id": 1}],
        "target_platform": ["rk3588"],
        "version": "2.5.0",
    } | changes
    body = b"\0" * 100
    return magic + b"\0" * 4 + struct.pack("<Q", version) + body + json.dumps(trailer, separators=(",", ":")).encode()
