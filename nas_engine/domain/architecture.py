"""Genotypes (what an algorithm sees) and architectures (what they decode to)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import cast

from nas_engine.domain.json_value import JsonValue, canonical_json

Genotype = tuple[int, ...]
"""One choice index per gene of a search space."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """One network of a search space, canonical: equal networks are equal values.

    Attributes:
        space_id: registered id of the space, e.g. ``spos``.
        parameters: canonical JSON of the space's parameters (num_classes, stem, widths, ...).
        choices: canonical JSON of the space's own description; genes without effect are zeroed.
    """

    space_id: str
    parameters: str
    choices: str

    @classmethod
    def of(cls, space_id: str, parameters: JsonValue, choices: JsonValue) -> Architecture:
        """Build from plain values, bringing both documents into canonical form."""
        return cls(space_id, canonical_json(parameters), canonical_json(choices))

    @property
    def arch_id(self) -> str:
        """sha256 (hex) of the canonical JSON of space id, parameters and choices (design decision)."""
        document = f'{{"choices":{self.choices},"parameters":{self.parameters},"space":{json.dumps(self.space_id)}}}'
        return hashlib.sha256(document.encode()).hexdigest()

    def choices_value(self) -> JsonValue:
        """The choices as plain JSON values."""
        return cast(JsonValue, json.loads(self.choices))
