"""The check of uploaded models, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from nas_engine.domain.measuring.environment import Dtype
from server.artifacts.files import damaged
from server.core.errors import InvalidModelError, UnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What a model that may be run holds.

    Attributes:
        input_shapes: static, batch included, in the file's order.
        opset: version of its operator set.
        size_bytes: length of the file.
        dtype: arithmetic that its own operators and tensors ask for.
        input_ranges: lowest and highest number of each integer input, as far as the model's constants tell.
        rknn_refusal: why the RKNN converter does not take it; None: it may.
        fixed_shapes: of the inputs that had open axes and were fixed to what was asked for.
    """

    input_shapes: tuple[tuple[int, ...], ...]
    opset: int
    size_bytes: int
    dtype: Dtype = Dtype.FP32
    input_ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    rknn_refusal: str | None = None
    fixed_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedShapes:
    """What the open axes of a model are to be fixed to: its inputs by name; of others the first axis is the batch."""

    batch: int
    shapes: Mapping[str, tuple[int, ...]]


TIMEOUT_S = 90.0
MEMORY_BYTES = 4 * 2**30  # a model of the largest size that is taken, 512 MB, needs less than three
MAX_ANSWER_BYTES = 1 << 20
NUM_AT_ONCE = 2
MAX_WAITING = 16
WAIT_S = 60.0
# The child runs the code of this process, wherever that was imported from, and nothing of the folder it is started in.
_CODE_FOLDER = str(Path(__file__).parents[2])
_CHILD = "import sys; sys.path.insert(0, sys.argv[1]); from server.artifacts.onnx_sandbox import main; sys.exit(main())"


class ModelCheck:
    """Looks at models in child processes of bounded time and memory, few at once. Thread-safe.

    Args:
        timeout_s: longest one check may take.
        memory_bytes: address space of one child.
        num_at_once: children at the same time.
        wait_s: how long a check waits for its turn; at most `MAX_WAITING` do.
    """

    def __init__(
        self,
        timeout_s: float = TIMEOUT_S,
        *,
        memory_bytes: int = MEMORY_BYTES,
        num_at_once: int = NUM_AT_ONCE,
        wait_s: float = WAIT_S,
    ) -> None:
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._num_at_once = num_at_once
        self._wait_s = wait_s
        self._turns = threading.BoundedSemaphore(num_at_once)
        self._places = threading.BoundedSemaphore(num_at_once + MAX_WAITING)

    def check(
        self, source: BinaryIO, sha256: str, wanted: WantedShapes | None = None, into: BinaryIO | None = None
    ) -> ModelFacts:
        """What the model in an open file holds, with its open axes fixed where shapes are wanted of it.

        The child reads it by the file's descriptor, and writes what it fixed by that of another: neither is ever in
        this process.

        Args:
            wanted: shapes for open axes.
            into: an empty file for the model with these shapes; left where it begins. Goes with `wanted`.

        Raises:
            InvalidModelError: it is none that a board should be given.
            ArtifactDamagedError: the file's bytes have another digest.
            UnavailableError: other checks take up every place.
        """
        shapes = None if wanted is None else {"batch": wanted.batch, "shapes": dict(wanted.shapes)}
        given = (sha256, str(self._memory_bytes), str(MAX_ANSWER_BYTES), json.dumps(shapes))
        command = (sys.executable, "-I", "-c", _CHILD, _CODE_FOLDER, *given)
        environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        # An answer goes into a file, which the child's limits bound; read from a pipe, it would be as long as it likes.
        own = nullcontext(into) if into is not None else os.fdopen(os.memfd_create("answer"), "w+b")
        with self._turn(), own as out:
            try:
                done = subprocess.run(
                    command,
                    stdin=source,
                    stdout=out,
                    stderr=subprocess.DEVNULL,
                    timeout=self._timeout_s,
                    env={**environment, "OMP_NUM_THREADS": "1"},
                    cwd="/",
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise InvalidModelError(f"the model could not be checked within {self._timeout_s:g} s") from error
            out.seek(0)
            line = out.readline(MAX_ANSWER_BYTES + 1)
        if done.returncode != 0 or not line.endswith(b"\n"):
            raise InvalidModelError("checking the model ended its process: it is malformed, or far too large")
        answer = json.loads(line)
        if "damaged" in answer:
            raise damaged(sha256, answer["damaged"])
        if "error" in answer:
            raise InvalidModelError(answer["error"])
        found = answer["ok"]
        input_shapes = tuple(tuple(shape) for shape in found["input_shapes"])
        return ModelFacts(
            input_shapes=input_shapes,
            opset=found["opset"],
            size_bytes=found["size_bytes"],
            dtype=Dtype(found["dtype"]),
            input_ranges={name: (low, high) for name, (low, high) in found["input_ranges"].items()},
            rknn_refusal=found["rknn_refusal"],
            fixed_shapes={name: tuple(shape) for name, shape in found["fixed_shapes"].items()},
        )

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise UnavailableError(
                f"{self._num_at_once} models are being checked and {MAX_WAITING} wait: try again later",
                retry_after_s=10,
            )
        try:
            if not self._turns.acquire(timeout=self._wait_s):
                raise UnavailableError(
                    f"the checks of {self._num_at_once} other models took longer than {self._wait_s:g} s: try again "
                    "later",
                    retry_after_s=10,
                )
            try:
                yield
            finally:
                self._turns.release()
        finally:
            self._places.release()
