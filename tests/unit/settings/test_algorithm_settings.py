"""Settings of algorithms: what is out of range is refused, and checkpoints of the first release are still theirs."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from nas_engine.domain.dominance import Dominance
from nas_engine.domain.metric import Goal
from nas_engine.domain.metrics import MACS, TOP1
from nas_engine.domain.objective import Objective
from nas_engine.search.algorithm import SearchProblem
from nas_engine.search.factory import create_algorithm
from nas_engine.settings.algorithms import (
    BinnedEvolutionSettings,
    Nsga2Settings,
    PredictorAssistedSettings,
    RandomSearchSettings,
    ScarletNsga2Settings,
    SposEvolutionSettings,
)
from nas_engine.settings.base import CheckpointedSettings
from nas_engine.settings.densenas import DenseNasSettings
from tests.support.fakes.space import StagedSpace

# The identities as the first release stored them, word for word.
FIRST_RELEASE: tuple[tuple[CheckpointedSettings, str], ...] = (
    (RandomSearchSettings(batch_size=6), '{"batch_size":6,"kind":"random"}'),
    (
        Nsga2Settings(population_size=16, mutation_probability=1.0, mean_leaves=1.0),
        '{"constraint_handling":"feasibility_first","kind":"nsga2","max_rejections":null,"num_offspring":null,'
        '"population_size":16,"variation":{"block_probability":0.5,"crossover_probability":0.9,"mean_leaves":1.0,'
        '"mutation_probability":1.0,"structural_probability":0.3}}',
    ),
    (
        ScarletNsga2Settings(num_models=3),
        '{"kind":"scarlet_nsga2","max_rejections":null,"mutation_ratio":0.8,"p_known":0.7,"p_prior":0.15,'
        '"p_random":0.2,"p_reinforced":0.65,"population_size":70}',
    ),
    (
        SposEvolutionSettings(),
        '{"gene_mutation_probability":0.1,"kind":"spos_evolution","num_crossover":25,"num_mutation":25,'
        '"num_parents":10,"population_size":50}',
    ),
    (
        BinnedEvolutionSettings(),
        '{"bin_metric":"macs","bin_width":10000000.0,"gene_mutation_probability":0.2,"include_first":true,'
        '"kind":"binned_evolution","num_crossover":128,"num_mutation":128,"population_size":512}',
    ),
    (
        PredictorAssistedSettings(),
        '{"exploration":1.0,"inner_generations":15,"inner_population":60,"kind":"predictor_assisted",'
        '"num_chosen":10,"num_initial":25,"predictor":"gaussian_process"}',
    ),
    (
        DenseNasSettings(dataset="imagenet100"),
        '{"alternation":"interleaved","architecture_learning_rate":0.0003,"architecture_weight_decay":0.001,'
        '"augmentation":"inception","batch_size":352,"beta_temperature":1.0,"checkpoint_every_steps":500,'
        '"cost_base":15.0,"cost_factors":[0.15],"dataset":"imagenet100","epochs":150,'
        '"final_learning_rate":0.0001,"first_architecture_epoch":50,"kind":"densenas","latency_table":null,'
        '"learning_rate":0.2,"momentum":0.9,"regularise_skips":false,"weight_decay":4e-05}',
    ),
)


@pytest.mark.parametrize(("settings", "stored"), FIRST_RELEASE, ids=lambda value: getattr(value, "kind", ""))
def test_the_identity_of_equal_settings_is_that_of_the_first_release(
    settings: CheckpointedSettings, stored: str
) -> None:
    assert json.dumps(settings.identity(), sort_keys=True, separators=(",", ":")) == stored


def test_a_setting_that_came_later_enters_the_identity_once_it_is_used() -> None:
    used = DenseNasSettings(dataset="imagenet100", operators_per_weight_step=2)
    assert used.identity()["operators_per_weight_step"] == 2


@pytest.mark.parametrize("settings", [Nsga2Settings(), ScarletNsga2Settings()], ids=lambda settings: settings.kind)
def test_confident_dominance_is_named_in_checkpoints_and_comparing_values_is_not(
    settings: CheckpointedSettings,
) -> None:
    objectives = (Objective(TOP1, Goal.MAXIMIZE), Objective(MACS, Goal.MINIMIZE))
    for dominance, named in ((Dominance.POINT, False), (Dominance.CONFIDENT, True)):
        problem = SearchProblem(space=StagedSpace(), objectives=objectives, dominance=dominance)
        assert ('"dominance":"confident"' in str(create_algorithm(settings, problem).state())) is named
        assert ('"dominance"' in str(create_algorithm(settings, problem).state())) is named


def test_settings_out_of_range_are_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="population_size"):
        Nsga2Settings(population_size=1)
    with pytest.raises(ValidationError, match="crossover_probability"):
        Nsga2Settings(crossover_probability=1.5)
    with pytest.raises(ValidationError, match="mean_leaves"):
        Nsga2Settings(mean_leaves=float("nan"))
    with pytest.raises(ValidationError, match="bin_width"):
        BinnedEvolutionSettings(bin_width=0.0)
    with pytest.raises(ValidationError, match="at most population_size, 50"):
        SposEvolutionSettings(num_mutation=40)
    with pytest.raises(ValidationError, match="exploration"):
        PredictorAssistedSettings(exploration=-1.0)
