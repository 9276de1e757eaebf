"""What a search remembers from step to step beside the state of its procedure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import SearchStateError
from nas_engine.domain.json_value import JsonValue
from server.searches.steps.step import StepInput

CHECKPOINT_SCHEMA = 1


@dataclass(slots=True, kw_only=True)
class StepCheckpoint:
    """A step's memory; it changes while the step is done, and is committed with it.

    Attributes:
        finalised: whether its front has been sent to be classified on test images.
        offered: where genotypes of a warm start that were not asked yet came from.
        remeasured: candidates that were measured once more before the end.
        shift_state: artifact that supernet shifting goes on from; None before the first shift.
    """

    finalised: bool = False
    offered: dict[Genotype, str] = field(default_factory=dict)
    remeasured: set[str] = field(default_factory=set)
    shift_state: str | None = None

    def document(self, procedure_state: JsonValue) -> JsonValue:
        """What is stored, with the procedure's own state."""
        offered: list[JsonValue] = [[list(genotype), source] for genotype, source in self.offered.items()]
        return {
            "schema_version": CHECKPOINT_SCHEMA,
            "algorithm": procedure_state,
            "finalised": self.finalised,
            "offered": offered,
            "confirmed": [*sorted(self.remeasured)],
            "shift_state": self.shift_state,
        }

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> StepCheckpoint:
        """From what is stored; `offered`, `confirmed` and `shift_state` are absent where an earlier version wrote."""
        return cls(
            finalised=bool(document["finalised"]),
            offered={tuple(genotype): str(source) for genotype, source in document.get("offered", [])},
            remeasured=set(document.get("confirmed", [])),
            shift_state=document.get("shift_state"),
        )


def stored_document(given: StepInput) -> Mapping[str, Any] | None:
    """The checkpoint that a step goes on from; None for the first step.

    Raises:
        SearchStateError: another version of this program wrote it.
    """
    if given.checkpoint is None:
        return None
    document = given.checkpoint.payload
    if not isinstance(document, dict) or document.get("schema_version") != CHECKPOINT_SCHEMA:
        raise SearchStateError(f"checkpoint {given.checkpoint.seq} of {given.search.id} is not of this version")
    return cast(Mapping[str, Any], document)
