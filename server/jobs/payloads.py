"""Payloads of jobs, stored as JSON in the job's row; versions only add optional fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import ConfigDict, ValidationError

from nas_engine.domain.json_value import JsonValue
from nas_engine.settings.base import SpecPart
from server.core.errors import InvalidValueError


class Payload(SpecPart):
    """Base of the payloads: frozen; fields that a newer server added are ignored by an older worker."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, protected_namespaces=())

    def to_json(self) -> dict[str, JsonValue]:
        """Write the payload as the document in the job's row."""
        return self.model_dump(mode="json")


P = TypeVar("P", bound=Payload)


def read_payload(kind: type[P], document: Mapping[str, JsonValue]) -> P:
    """Read the typed payload of a job.

    Raises:
        InvalidValueError: the document is not such a payload.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise InvalidValueError(f"payload of the job is not a {kind.__name__}: {error}") from error
