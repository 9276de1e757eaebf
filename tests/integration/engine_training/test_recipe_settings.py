"""Settings by which trainings, calibrations and searches follow the papers: what each changes in what is computed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from nas_engine.cost.chained import chained_cost, local_cost
from nas_engine.cost.latency_table import mac_costs
from nas_engine.domain.errors import DatasetError
from nas_engine.domain.search_space import Form
from nas_engine.search.densenas import search_architecture
from nas_engine.settings.densenas import CostEstimation, DerivedFrom
from nas_engine.settings.evaluation import CalibrationImages, EvaluationSettings
from nas_engine.settings.images import ImageForm, Interpolation, NormalisationKind
from nas_engine.settings.shifting import ShiftingMode, ShiftingSettings
from nas_engine.settings.strategies import MacsBinnedSettings, SandwichSettings, StandaloneSettings
from nas_engine.settings.training import AugmentationName, OptimizerSettings, TrainingSpec
from nas_engine.spaces.densenas.routing_weights import normalise
from nas_engine.spaces.shufflenet import ShuffleNetParameters, ShuffleNetSpace
from nas_engine.training.data.augmentation import AUGMENTATIONS
from nas_engine.training.data.dataset import ArraySplit, Normalisation
from nas_engine.training.data.decoding.picture import CROP_RATIO, Decoding, _random_box, decode
from nas_engine.training.data.files import fit_array
from nas_engine.training.data.folder import load_folder
from nas_engine.training.data.stream import CalibrationBatches, PlainBatches, TrainingStream
from nas_engine.training.evaluator import SupernetEvaluator
from nas_engine.training.loop import Hooks
from nas_engine.training.optimization import learning_rate_at
from nas_engine.training.randomness import Randomness
from nas_engine.training.strategies.paths import PUBLISHED_EDGES, decoded_graph, make_sampler
from nas_engine.training.strategies.retrain import retrain
from nas_engine.training.strategies.shifting import SupernetShifter
from tests.integration.engine_training.test_differentiable_search import DATA, MBV2, SEARCH
from tests.support.samples.datasets import striped_dataset
from tests.support.samples.training_run import changed, tiny_space, tiny_weights

CPU = torch.device("cpu")
GREY = striped_dataset()
COLOUR = striped_dataset(channels=3)
TRAINED: dict[str, Any] = {"space": {"id": "spos"}, "dataset": "x", "iterations": 4, "batch_size": 16}


def test_a_part_of_the_validation_images_holds_every_class() -> None:
    labels = np.repeat(np.arange(100), 26)
    split = ArraySplit(np.zeros((2600, 4, 4, 1), dtype=np.uint8), labels)
    part = PlainBatches(split, Normalisation((0.0,), (1.0,)), batch_size=128, device=CPU, max_images=640)
    seen = Counter(int(label) for batch in part for label in batch.labels_N)
    assert (sum(seen.values()), len(seen)) == (640, 100)
    assert max(seen.values()) - min(seen.values()) <= 1


def test_calibration_images_are_those_of_training_kept_as_bytes() -> None:
    def stream(name: AugmentationName) -> TrainingStream:
        return TrainingStream(
            COLOUR, batch_size=16, augmentation=AUGMENTATIONS[name], randomness=Randomness(0), device=CPU
        )

    for name in (AugmentationName.NONE, AugmentationName.LIGHT, AugmentationName.IMAGENET):
        kept = CalibrationBatches(stream(name), 2)
        assert all(images.dtype is torch.uint8 for images in kept._images)
        for step, images in enumerate(kept):
            wanted = stream(name).batch(step).images_NCHW
            # Rounded to one of 256 levels.
            assert float((images - wanted).abs().max()) <= 0.51 / 255 / min(COLOUR.normalisation.std)


def test_an_evaluator_augments_calibration_images_only_where_it_is_asked_to() -> None:
    space = tiny_space()
    plain = EvaluationSettings(num_calibration_batches=2, batch_size=16)
    augmented = changed(plain, calibration_images=CalibrationImages.AUGMENTED)
    found = [
        SupernetEvaluator(
            space, tiny_weights(space), GREY, settings, CPU, trained_with=AugmentationName.LIGHT
        ).evaluate(space.parse([1, 2]))
        for settings in (plain, augmented)
    ]
    means = [next(iter(one.statistics.values())).mean for one in found]
    assert not np.allclose(means[0], means[1])
    assert found[0].accuracy.num_images == found[1].accuracy.num_images


def test_validation_batches_may_have_a_size_of_their_own() -> None:
    settings = EvaluationSettings(batch_size=128, validation_batch_size=200)
    assert settings.held_out_batch_size == 200
    assert EvaluationSettings(batch_size=128).held_out_batch_size == 128


def test_retraining_on_all_images_counts_its_steps_on_them_and_has_no_validation_accuracy() -> None:
    space = tiny_space()
    graph = space.graph(space.parse([1, 2]), Form.DEPLOYED)
    training = TrainingSpec.model_validate({**TRAINED, "iterations": None, "epochs": 2, "batch_size": 12})
    some = retrain(graph, GREY, training, StandaloneSettings(num_calibration_batches=2), device=CPU)
    every = StandaloneSettings(num_calibration_batches=2, train_on_held_out=True)
    all_of_them = retrain(graph, GREY, training, every, device=CPU)
    num_train, num_held_out = len(GREY.train), len(GREY.validation)
    assert (some.steps, all_of_them.steps) == (2 * (num_train // 12), 2 * ((num_train + num_held_out) // 12))
    assert some.validation is not None
    assert all_of_them.validation is None
    assert all_of_them.test is not None
    joined = GREY.with_held_out()
    assert len(joined.train) == num_train + num_held_out
    assert joined.fingerprint != GREY.fingerprint


def test_a_warm_up_of_epochs_is_counted_on_the_images_there_are() -> None:
    spec = TrainingSpec.model_validate(
        {**TRAINED, "iterations": None, "epochs": 20, "optimizer": {"schedule": "cosine", "warmup_epochs": 5}}
    )
    rule = spec.optimizer_on(160)
    assert (rule.warmup_steps, rule.warmup_epochs, spec.num_steps(160)) == (50, None, 200)
    assert learning_rate_at(rule, 49, 200) < learning_rate_at(rule, 50, 200)
    with pytest.raises(ValidationError, match="goes with epochs"):
        TrainingSpec.model_validate({**TRAINED, "optimizer": {"warmup_epochs": 5}})
    with pytest.raises(ValidationError, match="say the same"):
        OptimizerSettings(warmup_epochs=5, warmup_steps=10)


@pytest.mark.parametrize("num_classes", [1000, 100, 10])
def test_the_published_bins_are_those_of_spos_whatever_the_classes(num_classes: int) -> None:
    space = ShuffleNetSpace(ShuffleNetParameters(num_classes=num_classes))
    given, published = (
        [make_sampler(space, bins)(np.random.default_rng(seed)).genotype for seed in range(10)]
        for bins in (MacsBinnedSettings(edges=PUBLISHED_EDGES), MacsBinnedSettings())
    )
    assert given == published
    with pytest.raises(ValidationError, match="must ascend"):
        MacsBinnedSettings(edges=(2.0, 1.0))
    with pytest.raises(ValidationError, match="say all of the bins"):
        MacsBinnedSettings(edges=(1.0, 2.0), num_bins=1)


@pytest.mark.parametrize(
    ("kind", "mean", "std"),
    [
        (NormalisationKind.IMAGENET, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        (NormalisationKind.BYTES, (0.0,) * 3, (1 / 255,) * 3),
        (NormalisationKind.DATASET, COLOUR.normalisation.mean, COLOUR.normalisation.std),
    ],
)
def test_images_are_normalised_by_what_a_training_wants(
    kind: NormalisationKind, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    dataset = COLOUR.in_form(ImageForm(normalisation=kind))
    assert (dataset.normalisation.mean, dataset.normalisation.std) == (mean, std)
    if kind is NormalisationKind.BYTES:
        batches = PlainBatches(dataset.test, dataset.normalisation, batch_size=60, device=CPU)
        pixels = next(iter(batches)).images_NCHW.permute(0, 2, 3, 1).numpy()
        assert np.allclose(pixels, dataset.test.load(np.arange(60)), atol=1e-3)
    if kind is NormalisationKind.IMAGENET:
        with pytest.raises(DatasetError, match="of 3 channels, not of 1"):
            GREY.in_form(ImageForm(normalisation=kind))


@pytest.mark.parametrize("interpolation", Interpolation)
def test_files_and_arrays_are_resized_by_the_filter_that_is_asked_for(
    interpolation: Interpolation, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    path = tmp_path / "one.png"
    Image.fromarray(pixels).save(path)
    resample = Image.Resampling[interpolation.name]
    from_file = Image.fromarray(pixels).resize((8, 8), resample, box=(5, 0, 25, 20))
    assert np.array_equal(decode(path, Decoding(8, 3, interpolation=interpolation)), np.asarray(from_file))
    wanted = Image.fromarray(pixels[:, 5:25]).resize((8, 8), resample)
    assert np.array_equal(fit_array(pixels[None, :, 5:25], 8, 3, interpolation)[0], np.asarray(wanted))


def test_the_filter_is_part_of_a_fingerprint_and_the_first_one_leaves_it_as_it_was(tmp_path: Path) -> None:
    for place in ("train/a", "train/b", "val/a", "val/b"):
        (tmp_path / place).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (10, 10), (number, 0, 0)).save(tmp_path / place / f"{number}.png")

    def fingerprint(**more: Any) -> str:
        return load_folder(
            tmp_path, image_size=8, channels=3, validation_fraction=0.5, seed=0, in_memory_bytes=0, **more
        ).fingerprint

    assert repr(Decoding(8, 3)) == "Decoding(image_size=8, channels=3, centre_crop=1.0)"
    assert Decoding(8, 3).text == repr(Decoding(8, 3))
    assert fingerprint() == fingerprint(interpolation=Interpolation.BICUBIC)
    assert fingerprint() != fingerprint(interpolation=Interpolation.BILINEAR)


def test_a_crop_that_misses_ten_times_is_the_middle_within_the_limits_of_the_ratio() -> None:
    for size in ((1000, 10), (10, 1000)):  # no crop of 8 % of the area fits, as long as the ratio is near 1
        left, top, right, bottom = _random_box(size, 0)
        assert CROP_RATIO[0] - 0.1 <= (right - left) / (bottom - top) <= CROP_RATIO[1] + 0.1
        assert min(right - left, bottom - top) >= 10 * 0.74
        assert abs((left + right) / 2 - size[0] / 2) <= 1
        assert abs((top + bottom) / 2 - size[1] / 2) <= 1


def _shifted_loss(trained_as: TrainingSpec | None, rate: float, **changes: Any) -> float:
    space = tiny_space(dropout=rate)
    settings = ShiftingSettings.model_validate({"images_per_candidate": 32, "batch_size": 16, **changes})
    shifter = SupernetShifter(tiny_weights(space), GREY, settings, CPU, seed=0, trained_as=trained_as)
    shifter.begin_generation(1)
    return shifter.visit(decoded_graph(space, (0, 1), Form.SUPERNET))


def test_shifting_drops_and_augments_as_the_training_of_the_supernet_did() -> None:
    trained = TrainingSpec.model_validate({**TRAINED, "augmentation": "none"})
    assert _shifted_loss(trained, 0.0) != _shifted_loss(trained, 0.9)
    assert _shifted_loss(trained, 0.0) == _shifted_loss(trained, 0.9, dropout=False)
    light = TrainingSpec.model_validate({**TRAINED, "augmentation": "light"})
    assert _shifted_loss(light, 0.0) != _shifted_loss(trained, 0.0)
    assert _shifted_loss(light, 0.0, augmentation="none") == _shifted_loss(trained, 0.0)
    # Under the sandwich rule the largest subnet alone has dropout.
    taught = changed(trained, strategy=SandwichSettings())
    assert _shifted_loss(taught, 0.9) == _shifted_loss(taught, 0.0)


def test_immediate_shifting_takes_the_released_codes_batch_unless_another_is_given() -> None:
    assert ShiftingSettings(mode=ShiftingMode.IMMEDIATE).batch_size == 150
    assert ShiftingSettings(mode=ShiftingMode.IMMEDIATE, batch_size=128).batch_size == 128
    assert ShiftingSettings().batch_size == 128


def test_a_search_pays_by_the_estimate_that_it_names() -> None:
    costs = mac_costs(MBV2)
    for estimation, formula in ((CostEstimation.CHAINED, chained_cost), (CostEstimation.LOCAL, local_cost)):
        settings = changed(SEARCH, epochs=2, first_architecture_epoch=0, cost_estimation=estimation)
        found = search_architecture(MBV2, costs, DATA, settings, cost_factor=1.0, seed=0, device=CPU)
        weights = normalise(found.logits, beta_temperature=settings.beta_temperature)
        assert found.report.expected_cost == pytest.approx(float(formula(MBV2.routing, costs, weights)))
    assert found.report.expected_cost > float(chained_cost(MBV2.routing, costs, weights))


def test_the_best_epoch_is_derived_from_where_it_is_wanted_and_survives_a_restart(tmp_path: Path) -> None:
    settings = changed(
        SEARCH,
        epochs=4,
        first_architecture_epoch=0,
        architecture_learning_rate=0.2,
        derived_from=DerivedFrom.BEST_EPOCH,
        checkpoint_every_steps=1,
    )

    def searched(**more: Any) -> Any:
        return search_architecture(MBV2, mac_costs(MBV2), DATA, settings, cost_factor=0.0, seed=0, device=CPU, **more)

    whole = searched()
    assert 1 <= whole.report.best_epoch <= 4
    assert 0.0 <= whole.report.best_top1 <= 1.0
    last = changed(settings, derived_from=DerivedFrom.LAST)
    other = search_architecture(MBV2, mac_costs(MBV2), DATA, last, cost_factor=0.0, seed=0, device=CPU)
    assert other.report.best_epoch is None
    same = all(np.array_equal(whole.logits[name], other.logits[name]) for name in whole.logits)
    assert same is (whole.report.best_epoch == 4)
    checkpoint = tmp_path / "run.checkpoint"

    calls = iter(range(1000))
    cut = searched(checkpoint=checkpoint, hooks=Hooks(cancelled=lambda: next(calls) >= 3 * whole.steps // 4))
    assert cut.steps < whole.steps
    gone_on = searched(checkpoint=checkpoint)
    assert (gone_on.report.best_epoch, gone_on.report.best_top1) == (whole.report.best_epoch, whole.report.best_top1)
    assert all(np.array_equal(gone_on.logits[name], whole.logits[name]) for name in whole.logits)
