"""Tables of costs on this machine, made ready to be uploaded for searches that pay with them."""

from __future__ import annotations

from pathlib import Path

from nas_engine.cost.cost_table import UNITS, brought_costs, cost_table_document, layout_of
from nas_engine.domain.errors import InvalidMeasurementError, InvalidSpaceError
from nas_engine.domain.json_value import parse_json
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.registry import create_space


def cost_table(path: Path, space_id: str, parameters: str, unit: str, source: str) -> bytes:
    """Read a file in the published layout, or a CSV file, and write it as servers and workers take it.

    Args:
        path: of the file.
        space_id: space that it is of.
        parameters: of the space, a JSON object.
        unit: of the published layout.
        source: where it comes from, for people.

    Raises:
        InvalidSpaceError: the space is unknown, or not densely connected.
        InvalidMeasurementError: the file cannot be read, is no table, or lacks an operator of the space.
    """
    try:
        document = parse_json(parameters)
    except ValueError as error:
        raise InvalidSpaceError(f"parameters of the space are no JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidSpaceError(f"parameters of the space are {parameters}: give a JSON object")
    space = create_space(space_id, document)
    if not isinstance(space, DenseSpace):
        raise InvalidSpaceError(f"cost tables are for densely connected spaces, {space_id!r} is none")
    if unit not in UNITS:
        raise InvalidMeasurementError(f"unit {unit!r}: use {' or '.join(UNITS)}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidMeasurementError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return cost_table_document(space, brought_costs(content, space, unit), source, layout_of(content))
    except InvalidMeasurementError as error:
        raise InvalidMeasurementError(f"{path}: {error}") from error
