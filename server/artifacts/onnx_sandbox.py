"""The child process that looks at an uploaded model: its file is the standard input, the answer one line of JSON.

Parsers of hostile files crash, loop and eat memory; here that ends a process with limits and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys

from nas_engine.domain.errors import ExportError
from nas_engine.export.fixed_shapes import fix_shapes
from nas_engine.export.model_limits import RKNN
from nas_engine.export.onnx_check import MAX_SIZE_BYTES, inspect_onnx, refusal

MAX_CPU_S = 60
MAX_REASON_CHARACTERS = 1000
"""Names in a model may be as long as its file, and a refusal names what it is about."""


def main() -> int:
    """Answer ``{"ok": ...}``, ``{"error": ...}`` or ``{"damaged": sha256}``.

    Arguments: digest, bytes of memory, bytes that the answer may have, and what open axes are fixed to, as JSON:
    ``{"batch": 1, "shapes": {...}}``, or null. A model in which axes were fixed follows the answer's line.
    """
    sha256, *sizes, document_of_shapes = sys.argv[-4:]
    (memory_bytes, answer_bytes), wanted = map(int, sizes), json.loads(document_of_shapes)
    fixed, fixed_shapes = b"", {}
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_S, MAX_CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    # It writes its answer and the model it fixed, and nothing else.
    room = answer_bytes + (0 if wanted is None else 2 * MAX_SIZE_BYTES)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    try:
        content = sys.stdin.buffer.read(MAX_SIZE_BYTES + 1)
        digest = hashlib.sha256(content).hexdigest()
        if len(content) <= MAX_SIZE_BYTES and digest != sha256:
            sys.stdout.write(json.dumps({"damaged": digest}) + "\n")
            return 0
        if wanted is not None:
            model = fix_shapes(content, wanted["batch"], wanted["shapes"])
            fixed, content = (model.data if model.shapes else b""), model.data
            fixed_shapes = {name: list(shape) for name, shape in model.shapes.items()}
        found = inspect_onnx(content)
    except ExportError as error:
        document: dict[str, object] = {"error": _short(str(error))}
    else:
        shapes, for_rknn = [list(spec.shape) for spec in found.inputs], refusal(found, RKNN)
        document = {
            "ok": {
                "input_shapes": shapes,
                "opset": found.opset,
                "size_bytes": found.size_bytes,
                "dtype": found.dtype.value,
                "input_ranges": {name: list(range_) for name, range_ in found.input_ranges.items()},
                "rknn_refusal": None if for_rknn is None else _short(for_rknn),
                "fixed_shapes": fixed_shapes,
            }
        }
    sys.stdout.write(json.dumps(document) + "\n")
    if "ok" in document:
        sys.stdout.flush()
        sys.stdout.buffer.write(fixed)
    return 0


def _short(reason: str) -> str:
    return reason if len(reason) <= MAX_REASON_CHARACTERS else f"{reason[:MAX_REASON_CHARACTERS]}..."
