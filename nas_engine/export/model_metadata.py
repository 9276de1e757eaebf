"""What an exported model file says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

ARCH_ID_KEY = "hilnas.arch_id"
LATENCY_KEY_KEY = "hilnas.latency_key"
WEIGHTS_KEY = "hilnas.weights"


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
            ARCH_ID_KEY: self.arch_id,
            LATENCY_KEY_KEY: self.latency_key,
            WEIGHTS_KEY: self.weights.value,
        }
