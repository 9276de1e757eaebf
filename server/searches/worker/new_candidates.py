"""What is stored of a candidate when it is asked."""

from __future__ import annotations

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metrics import LATENCY_US
from server.candidates.spec import SearchSpec
from server.searches.steps.step import NewCandidate
from server.spaces.catalog import SpaceCatalog


def describe_candidate(
    spaces: SpaceCatalog, spec: SearchSpec, genotype: Genotype, provenance: JsonValue
) -> NewCandidate:
    """Decode a genotype, with its latency key where a board measures it and what is known without evaluating."""
    record = spaces.decode(spec.space.id, spec.space.parameters, genotype)
    key = None
    if spec.device is not None and LATENCY_US in spec.metrics():
        key = spaces.latency_key(record.architecture, dtype=spec.device.dtype, batch=spec.device.batch)
    known = spaces.known_values(spec.space.id, spec.space.parameters, genotype)
    return NewCandidate(genotype=genotype, record=record, latency_key=key, known=known, provenance=provenance)
