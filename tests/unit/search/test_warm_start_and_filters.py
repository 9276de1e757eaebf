"""Warm start reports what it took; cheap filters judge by the layer graph; the factory makes what the settings say."""

from __future__ import annotations

import pytest

from nas_engine.domain.errors import EngineError
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.metric import Goal
from nas_engine.domain.metrics import LATENCY_US, MACS, PARAMS, TOP1
from nas_engine.domain.objective import Constraint, Objective
from nas_engine.search.algorithm import SearchProblem
from nas_engine.search.cheap_filter import GraphFilter, MetricFilter
from nas_engine.search.factory import create_algorithm
from nas_engine.search.warm_start import warm_start
from nas_engine.settings.algorithms import (
    BinnedEvolutionSettings,
    Nsga2Settings,
    PredictorAssistedSettings,
    RandomSearchSettings,
    ScarletNsga2Settings,
    SposEvolutionSettings,
)
from nas_engine.settings.base import CheckpointedSettings
from nas_engine.spaces.registry import create_space
from tests.support.fakes.space import StagedSpace

OBJECTIVES = (Objective(TOP1, Goal.MAXIMIZE), Objective(MACS, Goal.MINIMIZE))
SPOS = create_space("spos")


def test_a_warm_start_takes_published_models_and_says_why_others_are_not_taken() -> None:
    cheap = GraphFilter(SPOS, [Constraint(MACS, maximum=330e6)])
    algorithm = create_algorithm(Nsga2Settings(), SearchProblem(space=SPOS, objectives=OBJECTIVES, cheap_filter=cheap))
    published = next(iter(SPOS.named))
    report = warm_start(algorithm, SPOS, [published, published, [3] * 20, [0] * 3, "no-such-model"])
    assert len(report.accepted) == 1
    assert algorithm.ask(1) == list(report.accepted)
    reasons = [rejection.reason for rejection in report.rejected]
    assert "already" in reasons[0]
    assert "macs" in reasons[1]
    assert "3 genes" in reasons[2] or "20" in reasons[2]
    assert "no-such-model" in report.rejected[3].document


def test_the_graph_filter_gives_complexity_and_bounds_it() -> None:
    cheap = GraphFilter(SPOS, [Constraint(MACS, maximum=300e6), Constraint(PARAMS, minimum=3e6)])
    check = cheap((2, 1, 0, 1, 2, 0, 2, 0, 2, 0, 2, 3, 0, 0, 0, 0, 3, 2, 3, 3))
    assert check.values[MACS] == 322_918_720
    assert check.values[PARAMS] == 3_558_464
    assert check.violations == {"macs": pytest.approx(22_918_720 / 300e6)}
    assert not check.feasible


def test_unsupported_operators_make_a_genotype_infeasible() -> None:
    def refuses_sevens(graph: LayerGraph) -> list[str]:
        return [node.name for node in graph.nodes if "7" in node.operator]

    cheap = GraphFilter(SPOS, [], refuses_sevens)
    assert cheap((0,) * 20).feasible
    assert "operator_support" in cheap((2,) * 20).violations


def test_what_a_filter_cannot_know_before_evaluation_is_refused() -> None:
    cheap = MetricFilter(lambda _: {MACS: 1.0}, [Constraint(LATENCY_US, maximum=5.0)])
    with pytest.raises(EngineError, match="latency_us cannot be checked before evaluation"):
        cheap((0,))
    with pytest.raises(EngineError, match="no layer graphs"):
        GraphFilter(StagedSpace(), [])((0,) * 12)


@pytest.mark.parametrize(
    "config",
    [
        RandomSearchSettings(),
        Nsga2Settings(),
        ScarletNsga2Settings(),
        BinnedEvolutionSettings(),
        PredictorAssistedSettings(),
    ],
    ids=lambda config: config.kind,
)
def test_the_factory_makes_every_algorithm_and_checkpoints_name_it(config: CheckpointedSettings) -> None:
    algorithm = create_algorithm(config, SearchProblem(space=StagedSpace(), objectives=OBJECTIVES), seed=3)
    assert len(algorithm.ask(2)) == 2
    assert f'"kind":"{config.kind}"' in str(algorithm.state())


def test_objectives_an_algorithm_cannot_serve_are_refused() -> None:
    for config in (SposEvolutionSettings(), BinnedEvolutionSettings(bin_metric="latency_us")):
        with pytest.raises(EngineError, match="objective"):
            create_algorithm(config, SearchProblem(space=StagedSpace(), objectives=OBJECTIVES))
    with pytest.raises(EngineError, match="at least one objective"):
        SearchProblem(space=StagedSpace(), objectives=())
    with pytest.raises(EngineError, match="repeat a metric"):
        SearchProblem(space=StagedSpace(), objectives=(OBJECTIVES[0], OBJECTIVES[0]))
