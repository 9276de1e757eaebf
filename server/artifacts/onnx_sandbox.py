"""The child process that looks at an uploaded model: reads it from standard input, answers with one line of JSON.

Parsers of hostile files crash, loop and eat memory; here that ends a process with limits and nothing else.
"""

from __future__ import annotations

import json
import resource
import sys

from nas_engine.domain.errors import ExportError
from nas_engine.export.onnx_check import inspect_onnx

MAX_MEMORY_BYTES = 6 * 2**30
MAX_CPU_S = 60


def main() -> int:
    """Answer ``{"ok": ...}`` or ``{"error": ...}``."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_S, MAX_CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it has nothing to write
    try:
        found = inspect_onnx(sys.stdin.buffer.read())
    except ExportError as error:
        document: dict[str, object] = {"error": str(error)}
    else:
        shapes = [list(spec.shape) for spec in found.inputs]
        document = {
            "ok": {
                "input_shapes": shapes,
                "opset": found.opset,
                "size_bytes": found.size_bytes,
                "dtype": found.dtype.value,
            }
        }
    sys.stdout.write(json.dumps(document) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
