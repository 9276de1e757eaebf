"""Fronts on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from nas_engine.domain.dominance import Dominance
from nas_engine.domain.measuring.environment import DeviceClass
from nas_engine.domain.metrics import column_for
from nas_engine.domain.objective import Objective
from nas_engine.domain.uncertainty import Interval
from server.candidates.boards import Board
from server.core.http.resources import Id, Resource
from server.fleet.device import HardwareProfile
from server.measuring.measurement import measurement_kind
from server.searches.candidate_schemas import CandidateResource, LatencySourceName, SearchedMetric

BoardText = Annotated[str, Field(min_length=1, max_length=40)]
BOARD_WANTED = (
    "Name of the one board of a search with several that is asked about, `device` for the spec's own: by its latency, "
    "and by no other board's. Absent: all of them."
)


class FrontPointResource(Resource):
    """One member of a front."""

    candidate: CandidateResource
    """The candidate at this point."""

    values: list[float]
    """Values of the objectives, one each, in the front's order and units."""

    uncertainties: list[float | None]
    """Standard errors of the values; null where exact or not known."""

    def intervals(self, objectives: Sequence[FrontObjectiveResource]) -> list[Interval]:
        """The values with their 95 % intervals: the candidate's own where the value at this point is its own."""
        known = {one.name: one.interval for one in self.candidate.values}
        return [
            interval
            if (interval := known.get(objective.metric)) is not None and interval.value == value
            else Interval.of_error(value, error)
            for objective, value, error in zip(objectives, self.values, self.uncertainties, strict=True)
        ]


class FrontObjectiveResource(Resource):
    """One axis of a front."""

    metric: SearchedMetric
    """Name of the objective's metric."""

    unit: str
    """Unit of its values; empty for plain numbers."""

    goal: str
    """Direction of improvement: minimize or maximize."""

    column: str = ""
    """Short words for the metric, above columns and at axes."""

    @classmethod
    def of_objective(cls, objective: Objective) -> FrontObjectiveResource:
        """The resource of an objective of a search."""
        return cls.of(objective, objective.metric, column=column_for(objective.metric))


class FrontBoardResource(Resource):
    """One of several boards that a front is for."""

    name: str
    """Name of it in the spec's `boards`; `device` for the one that `device` of the spec describes."""

    metric: SearchedMetric
    """Metric that latencies on it are filed under."""

    device_type: str
    """Type of its devices."""

    latency_kind: LatencySourceName
    """Kind of every latency on it."""

    device_class: DeviceClass
    """Class of the devices that give them."""

    hardware_key: str
    """Hardware key that they are filed under."""

    @classmethod
    def of_board(cls, board: Board, hardware: HardwareProfile) -> FrontBoardResource:
        """The resource of a board of a search."""
        device_class = hardware.key.identity.device_class
        return cls(
            name=board.name,
            metric=board.metric.name,
            device_type=board.device.device_type,
            latency_kind=measurement_kind(device_class).value,
            device_class=device_class,
            hardware_key=hardware.hardware_key,
        )


class FrontResource(Resource):
    """The non-dominated candidates of a search among those with every objective known and every constraint met."""

    search_id: Id
    """Search whose candidates it is taken from."""

    objectives: list[FrontObjectiveResource]
    """Axes of the front, in the order of every list of values."""

    dominance: Dominance
    """How candidates were compared: by their values, or by their 95 % confidence intervals."""

    latency_kind: LatencySourceName | None
    """Kind of every latency of this front, of a front for several boards those of `latency_us`; null where that is no
    objective and no constraint."""

    device_class: DeviceClass | None
    """Class of the devices that gave its latencies; null where latency is not wanted."""

    hardware_key: str | None
    """Hardware key that every latency is filed under; null where latency is not wanted."""

    num_complete: int
    """Number of complete candidates it was taken from."""

    num_feasible: int
    """Number of complete candidates with every objective known and every constraint met."""

    points: list[FrontPointResource]
    """Non-dominated candidates, sorted by the first objective, best first."""

    dominated: list[FrontPointResource]
    """The other complete candidates, feasible or not, where they were asked for."""

    hypervolume: float | None
    """Hypervolume against reference_point, in the objectives' own units; null for an empty front."""

    reference_point: list[float] | None
    """Reference point of the hypervolume, one value per objective; null before the first front."""

    boards: list[FrontBoardResource] = Field(default_factory=list)
    """Of a search with several boards, those that this front is for; empty for a search with its `device` alone."""
