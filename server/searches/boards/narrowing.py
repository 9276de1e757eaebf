"""A search as one of its boards sees it."""

from __future__ import annotations

from dataclasses import replace

from nas_engine.settings.base import ObjectiveSpec, own_metrics
from server.candidates.boards import Board
from server.candidates.search import Search
from server.candidates.spec import SearchSpec
from server.core.database.transaction import Transaction
from server.core.errors import InvalidValueError
from server.fleet.device import HardwareProfile
from server.fleet.store import HardwareStore


def boards_of(tx: Transaction, search: Search, name: str | None) -> tuple[tuple[Board, HardwareProfile], ...]:
    """The boards that a front is for, each with its hardware; none where the search has its own device alone."""
    if not search.spec.boards:
        return ()
    wanted = [one for one in search.spec.measured_boards() if name in (None, one.name)]
    keys = [(one, key) for one in wanted if (key := search.hardware_key_on(one)) is not None]
    return tuple((one, HardwareStore(tx).get_hardware(key)) for one, key in keys)


def on_board(search: Search, name: str) -> Search:
    """A search as one of its boards sees it, with what the reference point has of the objectives that are left.

    Raises:
        InvalidValueError: nothing is measured on a board of this name.
    """
    spec, reference = _spec_on_board(search.spec, name), search.progress.reference_point
    known = dict(zip([one.metric for one in search.spec.objectives], reference or (), strict=False))
    left = tuple(known[one.metric] for one in spec.objectives if one.metric in known)
    point = left if len(left) == len(spec.objectives) else None
    return replace(search, spec=spec, progress=replace(search.progress, reference_point=point))


def _spec_on_board(spec: SearchSpec, name: str) -> SearchSpec:
    """The spec by the latency of one board, and not by those on the others."""
    measured = {board.name: board.metric for board in spec.measured_boards()}
    if name not in measured:
        known = ", ".join(measured) or "none"
        raise InvalidValueError(f"this search measures nothing on a board {name!r}: its boards are {known}")
    others = {metric.name for metric in measured.values()} - {measured[name].name}
    objectives = [one for one in spec.objectives if one.metric not in others]
    if measured[name].name not in {one.metric for one in objectives}:
        with own_metrics([measured[name].name]):
            objectives.append(ObjectiveSpec(metric=measured[name].name))
    constraints = tuple(one for one in spec.constraints if one.metric not in others)
    return spec.model_copy(update={"objectives": tuple(objectives), "constraints": constraints})
