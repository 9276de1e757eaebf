"""The server's choice of an algorithm goes by budget, space, objectives and shifting, and is explained."""

from __future__ import annotations

import pytest

from nas_engine.settings.auto_algorithm import choose_algorithm


@pytest.mark.parametrize(
    ("num_candidates", "num_objectives", "space_size", "is_shifting", "kind", "because"),
    [
        (200, 2, 10**9, False, "predictor_assisted", "200 evaluations in a space of 1e+09 genotypes are few"),
        (500, 3, None, False, "predictor_assisted", "500 evaluations in a space are few"),
        (200, 2, 10**9, True, "nsga2", "shifted"),
        (200, 4, 10**9, False, "nsga2", "4 objectives"),
        (20_000, 2, 10**9, False, "nsga2", "20,000 candidates"),
        (200, 2, 150, False, "random", "150 genotypes"),
    ],
)
def test_the_choice_and_its_reason(
    num_candidates: int, num_objectives: int, space_size: int | None, is_shifting: bool, kind: str, because: str
) -> None:
    chosen = choose_algorithm(num_candidates, num_objectives, space_size, is_shifting=is_shifting)
    assert chosen.settings.kind == kind
    assert because in chosen.because


def test_what_noise_makes_best_is_measured_again_even_where_the_whole_space_is_evaluated() -> None:
    chosen = choose_algorithm(200, 2, 150, is_shifting=False, is_noisy=True)
    assert chosen.settings.model_dump()["kind"] == "predictor_assisted"
    assert "measured once more" in chosen.because


@pytest.mark.parametrize(("num_choices", "kind"), [(400, "predictor_assisted"), (401, "nsga2")])
def test_spaces_wider_than_predictors_were_compared_on_are_left_to_evolution(num_choices: int, kind: str) -> None:
    chosen = choose_algorithm(200, 2, 10**90, is_shifting=False, num_choices=num_choices)
    assert chosen.settings.model_dump()["kind"] == kind
    assert ("401 choices" in chosen.because) == (kind == "nsga2")


def test_a_small_budget_is_not_spent_on_the_initial_sample() -> None:
    sizes = [choose_algorithm(num, 2, None, is_shifting=False).settings.model_dump() for num in (12, 60, 500)]
    assert [size["num_initial"] for size in sizes] == [8, 15, 25]
