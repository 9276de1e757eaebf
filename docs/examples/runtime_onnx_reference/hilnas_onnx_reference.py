"""Declares onnx's reference evaluator as a runtime. Light: the agent reads it before it loads the engine."""

from __future__ import annotations

from dataclasses import dataclass

from hilnas import RuntimeDeclaration


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceSettings:
    """Settings of the evaluator: a dataclass, since boards have no pydantic.

    Attributes:
        verbose: how much it prints, 0 to 4.
    """

    verbose: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.verbose <= 4:
            raise ValueError(f"verbose is {self.verbose}: it must lie between 0 and 4")


RUNTIME = RuntimeDeclaration(
    name="onnx-reference",
    title="onnx's reference evaluator: numpy, slow, and the standard by definition",
    settings=ReferenceSettings,
    implementation="hilnas_onnx_reference_engine:ReferenceRuntime",
)
