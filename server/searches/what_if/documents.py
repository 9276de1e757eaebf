"""What a fit gave, as the artifact that it is kept in."""

from __future__ import annotations

from pydantic import TypeAdapter

from server.searches.what_if.what_if import CarriedOver

MEDIA_TYPE = "application/vnd.hilnas.what-if+json"
_CARRIED = TypeAdapter(CarriedOver)


def write_carried(carried: CarriedOver) -> bytes:
    """Write the file."""
    return _CARRIED.dump_json(carried)


def read_carried(content: bytes) -> CarriedOver:
    """Read the file."""
    return _CARRIED.validate_json(content)
