"""Networks that are trained by themselves, without sharing weights, and the spec that one is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from nas_engine.domain.json_value import JsonValue
from nas_engine.settings.training import NetworkSpec
from server.core.spec_documents import parse_spec
from server.training.training import Training, words_of_training


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkWeights:
    """What the training of a network ended with.

    Attributes:
        id: ``wts_...``; ``supv_...`` of those that the first release trained.
        sha256: safetensors artifact.
        statistics: accuracies, the digest of the ONNX file and the like.
    """

    id: str
    sha256: str
    statistics: JsonValue = None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Network(Training):
    """One architecture, trained by itself as a board runs it.

    Attributes:
        id: ``network_...``; ``sup_...`` of those that the first release made.
        spec: which architecture it is, and how it is trained.
        weights: None before it is trained.
    """

    spec: NetworkSpec
    weights: NetworkWeights | None = None

    @property
    def words(self) -> str:
        """What it is found by besides its state, its architecture among that once it is trained."""
        return words_of_training(self, self.spec, self.arch_id)

    @property
    def arch_id(self) -> str | None:
        """Identity of its architecture; None before it is trained, and where it was trained elsewhere."""
        match self.weights:
            case NetworkWeights(statistics={"arch_id": str(arch_id)}):
                return arch_id
            case _:
                return None

    @property
    def onnx_sha256(self) -> str | None:
        """The ONNX file of its training; None before that is done, and where it was trained elsewhere."""
        match self.weights:
            case NetworkWeights(statistics={"model_sha256": str(sha256)}):
                return sha256
            case _:
                return None


def architecture_place(document: object) -> str:
    """Where a spec's document has its architecture: in itself, or in a strategy, as the first release wrote it."""
    return "/strategy" if isinstance(document, Mapping) and document.get("strategy") is not None else ""


def parse_network_spec(document: object) -> NetworkSpec:
    """A network's spec from a JSON document.

    Raises:
        InvalidSpecError: one violation per place that is wrong.
    """
    return parse_spec(NetworkSpec, document)
