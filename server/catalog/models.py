"""Uploaded models, looked at in a child process with limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from nas_engine.domain.environment import Dtype
from server.service.errors import InvalidModelError
from server.service.ports.models import ModelFacts

TIMEOUT_S = 90.0


class SandboxedModelCheck:
    """`ModelCheck` by `server.catalog.onnx_sandbox`. Thread-safe."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s

    def check(self, content: bytes) -> ModelFacts:
        """What the model holds. Raises InvalidModelError."""
        command = (sys.executable, "-I", "-m", "server.catalog.onnx_sandbox")
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
