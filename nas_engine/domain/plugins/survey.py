"""What the installed packages bring for servers and workers: looked at once, in one process that is not this one.

Examiners stand above the domain: they are named here, and imported by that process alone. Agents look at runtimes
themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from nas_engine.domain.metric import MetricDeclaration
from nas_engine.domain.plugins.declarations import AlgorithmDeclaration, DatasetDeclaration, SpaceDeclaration
from nas_engine.domain.plugins.door_survey import Inspection, Survey, survey
from nas_engine.domain.plugins.doors import Door, DoorProblem, entries

INSPECTIONS = (
    Inspection(door=Door.SPACES, kind=SpaceDeclaration, examiner="nas_engine.spaces.registry:examine_space"),
    Inspection(
        door=Door.ALGORITHMS,
        kind=AlgorithmDeclaration,
        examiner="nas_engine.settings.kinds.algorithms:describe_algorithm",
    ),
    Inspection(
        door=Door.DATASETS, kind=DatasetDeclaration, examiner="nas_engine.settings.kinds.datasets:describe_dataset"
    ),
    Inspection(door=Door.METRICS, kind=MetricDeclaration, examiner="nas_engine.settings.kinds.metrics:describe_metric"),
)


@cache
def surveyed() -> dict[Door, Survey]:
    """Look at every door; the answers are kept for as long as this process lives."""
    return survey(INSPECTIONS)


def surveyed_door(door: Door, shipped: Sequence[str]) -> Survey:
    """Return what one door's packages bring, without those that take the name of what ships with hilnas."""
    looked_at = surveyed()[door]
    taken = [entry for entry in entries(door) if entry.name in shipped]
    problems: list[DoorProblem] = [problem for problem in looked_at.problems if problem.name not in shipped]
    problems += [entry.problem("hilnas itself has one of that name: choose another") for entry in taken]
    found = {name: one for name, one in looked_at.found.items() if name not in shipped}
    return Survey(door, found, tuple(problems))
