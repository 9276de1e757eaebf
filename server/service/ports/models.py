"""Port to the check of uploaded models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from nas_engine.domain.environment import Dtype


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


class ModelCheck(Protocol):
    """Looks at a model of unknown origin without ever running it in this process."""

    def check(self, content: bytes) -> ModelFacts:
        """What it holds.

        Raises:
            InvalidModelError: it is none that a board should be given, with the reason.
        """
