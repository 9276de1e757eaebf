"""Colour jitter and AutoAugment's policy v0: pixels as Pillow makes them, draws as they are published."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from nas_engine.training.data.augmentation import ALONE, AUGMENTATIONS, Augmentation, Augmenter, Share
from nas_engine.training.data.auto_augment import (
    FILL,
    FILTERS,
    POLICY_V0,
    Operation,
    PolicyDraw,
    argument,
    auto_augment,
    draw_policy,
    warp,
)
from nas_engine.training.data.colour import draw_jitter, jitter
from nas_engine.training.randomness import Randomness
from tests.support.cuda import CUDA, NEEDS_CUDA

DEVICES = [
    torch.device("cpu"),
    pytest.param(CUDA, marks=NEEDS_CUDA),
]
SIZE = 32
_PLACES = np.mgrid[0:SIZE, 0:SIZE]
SMOOTH: NDArray[np.uint8] = np.stack(
    [
        60 + 3 * _PLACES[0] + _PLACES[1],
        250 - 4 * _PLACES[0] - 2 * _PLACES[1],
        128 + 90 * np.sin(_PLACES[0] / 5) * np.cos(_PLACES[1] / 7),
    ],
    axis=-1,
).clip(0, 255).astype(np.uint8)  # fmt: skip


def tensor(pixels_HWC: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(pixels_HWC).permute(2, 0, 1)[None].float().to(device)


def pixels(x_NCHW: torch.Tensor) -> NDArray[np.int64]:
    values: NDArray[np.int64] = x_NCHW[0].permute(1, 2, 0).cpu().numpy().astype(np.int64)
    return values


def one(operation: Operation, level: float, device: torch.device) -> NDArray[np.int64]:
    """`SMOOTH` after one operation at a level, drawn as if from a policy."""
    places = [
        (number, place)
        for number, pair in enumerate(POLICY_V0)
        for place, step in enumerate(pair)
        if step[0] is operation
    ]
    number, place = places[0]
    applied = np.zeros((1, 2), dtype=np.bool_)
    applied[0, place] = True
    draw = PolicyDraw(
        np.array([number]), applied, np.full((1, 2), level), np.ones((1, 2)), np.zeros((1, 2), dtype=np.int64)
    )
    return pixels(auto_augment(tensor(SMOOTH, device), draw))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("level", [0.0, 2.3, 5.0, 8.7, 10.0])
def test_operations_on_values_are_those_of_pillow(level: float, device: torch.device) -> None:
    image = Image.fromarray(SMOOTH)
    added = int(level / 10 * 110)
    expected = {
        Operation.EQUALIZE: ImageOps.equalize(image),
        Operation.AUTO_CONTRAST: ImageOps.autocontrast(image),
        Operation.INVERT: ImageOps.invert(image),
        Operation.POSTERIZE: ImageOps.posterize(image, int(level / 10 * 4) + 4),
        Operation.SOLARIZE: ImageOps.solarize(image, int(level / 10 * 256)),
        Operation.SOLARIZE_ADD: image.point([min(255, i + added) if i < 128 else i for i in range(256)] * 3),
        Operation.COLOUR: ImageEnhance.Color(image).enhance(level / 10 * 1.8 + 0.1),
    }
    for operation, wanted in expected.items():
        difference = np.abs(one(operation, level, device) - np.asarray(wanted).astype(np.int64))
        # Rounding of float32 against that of C's float: at most one level, at few pixels.
        assert difference.max() <= 1, operation
        assert (difference > 0).mean() < 0.02, operation


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("operation", [Operation.SHEAR_X, Operation.SHEAR_Y, Operation.ROTATE, Operation.TRANSLATE_Y])
def test_shears_rotations_and_translations_are_those_of_pillow(
    operation: Operation, sign: float, device: torch.device
) -> None:
    value = float(sign * argument(operation, np.array(6.5)))
    matrices = {
        Operation.SHEAR_X: (1, value, 0, 0, 1, 0),
        Operation.SHEAR_Y: (1, 0, 0, value, 1, 0),
        Operation.TRANSLATE_Y: (1, 0, 0, 0, 1, value * SIZE),
    }
    fill = tuple(int(level) for level in FILL)
    for number, (name, resample) in enumerate(
        zip(FILTERS, (Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC), strict=True)
    ):
        image = Image.fromarray(SMOOTH)
        if operation is Operation.ROTATE:
            wanted = image.rotate(value, resample=resample, fillcolor=fill)
        else:
            wanted = image.transform(
                image.size, Image.Transform.AFFINE, matrices[operation], resample=resample, fillcolor=fill
            )
        found = pixels(warp(tensor(SMOOTH, device), operation, np.array([value]), np.array([number])))
        difference = np.abs(found - np.asarray(wanted).astype(np.int64))
        # Half-way cases of `nearest` fall to either side; cubic kernels differ in a by a quarter.
        assert (difference > 2).mean() < 0.02, name
        assert (found == np.array(fill)).all(-1).sum() == pytest.approx(
            (np.asarray(wanted) == fill).all(-1).sum(), abs=SIZE
        )


@pytest.mark.parametrize("device", DEVICES)
def test_colour_jitter_follows_the_published_formulas_in_the_drawn_order(device: torch.device) -> None:
    rng = np.random.default_rng(5)
    x_NCHW = torch.from_numpy(rng.random((64, 3, 4, 5))).float()
    draw = draw_jitter(64, (0.4, 0.4, 0.4), rng)
    found = jitter(x_NCHW.to(device), draw).cpu().double()
    luma = np.array([0.299, 0.587, 0.114])
    for number, image in enumerate(x_NCHW.double().numpy()):
        for kind in draw.order_N3[number]:
            factor, grey = draw.factors_N3[number, kind], np.tensordot(luma, image, 1)
            other = (0.0, grey.mean(), grey[None])[kind]
            image = np.clip(factor * image + (1 - factor) * other, 0.0, 1.0)
        assert np.allclose(found[number], image, atol=2e-6)


def test_colour_jitter_leaves_black_black_and_draws_every_order_and_the_whole_range() -> None:
    only_colour = Augmentation(colour_jitter=(0.4, 0.4, 0.4))
    black = Augmenter(only_colour, Randomness(1), ALONE, cropped=True)(torch.zeros(200, 3, 4, 4), 0)
    assert float(black.abs().max()) == 0.0
    draw = draw_jitter(12_000, (0.4, 0.4, 0.4), np.random.default_rng(0))
    orders = Counter(map(tuple, draw.order_N3.tolist()))
    assert set(orders) == set(itertools.permutations(range(3)))
    assert all(abs(count - 2000) < 200 for count in orders.values())  # 5 standard deviations
    for factors in draw.factors_N3.T:
        assert (factors.min(), factors.max()) == pytest.approx((0.6, 1.4), abs=1e-3)
        assert factors.std() == pytest.approx(0.8 / math.sqrt(12), rel=0.02)
    grey = torch.full((12_000, 3, 1, 1), 0.5)
    brightness_alone = jitter(grey, draw)[:, 0, 0, 0]  # of one grey level, contrast and saturation change nothing
    assert float(brightness_alone.std()) == pytest.approx(0.5 * 0.8 / math.sqrt(12), rel=0.02)


def test_the_policy_is_drawn_for_each_image_with_its_probabilities_noise_and_signs() -> None:
    num = 50_000
    draw = draw_policy(num, np.random.default_rng(1))
    assert (np.bincount(draw.sub_policy_N, minlength=25) > 0.9 * num / 25).all()
    steps = np.array([[step[1:] for step in pair] for pair in POLICY_V0])
    for number, place in itertools.product(range(25), range(2)):
        mine = draw.sub_policy_N == number
        probability, level = steps[number, place]
        assert draw.applied_N2[mine, place].mean() == pytest.approx(probability, abs=0.06)
        if 1.5 < level < 8.5:  # out of reach of the clipping at 0 and 10
            assert draw.level_N2[mine, place].mean() == pytest.approx(level, abs=0.06)
            assert draw.level_N2[mine, place].std() == pytest.approx(0.5, abs=0.05)
    assert draw.level_N2.min() >= 0.0
    assert draw.level_N2.max() <= 10.0
    assert draw.sign_N2.mean() == pytest.approx(0.0, abs=0.02)
    assert np.bincount(draw.filter_N2.ravel(), minlength=3) / (2 * num) == pytest.approx([1 / 3] * 3, abs=0.01)


def test_levels_stand_for_the_published_ranges() -> None:
    ends = {
        Operation.ROTATE: (0.0, 30.0), Operation.SHEAR_X: (0.0, 0.3), Operation.SHEAR_Y: (0.0, 0.3),
        Operation.TRANSLATE_Y: (0.0, 0.45), Operation.POSTERIZE: (4.0, 8.0), Operation.SOLARIZE: (0.0, 256.0),
        Operation.SOLARIZE_ADD: (0.0, 110.0), Operation.COLOUR: (0.1, 1.9),
    }  # fmt: skip
    for operation, (low, high) in ends.items():
        assert argument(operation, np.array([0.0, 10.0])) == pytest.approx([low, high])


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_two_processes_augment_the_halves_of_what_one_augments(name: object) -> None:
    augmentation = AUGMENTATIONS[name]  # type: ignore[index]
    x_NCHW = torch.from_numpy(np.random.default_rng(2).random((8, 3, 16, 16))).float()
    whole = Augmenter(augmentation, Randomness(3), ALONE, cropped=True)(x_NCHW, 4)
    halves = [
        Augmenter(augmentation, Randomness(3), Share(rank, 2), cropped=True)(x_NCHW[4 * rank : 4 * rank + 4], 4)
        for rank in range(2)
    ]
    assert torch.allclose(torch.cat(halves), whole, atol=1e-6)
