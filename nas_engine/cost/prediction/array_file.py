"""Files of what is served: a header and arrays in numpy's archive, without pickled objects: reading runs no code."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)
"""What reading a damaged file, or a header that lacks something, raises."""


def array_file(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The content of a file; a header is JSON, and no array is called ``header``."""
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(header, sort_keys=True).encode(), dtype=np.uint8)
    np.savez_compressed(buffer, allow_pickle=False, header=text, **arrays)
    return buffer.getvalue()


def read_array_file(content: bytes, schema: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Header and arrays of a file.

    Raises:
        One of `DAMAGE`: it is damaged, or its header has another ``schema``.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        header: dict[str, Any] = json.loads(archive["header"].tobytes())
        if header["schema"] != schema:
            raise ValueError(f"schema {header['schema']!r}: this version reads {schema}")
        return header, {name: archive[name] for name in archive.files if name != "header"}
