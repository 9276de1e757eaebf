"""Tables of pandas from what the server answers. pandas is imported when one is asked for, and not before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from hilnas.client.errors import MissingPackageError
from server.searches.candidate_schemas import CandidateResource
from server.searches.fronts.schemas import FrontPointResource

if TYPE_CHECKING:
    import pandas


def frame_of(values: Iterable[object]) -> pandas.DataFrame:
    """A row a value; members of members are columns ``a.b``, lists stay lists.

    Raises:
        MissingPackageError: pandas is not installed.
        TypeError: the values are none that rows can be made of.
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "to_pandas needs pandas, which is not installed: pip install 'hilnas[pandas]'"
        ) from error
    return pandas.DataFrame([row_of(value) for value in values])


def row_of(value: object) -> dict[str, Any]:
    """The columns of one value. Of a candidate: its metrics by name, each with the ends of its 95 % interval."""
    if isinstance(value, FrontPointResource):
        return row_of(value.candidate)
    if isinstance(value, CandidateResource):
        return _row_of_candidate(value)
    if isinstance(value, BaseModel):
        return dict(_flat(value.model_dump(), ""))
    raise TypeError(f"no row of a table can be made of {type(value).__name__}: iterate over the values instead")


def _row_of_candidate(candidate: CandidateResource) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": candidate.id,
        "short_id": candidate.short_id,
        "seq": candidate.seq,
        "generation": candidate.generation,
        "state": candidate.state.value,
        "arch_id": candidate.arch_id,
    }
    for one in candidate.values:
        interval = one.interval
        row[one.name] = interval.value
        if interval.low is not None:
            row |= {f"{one.name}_low": interval.low, f"{one.name}_high": interval.high}
    row["flags"] = [] if candidate.latency is None else [flag.value for flag in candidate.latency.flags]
    return row


def _flat(document: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value.value if isinstance(value, Enum) else value
