"""Predictors learn additive metrics from few samples, know what they do not know, and round-trip through JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nas_engine.cost.estimate_quality import kendall_tau
from nas_engine.cost.prediction.choice_costs import ChoiceCosts
from nas_engine.cost.prediction.choice_kernel import ChoiceKernel, Covariance, Posterior
from nas_engine.cost.prediction.encodings import FeatureEncoding, GenotypeFeatures, distinct_encodings
from nas_engine.cost.prediction.model_choice import ModelChoice, PredictorModel
from nas_engine.cost.prediction.predictor import MetricPredictor
from nas_engine.cost.prediction.regressors import Family, GaussianProcess
from nas_engine.cost.prediction.target_scale import Scale, TargetScale
from nas_engine.domain.errors import EngineError
from nas_engine.domain.json_value import canonical_json
from nas_engine.domain.metrics import LATENCY_US, TOP1
from nas_engine.domain.search_space import Gene

GENES = tuple(Gene(f"layer{i}", ("skip", "k3", "k5", "k7"), "all") for i in range(8))
COST_OG = np.random.default_rng(0).uniform(50.0, 400.0, (4, 8))


def additive(genotypes: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """A latency in us: one cost per gene and choice."""
    return 300.0 + COST_OG[genotypes, np.arange(8)].sum(axis=1)


def sample(num: int, seed: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(seed).integers(4, size=(num, 8))


@pytest.mark.parametrize("model", list(PredictorModel))
def test_an_additive_latency_is_predicted_from_few_samples(model: PredictorModel) -> None:
    known, unseen = sample(60, 1), sample(200, 2)
    predictor = MetricPredictor(GENES, LATENCY_US, model)
    predictor.fit(known.tolist(), additive(known).tolist())
    predicted = predictor.predict(unseen.tolist())
    tau = kendall_tau(predicted.mean.tolist(), additive(unseen).tolist())
    assert tau is not None
    assert tau > 0.95
    assert np.abs(predicted.mean / additive(unseen) - 1).max() < 0.05


def test_the_standard_deviation_covers_the_errors_and_shrinks_with_data() -> None:
    noise = np.random.default_rng(3).normal(0.0, 20.0, 400)
    unseen = sample(200, 4)
    widths = []
    for num in (20, 300):
        known = sample(num, 5)
        predictor = MetricPredictor(GENES, LATENCY_US)
        predictor.fit(known.tolist(), (additive(known) + noise[:num]).tolist())
        predicted = predictor.predict(unseen.tolist())
        standardised = (predicted.mean - additive(unseen)) / predicted.standard_deviation
        assert np.abs(standardised).mean() < 2.0
        widths.append(float(predicted.standard_deviation.mean()))
    assert widths[1] < 0.6 * widths[0]


def test_told_standard_errors_are_not_taken_for_signal() -> None:
    known = sample(80, 6)
    errors = np.where(np.arange(80) % 2 == 0, 400.0, 1.0)
    noisy = additive(known) + errors * np.random.default_rng(7).normal(size=80)
    informed, blind = (MetricPredictor(GENES, LATENCY_US) for _ in range(2))
    informed.fit(known.tolist(), noisy.tolist(), errors.tolist())
    blind.fit(known.tolist(), noisy.tolist())
    unseen = sample(200, 8)
    off = [np.abs(p.predict(unseen.tolist()).mean - additive(unseen)).mean() for p in (informed, blind)]
    assert off[0] < 0.5 * off[1]


def test_interactions_are_learned_by_the_gaussian_process_only() -> None:
    def coupled(genotypes: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return additive(genotypes) + 600.0 * (genotypes[:, 0] == genotypes[:, 1])

    known, unseen = sample(250, 9), sample(200, 10)
    off = []
    for model in (PredictorModel.GAUSSIAN_PROCESS, PredictorModel.RIDGE):
        predictor = MetricPredictor(GENES, LATENCY_US, model)
        predictor.fit(known.tolist(), coupled(known).tolist())
        off.append(np.abs(predictor.predict(unseen.tolist()).mean - coupled(unseen)).mean())
    assert off[0] < off[1]


def test_scales_are_chosen_by_metric_and_span_and_undo_themselves() -> None:
    assert Scale.fitting(TOP1, np.asarray([0.1, 0.9])) is Scale.LOG_ERROR
    assert Scale.fitting(TOP1, np.asarray([0.1, 1.0])) is Scale.LINEAR
    assert Scale.fitting(LATENCY_US, np.asarray([1.0, 10.0])) is Scale.LOG
    assert Scale.fitting(LATENCY_US, np.asarray([5.0, 10.0])) is Scale.LINEAR
    values = np.asarray([0.2, 0.5, 0.93])
    for scale in Scale:
        assert scale.backward(scale.forward(values)).tolist() == pytest.approx(values.tolist())
        slope = (scale.backward(scale.forward(values) + 1e-6) - values) / 1e-6
        assert scale.step(values).tolist() == pytest.approx(slope.tolist(), rel=1e-4)


def test_the_posterior_is_at_a_maximum_where_the_optimiser_stops() -> None:
    computed = GenotypeFeatures(GENES, FeatureEncoding.CHOICES)
    kernel, known = ChoiceKernel(computed.blocks, interactions=True), computed.of(sample(60, 11))
    targets = (additive(sample(60, 11)) - 1500.0) / 300.0
    posterior = Posterior(kernel, known, targets, np.zeros(60))
    best = kernel.most_likely(known, targets, np.zeros(60))
    variables = posterior.packed(best)
    assert posterior(variables)[0] < posterior(posterior.packed(Covariance.start(8)))[0]
    for point in (variables, posterior.packed(Covariance.start(8))):
        value, slopes = posterior(point)
        for place in range(len(point)):
            moved = point.copy()
            moved[place] += 1e-5
            assert (posterior(moved)[0] - value) / 1e-5 == pytest.approx(slopes[place], abs=2e-2, rel=2e-2)
    for place in range(9, len(variables)):
        for step in (-0.3, 0.3):
            moved = variables.copy()
            moved[place] += step
            assert posterior(moved)[0] >= posterior(variables)[0] - 1.5  # its steps are bounded


def test_bad_outliers_are_drawn_together_and_come_back_unchanged() -> None:
    values = np.concatenate([[0.1, 0.1, 0.3], np.linspace(0.85, 0.94, 40)])
    scale = TargetScale.fitting(TOP1, values)
    targets = scale.forward(values)
    assert (np.diff(targets[2:]) > 0).all()
    assert targets[3:].std() > 0.4
    assert scale.backward(targets).tolist() == pytest.approx(values.tolist())
    slope = (scale.backward(targets + 1e-6) - values) / 1e-6
    assert scale.step(values).tolist() == pytest.approx(slope.tolist(), rel=1e-3)


def test_a_cell_is_known_by_its_edges_and_helps_where_an_operator_breaks_paths() -> None:
    edges = tuple(Gene(f"edge{i}", ("none", "skip", "conv"), "cell") for i in range(6))
    assert FeatureEncoding.CELL in distinct_encodings(edges)
    assert FeatureEncoding.CELL not in distinct_encodings(GENES)

    def accuracy(cells: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        used = GenotypeFeatures(edges, FeatureEncoding.CELL).effective(cells)
        return np.where((used == 0).all(axis=1), 0.1, 0.8 + 0.02 * (used == 2).sum(axis=1))

    known, unseen = (np.random.default_rng(seed).integers(3, size=(num, 6)) for seed, num in ((1, 80), (2, 200)))
    predictor = MetricPredictor(edges, TOP1)
    predictor.fit(known.tolist(), accuracy(known).tolist())
    assert predictor.choice.encoding is FeatureEncoding.CELL
    assert np.abs(predictor.predict(unseen.tolist()).mean - accuracy(unseen)).mean() < 0.02


@pytest.mark.parametrize("family", [Family.BOOSTED_TREES, Family.RANDOM_TREES])
def test_trees_learn_conditions_and_come_back_from_their_state(family: Family) -> None:
    """Which gene matters depends on the genes before, as where an operator sends the rest to another unit."""

    def stepped(genotypes: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        x = genotypes
        fast = np.where(x[:, 1] == 0, 500.0 + 40.0 * x[:, 2], 900.0 + 150.0 * (x[:, 3] == 1))
        slow = np.where(x[:, 4] == 0, 2500.0 + 500.0 * (x[:, 5] > 1), 4000.0 - 800.0 * (x[:, 6] > 2))
        return np.where(x[:, 0] > 1, slow, fast)

    known, unseen = sample(200, 20), sample(200, 21)
    predictor = MetricPredictor(GENES, LATENCY_US)
    choice = ModelChoice(family, FeatureEncoding.CHOICES, (), 200, 0.2, 1.0)
    predictor.fit(known.tolist(), stepped(known).tolist(), choice=choice)
    predicted = predictor.predict(unseen.tolist())
    assert np.abs(predicted.mean - stepped(unseen)).mean() < 0.15 * stepped(unseen).std()
    restored = MetricPredictor.from_state(GENES, json.loads(canonical_json(predictor.state())))
    assert restored.choice == choice
    assert (restored.predict(unseen.tolist()).mean == predicted.mean).all()


def test_intervals_hold_about_as_often_as_they_say() -> None:
    noise = np.random.default_rng(30).normal(0.0, 40.0, 700)
    known, unseen = sample(100, 31), sample(600, 32)
    predictor = MetricPredictor(GENES, LATENCY_US)
    predictor.fit(known.tolist(), (additive(known) + noise[:100]).tolist())
    lower, upper = predictor.intervals(unseen.tolist(), 0.9)
    found = additive(unseen) + noise[100:]
    assert 0.85 < ((lower <= found) & (found <= upper)).mean() < 0.97
    with pytest.raises(EngineError, match="need more than"):
        predictor.intervals(unseen.tolist(), 0.999)


def test_intervals_of_models_that_still_learn_fast_do_not_hold_too_often() -> None:
    """Errors of models that lack a part of the samples are larger than those of the model that has them all."""
    held = []
    for draw in range(8):
        noise = np.random.default_rng((40, draw)).normal(0.0, 10.0, 540)
        known, unseen = sample(40, 50 + draw), sample(500, 160 + draw)
        predictor = MetricPredictor(GENES, LATENCY_US)
        predictor.fit(known.tolist(), (additive(known) + noise[:40]).tolist())
        lower, upper = predictor.intervals(unseen.tolist(), 0.9)
        found = additive(unseen) + noise[40:]
        held.append(float(((lower <= found) & (found <= upper)).mean()))
    assert 0.86 < np.mean(held) < 0.945


STAGES = tuple(Gene(f"layer{i}", ("a", "b", "c", "d", "e", "skip"), f"stage{i // 5}") for i in range(20))
"""A space whose labels say nothing."""

COSTS = ChoiceCosts(np.random.default_rng(60).lognormal(0.0, 1.0, (120, 4)) * np.tile([1, 1, 1, 1, 1, 0], 20)[:, None])


def stages(num: int, seed: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(seed).integers(6, size=(num, 20))


def priced(genotypes: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """A latency in us whose layers take the longer of two of their costs."""
    layer_us = 20.0 * np.maximum(COSTS.table[:, 0], 2.0 * COSTS.table[:, 1]) + 5.0 * COSTS.table[:, 3]
    return np.asarray(500.0 + layer_us[genotypes + 6 * np.arange(20)].sum(axis=1))


def test_costs_by_layer_graphs_tell_choices_that_were_hardly_measured() -> None:
    known, unseen = stages(40, 61), stages(300, 62)
    taus = []
    for costs in (None, COSTS):
        predictor = MetricPredictor(STAGES, LATENCY_US, costs=costs)
        predictor.fit(known.tolist(), priced(known).tolist())
        taus.append(kendall_tau(predictor.predict(unseen.tolist()).mean, priced(unseen)) or 0.0)
    assert predictor.choice.encoding is FeatureEncoding.LAYERS
    assert taus[1] > max(0.8, taus[0] + 0.15)
    restored = MetricPredictor.from_state(STAGES, json.loads(canonical_json(predictor.state())), COSTS)
    assert (restored.predict(unseen.tolist()).mean == predictor.predict(unseen.tolist()).mean).all()
    with pytest.raises(EngineError, match="layers needs a space with layer graphs"):
        MetricPredictor.from_state(STAGES, predictor.state()).predict(unseen.tolist())


def test_the_gradient_of_what_costs_explain_is_right() -> None:
    computed = GenotypeFeatures(STAGES, FeatureEncoding.LAYERS, COSTS)
    known, targets = computed.of(stages(30, 63)), np.random.default_rng(64).normal(size=30)
    posterior = Posterior(ChoiceKernel(computed.blocks, interactions=True), known, targets, np.zeros(30))
    point = posterior.packed(Covariance.start(20, 4))
    assert posterior.packed(posterior.unpacked(point)) == pytest.approx(point)
    value, slopes = posterior(point)
    for place in range(len(point)):
        moved = point.copy()
        moved[place] += 1e-5
        assert (posterior(moved)[0] - value) / 1e-5 == pytest.approx(slopes[place], abs=1e-3, rel=1e-2)


@pytest.mark.parametrize("scale", [Scale.LINEAR, Scale.LOG])
def test_sums_are_learned_as_sums_and_products_as_products(scale: Scale) -> None:
    """Whatever factor they span: the sums here span more than 3, the products less."""
    factor_og = np.random.default_rng(65).uniform(0.0, 1.0, (4, 8))

    def latency(genotypes: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        total = factor_og[genotypes, np.arange(8)].sum(axis=1)
        return np.asarray(np.exp(0.28 * total) if scale is Scale.LOG else 100.0 * np.maximum(total - 1.0, 0.2))

    known = sample(120, 66)
    span = latency(known).max() / latency(known).min()
    assert span < 3.0 if scale is Scale.LOG else span > 3.0
    predictor = MetricPredictor(GENES, LATENCY_US)
    predictor.fit(known.tolist(), latency(known).tolist())
    assert predictor.choice.scale is scale


def test_runs_that_were_disturbed_are_doubted_and_fast_ones_are_believed() -> None:
    known, unseen = sample(120, 67), sample(200, 68)
    noise = np.random.default_rng(69).normal(0.0, 15.0, 120)
    values = additive(known) + noise
    disturbed, fast = np.asarray([5, 30, 47, 66, 81, 110]), np.asarray([12, 77])
    values[disturbed] += 500.0
    values[fast] -= 200.0
    off = []
    for doubts in (False, True):
        process = GaussianProcess(GENES, FeatureEncoding.CHOICES, doubts=doubts)
        data = known, (1500.0 - values) / 300.0, np.zeros(120)  # larger targets are better
        process.learn_covariance(*data)
        process.fit(*data)
        off.append(float(np.abs(1500.0 - 300.0 * process.predict(unseen)[0] - additive(unseen)).mean()))
    assert off[1] < 0.8 * off[0]
    doubt = process.left_out().doubt
    assert set(np.argsort(doubt)[-6:]) == set(disturbed)
    assert (doubt[fast] == 0.0).all()


def test_choices_of_earlier_versions_are_read_as_they_were() -> None:
    known, unseen = sample(40, 70), sample(20, 71)
    predictor = MetricPredictor(GENES, LATENCY_US)
    predictor.fit(known.tolist(), additive(known).tolist())
    document = predictor.choice.document()
    assert isinstance(document, dict)
    del document["scale"]
    earlier = ModelChoice.of(document)
    assert earlier.scale is None
    again = MetricPredictor(GENES, LATENCY_US)
    again.fit(known.tolist(), additive(known).tolist(), choice=earlier)
    assert kendall_tau(again.predict(unseen.tolist()).mean, additive(unseen)) == pytest.approx(1.0, abs=0.05)
    # A choice that learned logarithms meets a value that has none.
    values = additive(known)
    values[0] = 0.0
    again.fit(known.tolist(), values.tolist(), choice=ModelChoice.of({**document, "scale": "log"}))
    assert np.isfinite(again.predict(unseen.tolist()).mean).all()


def test_operators_are_alike_by_the_words_and_the_numbers_in_their_names() -> None:
    genes = tuple(Gene(f"layer{i}", ("k3_e3", "k3_e6", "k5_e6", "skip"), f"stage{i // 3}") for i in range(6))
    features = GenotypeFeatures(genes, FeatureEncoding.OPERATORS)
    k3_e3, k3_e6, k5_e6, skip = (features.of(np.full((1, 6), choice)).counts[0] for choice in range(4))
    assert k3_e6 @ k3_e3 > k5_e6 @ k3_e3 > skip @ k3_e3 == pytest.approx(0.0, abs=1e-6)
    assert k3_e6 @ k5_e6 > k3_e3 @ k5_e6
    plain = GenotypeFeatures(genes, FeatureEncoding.CHOICES)
    apart = [plain.of(np.full((1, 6), choice)).counts[0] for choice in range(2)]
    assert apart[0] @ apart[1] == 0.0


def test_an_operator_measured_in_a_stage_tells_most_of_that_stage() -> None:
    genes = tuple(Gene(f"layer{i}", ("k3", "k5", "skip"), f"stage{i // 3}") for i in range(6))
    features = GenotypeFeatures(genes, FeatureEncoding.OPERATORS)

    def used_at(layer: int) -> np.ndarray:  # type: ignore[type-arg]
        """What using k5 in one layer changes."""
        genotype = np.full((1, 6), 2)
        without = features.of(genotype).smooth[0]
        genotype[0, layer] = 1
        return features.of(genotype).smooth[0] - without

    # Layers 2 and 3 are neighbours in different stages; 3 and 4 are neighbours in one.
    assert used_at(3) @ used_at(4) > used_at(3) @ used_at(2) > 0.0


def test_a_predictor_round_trips_through_json_exactly() -> None:
    known, unseen = sample(40, 12), sample(20, 13)
    predictor = MetricPredictor(GENES, LATENCY_US)
    predictor.fit(known.tolist(), additive(known).tolist(), [2.0] * 40)
    restored = MetricPredictor.from_state(GENES, json.loads(canonical_json(predictor.state())))
    assert restored.num_samples == 40
    first, second = predictor.predict(unseen.tolist()), restored.predict(unseen.tolist())
    assert (first.mean == second.mean).all()
    assert (first.standard_deviation == second.standard_deviation).all()


def test_what_it_cannot_learn_from_is_refused() -> None:
    predictor = MetricPredictor(GENES, LATENCY_US)
    with pytest.raises(EngineError, match="fit it before"):
        predictor.predict([[0] * 8])
    with pytest.raises(EngineError, match="at least 3"):
        predictor.fit([[0] * 8], [1.0])
    with pytest.raises(EngineError, match="1 is not finite"):
        predictor.fit(sample(4, 0).tolist(), [1.0, float("nan"), 1.0, 1.0])
    with pytest.raises(EngineError, match="gene 0"):
        predictor.fit([[9] * 8] * 4, [1.0, 2.0, 3.0, 4.0])
    for damaged in (None, {"state_version": 99}, {"state_version": 2, "model": "oracle"}):
        with pytest.raises(EngineError, match="fit the predictor anew"):
            MetricPredictor.from_state(GENES, damaged)


def test_constant_values_are_predicted_as_that_constant() -> None:
    predictor = MetricPredictor(GENES, LATENCY_US)
    predictor.fit(sample(10, 1).tolist(), [7.0] * 10)
    assert predictor.predict(sample(5, 2).tolist()).mean.tolist() == pytest.approx([7.0] * 5)


def test_kendalls_tau_needs_two_different_values() -> None:
    assert kendall_tau([1.0, 2.0, 3.0], [10.0, 20.0, 30.0]) == pytest.approx(1.0)
    assert kendall_tau([1.0], [1.0]) is None
    assert kendall_tau([1.0, 1.0], [1.0, 2.0]) is None
    with pytest.raises(EngineError, match="give as many"):
        kendall_tau([1.0], [1.0, 2.0])
