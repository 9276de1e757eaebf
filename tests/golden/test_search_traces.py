"""Fixed checkpoints and results give fixed asks: what a search proposes must not change unnoticed.

The traces are written by ``python -m tests.golden.test_search_traces``; write them anew only when a change of the
proposals is meant (another operator, another version of a library below), and say so in the change log.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.json_value import canonical_json
from nas_engine.domain.metric import Goal
from nas_engine.domain.metrics import MACS, TOP1
from nas_engine.domain.objective import Objective
from nas_engine.search.algorithm import SearchAlgorithm, SearchProblem
from nas_engine.search.factory import create_algorithm
from nas_engine.settings.algorithms import (
    BinnedEvolutionSettings,
    Nsga2Settings,
    RandomSearchSettings,
    ScarletNsga2Settings,
    SposEvolutionSettings,
)
from nas_engine.settings.base import CheckpointedSettings
from tests.support.fakes.space import MacsBelow, StagedSpace, tell_all

FILE = Path(__file__).parent / "search_traces.json"
SPACE = StagedSpace()
NUM_BEFORE, NUM_AFTER = 3, 3

# Predictor-assisted search is left out: its fits depend on the rounding of the linear algebra of the machine.
CONFIGS: dict[str, CheckpointedSettings] = {
    "random": RandomSearchSettings(batch_size=6),
    # As the first release stored it: every value is named, so that new defaults do not move it.
    "nsga2": Nsga2Settings(population_size=8, mutation_probability=0.8),
    "nsga2_defaults": Nsga2Settings(),
    "scarlet_nsga2": ScarletNsga2Settings(population_size=8),
    "spos_evolution": SposEvolutionSettings(population_size=8, num_parents=4, num_mutation=4, num_crossover=4),
    "binned_evolution": BinnedEvolutionSettings(bin_width=10.0, population_size=8, num_mutation=4, num_crossover=4),
}


def make(config: CheckpointedSettings, seed: int) -> SearchAlgorithm:
    objectives: tuple[Objective, ...] = (
        Objective(TOP1, Goal.MAXIMIZE),
        Objective(MACS, Goal.MINIMIZE, weight=2.0),
    )
    if isinstance(config, SposEvolutionSettings):
        objectives = objectives[:1]
    return create_algorithm(
        config, SearchProblem(space=SPACE, objectives=objectives, cheap_filter=MacsBelow(SPACE, 120.0)), seed
    )


def generations(algorithm: SearchAlgorithm, num: int) -> list[list[list[int]]]:
    asked = []
    for _ in range(num):
        batch = algorithm.ask(algorithm.batch_size)
        algorithm.tell(tell_all(SPACE, batch))
        asked.append([list(genotype) for genotype in batch])
    return asked


def trace(config: CheckpointedSettings) -> dict[str, Any]:
    algorithm = make(config, seed=20)
    before = generations(algorithm, NUM_BEFORE)
    state = algorithm.state()
    return {"before": before, "state": state, "after": generations(algorithm, NUM_AFTER)}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_search_from_its_seed_asks_what_it_always_asked(name: str) -> None:
    golden = json.loads(FILE.read_text())[name]
    assert generations(make(CONFIGS[name], seed=20), NUM_BEFORE) == golden["before"]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_stored_checkpoint_still_loads_and_asks_what_it_always_asked(name: str) -> None:
    golden = json.loads(FILE.read_text())[name]
    algorithm = make(CONFIGS[name], seed=0)
    algorithm.load_state(golden["state"])
    restored: Any = algorithm.state()
    # The only field that follows the installed library instead of the search.
    restored["own"] = {**restored["own"], **{k: v for k, v in golden["state"]["own"].items() if k == "pymoo_version"}}
    assert canonical_json(restored) == canonical_json(golden["state"])
    assert generations(algorithm, NUM_AFTER) == golden["after"]


if __name__ == "__main__":
    FILE.write_text(canonical_json({name: trace(config) for name, config in CONFIGS.items()}) + "\n")
