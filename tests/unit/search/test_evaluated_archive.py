"""The archive: every result, its front, its noise-aware front, its hypervolume."""

from __future__ import annotations

import pytest

from nas_engine.domain.errors import SearchStateError
from nas_engine.domain.metric import Goal
from nas_engine.domain.metrics import LATENCY_US, TOP1
from nas_engine.domain.objective import Constraint, Objective
from nas_engine.search.algorithm import Observation, SearchProblem
from nas_engine.search.archive import EvaluatedArchive
from nas_engine.search.pareto import HypervolumeReference
from tests.support.fakes.space import StagedSpace

PROBLEM = SearchProblem(
    space=StagedSpace(num_stages=1),
    objectives=(Objective(TOP1, Goal.MAXIMIZE), Objective(LATENCY_US, Goal.MINIMIZE)),
    constraints=(Constraint(TOP1, minimum=0.5),),
)


def result(index: int, top1: float, latency_us: float, error_us: float = 0.0) -> Observation:
    return Observation(
        genotype=(index, 0, 0, 0),
        objectives={TOP1: top1, LATENCY_US: latency_us},
        uncertainty={LATENCY_US: error_us},
    )


def filled() -> EvaluatedArchive:
    archive = EvaluatedArchive(PROBLEM)
    for observation in (
        result(0, 0.8, 100.0, 5.0),
        result(1, 0.8, 104.0, 5.0),
        result(2, 0.7, 200.0, 5.0),
        result(3, 0.4, 10.0),
    ):
        archive.add(observation)
    return archive


def test_the_front_holds_feasible_results_only() -> None:
    assert [observation.genotype[0] for observation in filled().front()] == [0]


def test_the_confident_front_keeps_what_noise_could_have_hidden() -> None:
    assert [observation.genotype[0] for observation in filled().confident_front()] == [0, 1]
    assert [observation.genotype[0] for observation in filled().confident_front(z=0.0)] == [0]


def test_a_second_result_of_a_genotype_replaces_the_first_in_place() -> None:
    archive = filled()
    version = archive.version
    archive.add(result(0, 0.6, 300.0))
    assert [observation.genotype[0] for observation in archive.results] == [0, 1, 2, 3]
    assert [observation.genotype[0] for observation in archive.front()] == [1]
    assert archive.version > version


def test_hypervolume_needs_a_frame_of_the_searchs_objectives() -> None:
    frame = HypervolumeReference((-1.0, 0.0), (0.0, 1000.0))
    assert filled().hypervolume(frame) == pytest.approx((0.8 + 0.1) * (1.1 - 0.1))
    assert EvaluatedArchive(PROBLEM).hypervolume(frame) == 0.0
    with pytest.raises(SearchStateError, match="has 1 objectives, the search 2"):
        filled().hypervolume(HypervolumeReference((0.0,), (1.0,)))
