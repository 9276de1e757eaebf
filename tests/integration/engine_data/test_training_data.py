"""Splits never leak, labels and shapes are checked, normalisation comes from training images."""

from __future__ import annotations

import numpy as np
import pytest

from nas_engine.domain.errors import DatasetError
from nas_engine.settings.kinds.datasets import SourceKind
from nas_engine.training.data.dataset import ArraySplit, carve, make_dataset
from nas_engine.training.data.source import DatasetSource, open_dataset
from tests.support.samples.datasets import striped_images


def _numbered(num_images: int, num_classes: int, start: int = 0) -> ArraySplit:
    """Every image is unlike every other: its number is written into its pixels."""
    numbers = np.arange(start, start + num_images)
    pixels = np.zeros((num_images, 4, 4, 1), dtype=np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 1, 0] = numbers // 256, numbers % 256
    return ArraySplit(pixels, numbers.astype(np.int64) % num_classes)


def test_validation_images_are_carved_from_training_and_nothing_leaks() -> None:
    dataset = make_dataset("numbers", _numbered(500, 5), _numbered(100, 5, start=500), tuple("abcde"))
    seen = [{p.tobytes() for p in s.load(np.arange(len(s)))} for s in (dataset.train, dataset.validation, dataset.test)]
    assert [len(part) for part in seen] == [400, 100, 100]
    assert len(set.union(*seen)) == 600


def test_the_carving_is_stratified_and_seeded() -> None:
    labels = np.repeat(np.arange(4), [10, 50, 100, 3]).astype(np.int64)
    kept, held_out = carve(labels, 0.2, 7, "x")
    assert np.bincount(labels[held_out]).tolist() == [2, 10, 20, 1]
    assert sorted([*kept, *held_out]) == list(range(len(labels)))
    assert np.array_equal(held_out, carve(labels, 0.2, 7, "x")[1])
    assert not np.array_equal(held_out, carve(labels, 0.2, 8, "x")[1])


def test_published_validation_images_are_used_as_they_are() -> None:
    dataset = make_dataset("x", _numbered(50, 5), _numbered(20, 5, 50), tuple("abcde"), validation=_numbered(10, 5, 70))
    assert (len(dataset.train), len(dataset.validation)) == (50, 10)


def test_normalisation_is_the_mean_and_deviation_of_the_training_pixels_alone() -> None:
    train = striped_images(60, channels=3)
    bright = ArraySplit(np.full((30, 8, 8, 3), 255, dtype=np.uint8), np.arange(30, dtype=np.int64) % 3)
    dataset = make_dataset("x", train, bright, ("a", "b", "c"), validation=bright)
    values = train.pixels.reshape(-1, 3) / 255.0
    assert dataset.normalisation.mean == pytest.approx(tuple(values.mean(0)))
    assert dataset.normalisation.std == pytest.approx(tuple(values.std(0)))


def test_images_of_one_grey_level_do_not_divide_by_zero() -> None:
    flat = ArraySplit(np.full((20, 4, 4, 1), 9, dtype=np.uint8), np.arange(20, dtype=np.int64) % 2)
    assert make_dataset("x", flat, flat, ("a", "b")).normalisation.std == (1.0,)


def test_the_fingerprint_sees_pixels_labels_classes_and_the_split() -> None:
    train, test = striped_images(60), striped_images(30, seed=5)
    base = make_dataset("x", train, test, ("a", "b", "c")).fingerprint
    assert base == make_dataset("another name", train, test, ("a", "b", "c")).fingerprint
    changed = train.pixels.copy()
    changed[0, 0, 0, 0] ^= 1
    variants = [
        make_dataset("x", ArraySplit(changed, train.labels), test, ("a", "b", "c")),
        make_dataset("x", ArraySplit(train.pixels, np.roll(train.labels, 1)), test, ("a", "b", "c")),
        make_dataset("x", train, test, ("a", "b", "d")),
        make_dataset("x", train, test, ("a", "b", "c"), seed=1),
    ]
    assert len({base, *(v.fingerprint for v in variants)}) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: (ArraySplit(s.pixels[:0], s.labels[:0]), s), "there are none"),
        (lambda s: (ArraySplit(s.pixels, s.labels + 1), s), "from 1 to 3, there are 3 classes: they count from 1"),
        (lambda s: (ArraySplit(s.pixels, s.labels % 2), s), r"no training image is of class 2 \(c\)"),
        (lambda s: (ArraySplit(s.pixels, s.labels - 1), s), "labels run from -1"),
        (lambda s: (s, ArraySplit(s.pixels[:, :6], s.labels)), "brought to one shape"),
    ],
)
def test_malformed_splits_are_refused(change, message: str) -> None:  # type: ignore[no-untyped-def]
    train, test = change(striped_images(30))
    with pytest.raises(DatasetError, match=message):
        make_dataset("x", train, test, ("a", "b", "c"))


def test_arrays_of_a_wrong_type_or_shape_are_refused() -> None:
    labels = np.zeros(2, dtype=np.int64)
    with pytest.raises(DatasetError, match="uint8"):
        ArraySplit(np.zeros((2, 4, 4, 1), dtype=np.float32), labels)
    with pytest.raises(DatasetError, match="1 or 3"):
        ArraySplit(np.zeros((2, 4, 4, 2), dtype=np.uint8), labels)
    with pytest.raises(DatasetError, match="one per image"):
        ArraySplit(np.zeros((3, 4, 4, 1), dtype=np.uint8), labels)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, float("nan")])
def test_a_validation_fraction_outside_zero_and_one_is_refused(fraction: float) -> None:
    with pytest.raises(DatasetError, match="validation_fraction"):
        make_dataset("x", striped_images(30), striped_images(30), ("a", "b", "c"), validation_fraction=fraction)


def test_a_class_with_one_image_cannot_be_split() -> None:
    with pytest.raises(DatasetError, match="class 1 has one training image"):
        carve(np.array([0, 0, 0, 1]), 0.2, 0, "x")


def test_the_embedded_data_set_is_balanced_fashion_mnist() -> None:
    dataset = open_dataset(DatasetSource())
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (8000, 2000, 2000)
    assert dataset.train.image_shape == (28, 28, 1)
    for split in (dataset.train, dataset.validation, dataset.test):
        assert len(set(np.bincount(split.labels).tolist())) == 1
    assert dataset.classes[0] == "t-shirt/top"


def test_grey_images_become_colour_and_another_size_on_request() -> None:
    dataset = open_dataset(DatasetSource(image_size=32, channels=3))
    assert dataset.train.image_shape == (32, 32, 3)
    pixels = dataset.train.load(np.arange(3))
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "/x"}, "takes no path"),
        ({"kind": SourceKind.NPZ}, "needs a path"),
        ({"channels": 2}, "channels is 2"),
        ({"image_size": 0}, "image_size is 0"),
    ],
)
def test_an_impossible_source_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        DatasetSource(**options)  # type: ignore[arg-type]
