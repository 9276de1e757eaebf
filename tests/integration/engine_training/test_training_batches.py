"""Batches: every image once per epoch, the same whatever happened before, augmentation seeded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas_engine.domain.errors import DatasetError, TrainingError
from nas_engine.training.data.augmentation import ALONE, NO_AUGMENTATION, Augmentation, Augmenter, Share
from nas_engine.training.data.dataset import ImageDataset, Normalisation
from nas_engine.training.data.folder import load_folder
from nas_engine.training.data.stream import PlainBatches, TrainingStream
from nas_engine.training.randomness import Randomness
from tests.support.samples.datasets import striped_dataset

CPU = torch.device("cpu")
GREY, COLOUR = striped_dataset(), striped_dataset(channels=3)
SHIFTS = Augmentation(crop_padding=2, horizontal_flip=True)
EVERYTHING = Augmentation(resized_crop_scale=0.3, colour_jitter=(0.4, 0.4, 0.4), auto_augment=True)


def _stream(
    dataset: ImageDataset = GREY, augmentation: Augmentation = NO_AUGMENTATION, *, batch_size: int = 16,
    share: Share = ALONE, seed: int = 0,
) -> TrainingStream:  # fmt: skip
    return TrainingStream(
        dataset, batch_size=batch_size, augmentation=augmentation, randomness=Randomness(seed), device=CPU, share=share
    )


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own() -> None:
    stream = _stream()
    epochs = [
        [image.numpy().tobytes() for step in range(e * 6, e * 6 + 6) for image in stream.batch(step).images_NCHW]
        for e in range(2)
    ]
    assert stream.steps_per_epoch == 6
    assert len(set(epochs[0])) == len(GREY.train) == 96
    assert set(epochs[0]) == set(epochs[1])
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize(("dataset", "augmentation"), [(GREY, SHIFTS), (COLOUR, EVERYTHING)], ids=["own", "kornia"])
def test_a_batch_is_a_function_of_seed_and_step_alone(dataset: ImageDataset, augmentation: Augmentation) -> None:
    one, other = _stream(dataset, augmentation), _stream(dataset, augmentation)
    for step in range(5):
        one.batch(step)
    assert torch.equal(one.batch(7).images_NCHW, other.batch(7).images_NCHW)
    assert not torch.equal(one.batch(7).images_NCHW, _stream(dataset, augmentation, seed=1).batch(7).images_NCHW)


def test_kornia_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    _stream(COLOUR, EVERYTHING).batch(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_two_processes_see_the_halves_of_what_one_process_sees() -> None:
    whole = _stream(augmentation=SHIFTS).batch(3)
    halves = [_stream(augmentation=SHIFTS, share=Share(rank, 2)).batch(3) for rank in range(2)]
    assert torch.equal(torch.cat([half.images_NCHW for half in halves]), whole.images_NCHW)
    assert torch.equal(torch.cat([half.labels_N for half in halves]), whole.labels_N)


def test_shifts_and_flips_move_pixels_exactly() -> None:
    x = torch.arange(1.0, 26.0).view(1, 1, 5, 5).repeat(40, 1, 1, 1)
    y = Augmenter(Augmentation(crop_padding=1, horizontal_flip=True), Randomness(0), ALONE, cropped=False)(x, 0)
    padded = torch.nn.functional.pad(x[:1], (1, 1, 1, 1))
    options = [
        torch.flip(crop, (3,)) if flip else crop
        for flip in (False, True)
        for top in range(3)
        for left in range(3)
        for crop in [padded[:, :, top : top + 5, left : left + 5]]
    ]
    found = [next(i for i, option in enumerate(options) if torch.equal(image[None], option)) for image in y]
    assert len(set(found)) > 9  # many of the eighteen, flipped ones among them
    assert min(found) < 9 <= max(found)


@pytest.mark.parametrize("augmentation", [NO_AUGMENTATION, SHIFTS, EVERYTHING])
@pytest.mark.parametrize("dataset", [GREY, COLOUR], ids=["grey", "colour"])
def test_images_come_normalised_and_in_the_fast_memory_format(
    dataset: ImageDataset, augmentation: Augmentation
) -> None:
    if dataset is GREY and augmentation is EVERYTHING:
        augmentation = Augmentation(resized_crop_scale=0.5)  # colours need three channels
    x = _stream(dataset, augmentation).batch(0).images_NCHW
    assert x.stride(1) == 1
    assert x.dtype is torch.float32
    assert bool(torch.isfinite(x).all())
    if augmentation is NO_AUGMENTATION:
        whole = torch.cat([_stream(dataset).batch(step).images_NCHW for step in range(6)])
        assert whole.mean((0, 2, 3)).abs().max() < 1e-3
        assert (whole.std((0, 2, 3)) - 1).abs().max() < 1e-2


def test_plain_batches_keep_their_order_and_can_be_iterated_again() -> None:
    batches = PlainBatches(GREY.test, Normalisation((0.0,), (1.0,)), batch_size=25, device=CPU)
    assert len(batches) == 3
    labels = [torch.cat([batch.labels_N for batch in batches]).tolist() for _ in range(2)]
    assert labels[0] == labels[1] == GREY.test.labels.tolist()
    first = next(iter(batches)).images_NCHW[0] * 255
    assert torch.equal(first[0].round().byte(), torch.from_numpy(GREY.test.load(np.array([0]))[0, :, :, 0]))


def test_images_on_disk_are_cropped_while_they_are_read_and_alike_for_any_number_of_processes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(20):
            Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(tmp_path / name / f"{i}.png")
    dataset = load_folder(tmp_path, image_size=16, channels=3, validation_fraction=0.2, seed=0, in_memory_bytes=0)
    crop = Augmentation(resized_crop_scale=0.08)
    whole = _stream(dataset, crop, batch_size=8)
    in_order = [whole.batch(step).images_NCHW for step in range(3)]
    assert torch.equal(_stream(dataset, crop, batch_size=8).batch(2).images_NCHW, in_order[2])
    halves = [_stream(dataset, crop, batch_size=8, share=Share(rank, 2)).batch(1).images_NCHW for rank in range(2)]
    assert torch.equal(torch.cat(halves), in_order[1])
    whole.close()


def test_impossible_batches_and_augmentations_are_refused() -> None:
    with pytest.raises(TrainingError, match="does not divide over 3 processes"):
        _stream(share=Share(0, 3))
    with pytest.raises(TrainingError, match="needs 3 channels"):
        _stream(augmentation=EVERYTHING)
    with pytest.raises(DatasetError, match="batch_size 97 exceeds the 96 training images of data set 'stripes'"):
        _stream(batch_size=97)
    for options, message in (
        ({"crop_padding": -1}, "crop_padding"),
        ({"resized_crop_scale": 0.0}, "resized_crop_scale"),
        ({"colour_jitter": (2.0, 0.0, 0.0)}, "colour_jitter"),
    ):
        with pytest.raises(TrainingError, match=message):
            Augmentation(**options)
