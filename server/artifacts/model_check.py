"""The check of uploaded models, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass

from nas_engine.domain.environment import Dtype
from server.core.errors import InvalidModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What a model that may be run holds.

    Attributes:
        input_shapes: static, batch included, in the file's order.
        opset: version of its operator set.
        size_bytes: length of the file.
        dtype: arithmetic that its own operators and tensors ask for.
    """

    input_shapes: tuple[tuple[int, ...], ...]
    opset: int
    size_bytes: int
    dtype: Dtype = Dtype.FP32


TIMEOUT_S = 90.0


class ModelCheck:
    """`ModelCheck` by `server.artifacts.onnx_sandbox`. Thread-safe."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s

    def check(self, content: bytes) -> ModelFacts:
        """What the model holds. Raises InvalidModelError."""
        command = (sys.executable, "-I", "-m", "server.artifacts.onnx_sandbox")
        environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        try:
            done = subprocess.run(
                command,
                input=content,
                capture_output=True,
                timeout=self._timeout_s,
                env={**environment, "OMP_NUM_THREADS": "1"},
                cwd="/",
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise InvalidModelError(f"the model could not be checked within {self._timeout_s:g} s") from error
        if done.returncode != 0:
            raise InvalidModelError("checking the model ended its process: it is malformed, or far too large")
        answer = json.loads(done.stdout)
        if "error" in answer:
            raise InvalidModelError(answer["error"])
        found = answer["ok"]
        shapes = tuple(tuple(shape) for shape in found["input_shapes"])
        return ModelFacts(
            input_shapes=shapes, opset=found["opset"], size_bytes=found["size_bytes"], dtype=Dtype(found["dtype"])
        )
