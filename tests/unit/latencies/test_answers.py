"""Where what errs least says nothing of a network, the next one answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nas_engine.cost.prediction.served_predictor import ServedEstimates
from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import EngineError
from nas_engine.spaces.registry import create_space
from server.latencies.answer import AnswerKind, LatencyAnswer
from server.latencies.answers import LatencyAsking, _Known
from server.latencies.predictors.predictor import LatencyPredictor, space_key
from server.latencies.question import Network
from tests.unit.latencies.test_estimating import ASKED, HARDWARE, fitted, of_table

SPACE = create_space("spos", {})
NETWORKS = [
    Network(architecture=architecture, arch_id=architecture.arch_id, genotype=genotype)
    for genotype in ((0,) * 20, (1,) * 20)
    for architecture in [SPACE.decode(genotype)]
]


class Shelf:
    """A table that lacks an operator of the second network, or that cannot be read; a predictor that knows both."""

    def __init__(self, *, damaged: bool = False) -> None:
        self._damaged = damaged

    def estimate(self, predictor: LatencyPredictor, genotypes: Sequence[Genotype]) -> ServedEstimates:
        if predictor.table_id is not None and self._damaged:
            raise EngineError("the file is damaged")
        lacks = [predictor.table_id is not None and genotype[0] == 1 for genotype in genotypes]
        values = np.array([np.nan if one else 100.0 for one in lacks])
        return ServedEstimates(values=values, low=values - 5, high=values + 5)


def answered(shelf: Shelf, *predictors: LatencyPredictor) -> tuple[list[LatencyAnswer], dict[str, LatencyPredictor]]:
    known = _Known(
        networks=tuple(NETWORKS),
        by_arch_id={},
        by_key={},
        keys_of={},
        offered=({},),
        current=({"new": 0},),
        registered=frozenset({"rk3588"}),
        hardware=HARDWARE,
        predictors=predictors,
    )
    nothing: Any = None
    asking = LatencyAsking(nothing, nothing, shelf)  # type: ignore[arg-type]  # the part of a shelf that is asked
    answers = [
        LatencyAnswer(
            network=network, device=ASKED, device_index=0, kind=AnswerKind.MEASURE_IT, reason="nobody measured it"
        )
        for network in NETWORKS
    ]
    return asking._estimated(known, answers)


def of_space(predictor: LatencyPredictor) -> LatencyPredictor:
    architecture = NETWORKS[0].architecture
    assert architecture is not None
    return replace(
        predictor,
        parameters=architecture.parameters,
        space_key=space_key(architecture.space_id, architecture.parameters),
    )


TABLE, PREDICTOR = of_space(of_table("table", 0.03)), of_space(fitted("predictor", 0.05))


@pytest.mark.parametrize("damaged", [False, True])
def test_a_predictor_answers_where_a_better_table_cannot(damaged: bool) -> None:
    answers, used = answered(Shelf(damaged=damaged), TABLE, PREDICTOR)
    assert [one.kind for one in answers] == [AnswerKind.ESTIMATED] * 2
    sources = [one.estimate.predictor_id for one in answers if one.estimate is not None]
    assert sources == [PREDICTOR.id if damaged else TABLE.id, PREDICTOR.id]
    assert set(used) == set(sources)
    assert [one.reason for one in answers] == ["", ""]


def test_where_nothing_answers_each_reason_is_said() -> None:
    answers, used = answered(Shelf(), TABLE)
    assert [one.kind for one in answers] == [AnswerKind.ESTIMATED, AnswerKind.MEASURE_IT]
    assert "lacks an operator" in answers[1].reason
    assert set(used) == {TABLE.id}
