"""What an exported model file says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class WeightOrigin(Enum):
    """Where an exported model's weights come from; RANDOM serves latency only, its accuracy means nothing."""

    INHERITED = "inherited"
    RETRAINED = "retrained"
    RANDOM = "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMetadata:
    """What an exported file says about itself (ONNX metadata_props ``hilnas.*``).

    Attributes:
        arch_id: architecture it was made from.
        latency_key: what its measurements are filed under.
        weights: where the weights come from.
    """

    arch_id: str
    latency_key: str
    weights: WeightOrigin

    def entries(self) -> dict[str, str]:
        """Keys and values as they stand in the file."""
        return {
            "hilnas.arch_id": self.arch_id,
            "hilnas.latency_key": self.latency_key,
            "hilnas.weights": self.weights.value,
        }
