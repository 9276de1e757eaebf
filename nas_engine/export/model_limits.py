"""What kind of ONNX models each runtime can be given."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

STANDARD_DOMAINS = ("", "ai.onnx")
"""Both names of ONNX's own operators."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLimits:
    """What kind of models a runtime can be given.

    Attributes:
        name: as a refusal calls it.
        min_opset, max_opset: versions of ONNX's operator set that it takes.
        domains: operator domains that it has.
        takes_functions: whether a model may define functions of its own.
        static_outputs: whether every output needs a shape that is known before it runs.
    """

    name: str
    min_opset: int
    max_opset: int
    domains: frozenset[str]
    takes_functions: bool
    static_outputs: bool


ONNX_RUNTIME = ModelLimits(
    name="ONNX Runtime",
    min_opset=7,
    max_opset=onnx.defs.onnx_opset_version(),
    domains=frozenset((*STANDARD_DOMAINS, "ai.onnx.ml")),
    takes_functions=True,
    static_outputs=False,
)
"""From opset 7, its documented minimum, to what can be checked here; a board with an older version says so itself."""

RKNN = ModelLimits(
    name="the RKNN converter",
    min_opset=9,
    max_opset=19,
    domains=frozenset(STANDARD_DOMAINS),
    takes_functions=False,
    static_outputs=True,
)
"""rknn-toolkit2 2.5.0."""
