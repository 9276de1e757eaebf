"""The algorithm that a search takes where its spec names none, and why."""

from __future__ import annotations

from dataclasses import dataclass

from nas_engine.settings.algorithms import Nsga2Settings, PredictorAssistedSettings, RandomSearchSettings
from nas_engine.settings.base import CheckpointedSettings

MAX_PREDICTED = 3000
"""Budgets beyond this are left to NSGA-II: computing what to ask next grows with the square of what is known."""

MAX_PREDICTED_OBJECTIVES = 3
"""With more objectives the expected gain is approximate and slow."""

MAX_PREDICTED_CHOICES = 400
"""Choices of all genes together up to which predictors were compared, twice over (benchmarks/search/worlds: 198 in
"fbnet"). Spaces that packages bring may be wider."""

SMALLEST_SAMPLE, LARGEST_SAMPLE = 8, 25
"""Bounds of the initial sample of a search with predictors, which is a quarter of a small budget."""


NOISE = "; they weigh measured values by their noise, and what is best by a noisy one is measured once more"


@dataclass(frozen=True, slots=True)
class ChosenAlgorithm:
    """What was chosen.

    Attributes:
        settings: of the algorithm.
        because: why it and no other, for people.
    """

    settings: CheckpointedSettings
    because: str


def choose_algorithm(
    num_candidates: int,
    num_objectives: int,
    space_size: int | None,
    *,
    is_shifting: bool,
    is_noisy: bool = False,
    num_choices: int | None = None,
) -> ChosenAlgorithm:
    """Choose by what a search may spend, where, and for what.

    Args:
        num_candidates: budget.
        num_objectives: number of objectives.
        space_size: number of genotypes; None where the space is not known.
        is_shifting: whether the supernet's weights move during the search.
        is_noisy: whether a metric is measured on a board, so that the best may be so by luck.
        num_choices: options of all genes together; None where the space is not known.
    """
    if is_shifting:
        return ChosenAlgorithm(
            Nsga2Settings(), "the supernet is shifted, and predictors would learn accuracies of several of its versions"
        )
    if space_size is not None and space_size <= num_candidates and not is_noisy:
        return ChosenAlgorithm(
            RandomSearchSettings(),
            f"the space has {space_size:,} genotypes and the budget is {num_candidates:,}: all are evaluated anyway",
        )
    if num_objectives > MAX_PREDICTED_OBJECTIVES:
        return ChosenAlgorithm(
            Nsga2Settings(),
            f"{num_objectives} objectives are more than the {MAX_PREDICTED_OBJECTIVES} that the expected gain of a "
            "candidate is computed for",
        )
    if num_candidates > MAX_PREDICTED:
        return ChosenAlgorithm(
            Nsga2Settings(),
            f"{num_candidates:,} candidates are more than the {MAX_PREDICTED:,} that predictors are fitted to: with so "
            "many, evolution on the evaluations themselves does as well and costs no computing",
        )
    if num_choices is not None and num_choices > MAX_PREDICTED_CHOICES:
        return ChosenAlgorithm(
            Nsga2Settings(),
            f"the genes of the space have {num_choices:,} choices, more than the {MAX_PREDICTED_CHOICES} that "
            "predictors were compared on",
        )
    initial = min(max(num_candidates // 4, SMALLEST_SAMPLE), LARGEST_SAMPLE)
    where = "" if space_size is None else f" of {space_size:.3g} genotypes"
    return ChosenAlgorithm(
        PredictorAssistedSettings(num_initial=initial),
        f"{num_candidates:,} evaluations in a space{where} are few: predictors that learn from the first {initial} say "
        "which of the others add most" + (NOISE if is_noisy else ""),
    )
