"""Training specs of supernets from JSON documents."""

from __future__ import annotations

from typing import Any

from nas_engine.settings.training import TrainingSpec
from server.core.spec_documents import parse_spec


def parse_training_spec(document: object) -> TrainingSpec:
    """A training spec from a JSON document. Raises as `parse_search_spec`."""
    return parse_spec(TrainingSpec, document)


def training_spec_schema() -> dict[str, Any]:
    """JSON Schema of the training spec."""
    return TrainingSpec.model_json_schema()
