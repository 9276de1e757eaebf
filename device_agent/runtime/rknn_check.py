"""A look into a .rknn file without the vendor's library: magic, format version, platform.

Layout found by reading files of rknn-toolkit2 2.5.0: bytes 0-3 `RKNN`, little-endian u64 at offset 8 is the format
version (6); the file ends with a JSON object that starts with `{"connection"` and holds `target_platform`, `version`
and the tensors: `graph` says which of `norm_tensor` are inputs, with NCHW sizes. load_rknn itself accepts any bytes, so
this comes first.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from device_agent.failures import JobFailedError
from nas_engine.domain.job_protocol import FailureType

SUPPORTED_FORMAT = 6
CONVERTER_VERSION = "2.5.0"  # of the toolkit whose files were read; a board's library should be no older
_MAGIC = b"RKNN"
_TRAILER = b'{"connection"'
_HEADER_BYTES = 16


@dataclass(frozen=True, slots=True)
class RknnFacts:
    """Format version, chips the model was built for, the toolkit that built it, and the NCHW shapes of its inputs."""

    format_version: int
    target_platforms: tuple[str, ...]
    toolkit_version: str
    input_shapes: tuple[tuple[int, ...], ...]


def check_rknn(data: bytes, platform: str) -> RknnFacts:
    """What the file says of itself.

    Raises:
        JobFailedError: MODEL_REJECTED; not an .rknn file, another format version, or built for another chip.
    """
    if len(data) < _HEADER_BYTES or data[:4] != _MAGIC:
        raise _rejected("not an .rknn file: it does not begin with RKNN")
    (version,) = struct.unpack_from("<Q", data, 8)
    if version != SUPPORTED_FORMAT:
        raise _rejected(f".rknn format version {version}: this agent takes {SUPPORTED_FORMAT}, convert again")
    document = _trailer(data)
    platforms = document.get("target_platform")
    names = tuple(str(p).lower() for p in platforms) if isinstance(platforms, list) else (str(platforms).lower(),)
    if platform.lower() not in names:
        raise _rejected(f"model is built for {', '.join(names)}, this board is {platform}: convert it for that")
    return RknnFacts(version, names, str(document.get("version", "")), _input_shapes(document))


def is_older(version: str, than: str) -> bool:
    """Whether a dotted version comes before another; only its numbers count."""
    return _numbers(version) < _numbers(than)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _input_shapes(document: Mapping[str, Any]) -> tuple[tuple[int, ...], ...]:
    try:
        sizes = {t["tensor_id"]: tuple(int(d) for d in t["size"]) for t in document["norm_tensor"]}
        shapes = tuple(sizes[e["right_tensor_id"]] for e in document["graph"] if e["left"] == "input")
    except (KeyError, TypeError, ValueError) as error:
        raise _rejected(f"the .rknn file does not describe its inputs: {error!r}") from error
    if not shapes or any(d < 1 for shape in shapes for d in shape):
        raise _rejected(f"the .rknn file has inputs of shape {shapes}")
    return shapes


def _trailer(data: bytes) -> Mapping[str, Any]:
    start = data.rfind(_TRAILER)
    if start < 0:
        raise _rejected("the .rknn file is cut: its description is missing")
    try:
        document, _ = json.JSONDecoder().raw_decode(data[start:].decode("utf-8", errors="replace"))
    except ValueError as error:
        raise _rejected(f"the .rknn file's description cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise _rejected("the .rknn file's description is not an object")
    return document


def _rejected(message: str) -> JobFailedError:
    return JobFailedError(FailureType.MODEL_REJECTED, message)
