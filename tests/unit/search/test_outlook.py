"""What candidates are expected to add, and the shares that a plateau is judged by."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.metric import Goal
from nas_engine.domain.metrics import LATENCY_US, TOP1
from nas_engine.domain.objective import Constraint, Objective
from nas_engine.search.algorithm import Observation, SearchProblem
from nas_engine.search.predicting.outlook import MIN_TOLD, Forecast, Outlook
from nas_engine.settings.stopping import PlateauSettings
from nas_engine.spaces.tables.document import parse_table
from tests.support.samples.table_results import table_bytes

SPACE = parse_table(table_bytes(), "toy")
OBJECTIVES = (Objective(TOP1, Goal.MAXIMIZE), Objective(LATENCY_US, Goal.MINIMIZE))
PROBLEM = SearchProblem(space=SPACE, objectives=OBJECTIVES)
EVERY = [tuple(genotype) for genotype in product(range(3), repeat=6)]


def values_of(genotype: Genotype) -> dict[object, float]:
    """The sum of the genes is worth accuracy and costs latency; odd last genes are dominated."""
    total = float(sum(genotype))
    return {TOP1: 0.5 + 0.03 * total - 0.05 * (genotype[5] == 1), LATENCY_US: 100.0 + 20.0 * total + total**2}


def told(genotypes: list[Genotype], noise: float = 0.0) -> list[Observation]:
    rng = np.random.default_rng(0)
    return [
        Observation(
            genotype=genotype,
            objectives={
                m: float(value * (1.0 + noise * rng.normal()))  # type: ignore[misc]
                for m, value in values_of(genotype).items()
            },
            uncertainty={LATENCY_US: noise * 200.0} if noise else {},
        )
        for genotype in genotypes
    ]


def sample(num: int) -> list[Genotype]:
    return [EVERY[i] for i in np.random.default_rng(1).permutation(len(EVERY))[:num]]


def test_nothing_is_said_before_enough_is_known() -> None:
    outlook = Outlook(PROBLEM, told(sample(MIN_TOLD - 1)))
    forecast = outlook.forecast([EVERY[0]])
    assert forecast.gains is None
    assert forecast.unknown_because == f"{MIN_TOLD - 1} results are known, gains are predicted from {MIN_TOLD}"
    assert outlook.last_share(2) is None
    assert outlook.next_share(forecast, 10, {}) is None


def test_nothing_is_said_while_nothing_meets_the_constraints() -> None:
    problem = SearchProblem(space=SPACE, objectives=OBJECTIVES, constraints=(Constraint(TOP1, minimum=0.99),))
    assert "meets the constraints" in Outlook(problem, told(sample(20))).forecast([EVERY[0]]).unknown_because


def test_what_fills_a_gap_is_worth_more_than_what_is_dominated() -> None:
    evaluated = [genotype for genotype in sample(60) if sum(genotype) not in (8, 9)]
    gap, dominated = (2, 2, 2, 2, 1, 0), (0, 0, 1, 1, 0, 1)
    found = Outlook(PROBLEM, told(evaluated)).forecast([dominated, gap]).gains
    assert found is not None
    assert found[1] > 5 * found[0] >= 0.0


def test_a_second_candidate_like_the_first_adds_less_beside_it() -> None:
    evaluated = [genotype for genotype in sample(60) if sum(genotype) not in (8, 9)]
    twins = [(2, 2, 2, 2, 1, 0), (2, 2, 2, 1, 2, 0)]
    outlook = Outlook(PROBLEM, told(evaluated))
    beside, alone = outlook.forecast(twins).gains, outlook.forecast(twins[1:]).gains
    assert beside is not None
    assert alone is not None
    assert beside[1] < alone[0]
    assert outlook.forecast(twins[1:], under_way=twins[:1]).gains == pytest.approx(beside[1:])


def test_the_last_share_is_what_the_hypervolume_lacks_without_them() -> None:
    first = [genotype for genotype in sample(40) if sum(genotype) < 6]
    results = told([*first, (2, 2, 2, 2, 2, 2), (2, 2, 2, 2, 2, 0)])
    reference = (0.4, 400.0)
    outlook = Outlook(PROBLEM, results, reference_point=reference)
    assert outlook.last_share(2) == pytest.approx(_lacking(results, len(first), reference))
    assert outlook.last_share(len(results)) is None


def _lacking(results: list[Observation], num: int, reference: tuple[float, float]) -> float:
    def area(some: list[Observation]) -> float:
        total, height = 0.0, reference[0]
        for one in sorted(some, key=lambda one: (one.objectives[LATENCY_US], -one.objectives[TOP1])):
            if one.objectives[TOP1] > height and one.objectives[LATENCY_US] < reference[1]:
                total += (one.objectives[TOP1] - height) * (reference[1] - one.objectives[LATENCY_US])
                height = one.objectives[TOP1]
        return total

    return 1.0 - area(results[:num]) / area(results)


def test_promises_are_scaled_by_what_came_of_the_last_ones() -> None:
    results = told(sample(40))
    outlook = Outlook(PROBLEM, results)
    added = outlook.last_share(20)
    assert added is not None
    last = [one.genotype for one in results[-20:]]
    forecast = Forecast((0.01, 0.03))
    assert outlook.next_share(forecast, 20, {}) == pytest.approx(0.4)
    promised = dict.fromkeys(last, 0.02)
    assert outlook.next_share(forecast, 20, promised) == pytest.approx(added)
    assert outlook.next_share(forecast, 20, dict.fromkeys(last[1:], 0.02)) == pytest.approx(0.4)


def test_the_same_results_give_the_same_forecast() -> None:
    results = told(sample(30), noise=0.02)
    asked = EVERY[100:110]
    assert Outlook(PROBLEM, results).forecast(asked) == Outlook(PROBLEM, results).forecast(asked)


@pytest.mark.parametrize(
    ("num", "last", "following", "ends"),
    [
        (100, 0.001, 0.002, True),
        (99, 0.001, 0.002, False),
        (100, 0.011, 0.002, False),
        (100, 0.001, 0.011, False),
        (100, None, 0.001, False),
        (100, 0.001, None, False),
    ],
)
def test_a_plateau_needs_both_shares_and_twice_its_candidates(
    num: int, last: float | None, following: float | None, ends: bool
) -> None:
    assert PlateauSettings(share=0.01, num_candidates=50).is_reached(num, last, following) is ends
