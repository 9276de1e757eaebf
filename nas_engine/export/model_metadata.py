"""What an exported model file says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

ARCH_ID_KEY = "hilnas.arch_id"
LATENCY_KEY_KEY = "hilnas.latency_key"
WEIGHTS_KEY = "hilnas.weights"
SPACE_KEY = "hilnas.space"
SEARCH_KEY = "hilnas.search"
VERSION_KEY = "hilnas.version"
PURPOSE_KEY = "hilnas.purpose"
LATENCY_PROBE = "latency probe (random weights)"
"""What a file with random weights is called wherever it is listed: nobody may take it for the model."""


class WeightOrigin(Enum):
    """Where an exported model's weights come from; RANDOM serves latency only, its accuracy means nothing."""

    INHERITED = "inherited"
    RETRAINED = "retrained"
    RANDOM = "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMetadata:
    """What an exported file says about itself (ONNX metadata_props ``hilnas.*``).

    A file to ship also says which version of this product wrote it; one with random weights does not, since equal
    architectures give equal files, whichever version makes them: conversions and canaries are remembered by the hash.

    Attributes:
        arch_id: architecture it was made from.
        latency_key: what its measurements are filed under.
        weights: where the weights come from.
        space: id of the search space; empty in what a server has timed: equal layers have given equal bytes since the
            first release.
        search: id of the search that found the architecture; empty where no search did, and for random weights,
            whose file every search with that architecture shares.
    """

    arch_id: str
    latency_key: str
    weights: WeightOrigin
    space: str = ""
    search: str = ""

    def entries(self) -> dict[str, str]:
        """Keys and values as they stand in the file; what is not known is left out."""
        is_probe = self.weights is WeightOrigin.RANDOM
        known = {
            ARCH_ID_KEY: self.arch_id,
            LATENCY_KEY_KEY: self.latency_key,
            WEIGHTS_KEY: self.weights.value,
            SPACE_KEY: self.space,
            SEARCH_KEY: self.search,
            VERSION_KEY: "" if is_probe else product_version(),
            PURPOSE_KEY: LATENCY_PROBE if is_probe and self.space else "",
        }
        return {key: value for key, value in known.items() if value}


@lru_cache(maxsize=1)
def product_version() -> str:
    """Look up the installed version of this package."""
    try:
        return version("hilnas")
    except PackageNotFoundError:  # run from a checkout
        return "0+unknown"


def provenance_text(metadata: Mapping[str, str]) -> str:
    """Write what a file says about itself for a format with one line of room: ``space=...;arch_id=...;...``."""
    keys = (SPACE_KEY, ARCH_ID_KEY, WEIGHTS_KEY, SEARCH_KEY, VERSION_KEY)
    return ";".join(f"{key.removeprefix('hilnas.')}={metadata.get(key) or '-'}" for key in keys)
