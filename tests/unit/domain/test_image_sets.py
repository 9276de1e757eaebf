"""Image sets: what the file holds, what is refused, and what answers to it say."""

from __future__ import annotations

import io
import json
import math
import struct
import zlib
from typing import Any

import numpy as np
import pytest

from nas_engine.domain.errors import DatasetError, InvalidMeasurementError
from nas_engine.domain.measuring.classification import (
    Top1,
    check_predictions,
    compress_predictions,
    decompress_predictions,
    paired_loss,
    top1,
)
from nas_engine.domain.measuring.image_set import (
    ImageSetFile,
    ImageSetHeader,
    Layout,
    Preprocessing,
    file_bytes,
    read_head,
    write_image_set,
)

RGB = Preprocessing(mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 8.0))
GREY = Preprocessing(mean=(0.0,), std=(1.0,), layout=Layout.NHWC)


def made(num_images: int = 3, how: Preprocessing = RGB) -> bytes:
    pixels = np.arange(num_images * 4 * 5 * len(how.mean), dtype=np.uint8)
    pixels_NHWC = pixels.reshape(num_images, 4, 5, -1)
    return write_image_set("three", pixels_NHWC, np.arange(num_images) % 2, how, 2)


def test_a_file_gives_back_what_was_put_in() -> None:
    images = ImageSetFile(io.BytesIO(made()))
    assert images.header == ImageSetHeader(
        name="three", num_images=3, height=4, width=5, channels=3, num_classes=2, preprocessing=RGB
    )
    assert images.labels_N.tolist() == [0, 1, 0]
    assert images.pixels(1, 3).reshape(-1).tolist() == list(range(60, 180))
    assert file_bytes(images.header) == len(made())


def test_inputs_are_normalised_per_channel_in_the_layout_of_the_model() -> None:
    images = ImageSetFile(io.BytesIO(made()))
    x_NCHW = images.inputs(0, 2)
    assert x_NCHW.shape == (2, 3, 4, 5)
    assert x_NCHW.dtype == np.float32
    assert images.header.input_shape(2) == (2, 3, 4, 5)
    pixel = images.pixels(0, 2)[1, 2, 3]
    assert x_NCHW[1, :, 2, 3].tolist() == [(pixel[0] - 10) / 2, (pixel[1] - 20) / 4, (pixel[2] - 30) / 8]
    grey = ImageSetFile(io.BytesIO(made(how=GREY)))
    assert grey.inputs(0, 1).shape == grey.header.input_shape(1) == (1, 4, 5, 1)
    assert np.array_equal(grey.inputs(0, 3), grey.pixels(0, 3).astype(np.float32))


def test_equal_images_have_equal_bytes_and_another_preprocessing_is_another_set() -> None:
    assert made() == made()
    assert made() != made(how=Preprocessing(mean=RGB.mean, std=RGB.std, layout=Layout.NHWC))


def test_labels_are_read_without_the_pixels() -> None:
    data = made()
    header, labels_N = read_head(data[: len(data) - 3 * 60])
    assert (header.num_images, labels_N.tolist()) == (3, [0, 1, 0])


def with_header(change: dict[str, Any]) -> bytes:
    data = made()
    _, _, length = struct.unpack_from("<8sII", data)
    document = json.loads(data[16 : 16 + length]) | change
    text = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return struct.pack("<8sII", b"HILNASIM", 1, len(text)) + text + data[16 + length :]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not an image set"),
        (b"PK\x03\x04" + made(), "does not begin"),
        (struct.pack("<8sII", b"HILNASIM", 2, 0), "version 2"),
        (struct.pack("<8sII", b"HILNASIM", 1, 1 << 30), "too long"),
        (struct.pack("<8sII", b"HILNASIM", 1, 3) + b"nan", "no JSON"),
        (struct.pack("<8sII", b"HILNASIM", 1, 2) + b"[]", "no JSON object"),
        (made()[:-1], "it is cut"),
        (made() + b"x", "it is cut"),
        (made()[: -3 * 60 - 1], "within its 3 labels"),
        (with_header({"num_images": 0}), "num_images of an image set is 0"),
        (with_header({"num_images": True}), "no whole number"),
        (with_header({"num_images": 10**9}), "between 1 and"),
        (with_header({"width": 3.5}), "no whole number"),
        (with_header({"std": [0.0, 1.0, 1.0]}), "deviations above 0"),
        (with_header({"mean": [0.0]}), "1 means and 3 deviations"),
        (with_header({"channels": 1}), "1 channels with 3 means"),
        (with_header({"layout": "chwn"}), "chwn"),
        (with_header({"name": "a\nb"}), "printable"),
        (with_header({"num_classes": 1}), "label 1 and 1 classes"),
        (with_header({"more": 1}), "canonical"),
    ],
)
def test_what_is_not_exactly_an_image_set_is_refused_with_the_reason(data: bytes, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        ImageSetFile(io.BytesIO(data))


def test_images_and_labels_that_do_not_fit_are_not_written() -> None:
    pixels_NHWC = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    with pytest.raises(DatasetError, match="uint8"):
        write_image_set("x", pixels_NHWC.astype(np.float32), np.zeros(2, int), RGB, 2)
    with pytest.raises(DatasetError, match="one per image"):
        write_image_set("x", pixels_NHWC, np.zeros(3, int), RGB, 2)
    with pytest.raises(DatasetError, match="from -1 to 5"):
        write_image_set("x", pixels_NHWC, np.array([-1, 5]), RGB, 2)


# ---- answers


def answers(*classes: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    return np.array(classes, dtype=np.uint16)


def test_top_1_is_the_share_of_right_answers_with_its_standard_error() -> None:
    found = top1(answers(0, 1, 2, 0), answers(0, 1, 2, 3))
    assert (found, found.value) == (Top1(3, 4), 0.75)
    assert found.standard_error == pytest.approx(math.sqrt(0.75 * 0.25 / 4))
    with pytest.raises(InvalidMeasurementError, match="one per image"):
        top1(answers(0), answers(0, 1))


def test_a_loss_is_paired_so_equal_answers_have_none_and_no_error() -> None:
    labels = answers(0, 1, 2, 3)
    same = paired_loss(answers(0, 1, 0, 0), answers(0, 1, 0, 0), labels)
    assert (same.loss, same.standard_error, same.agreement) == (0.0, 0.0, 1.0)


def test_a_loss_counts_what_was_lost_against_what_was_won() -> None:
    labels = np.zeros(100, dtype=np.uint16)
    reference, device = np.zeros(100, dtype=np.uint16), np.zeros(100, dtype=np.uint16)
    reference[:5] = 1  # five wrong, of which the device has three right
    device[3:10] = 1  # two wrong in both, five lost
    found = paired_loss(reference, device, labels)
    assert found.loss == pytest.approx(0.02)
    assert found.standard_error == pytest.approx(math.sqrt((5 + 3 - 0.04) / 1e4))
    assert found.agreement == pytest.approx(0.92)
    assert found.loss == pytest.approx(top1(reference, labels).value - top1(device, labels).value)


@pytest.mark.parametrize(
    ("data", "num_images"),
    [
        (b"junk", 2),
        (compress_predictions(answers(1, 2)), 3),
        (compress_predictions(answers(1, 2)), 1),
        (compress_predictions(answers(1, 2)) + b"x", 2),
        (compress_predictions(answers(1, 2))[:-2], 2),
        (zlib.compress(bytes(10_000_000)), 4),
        (compress_predictions(answers(1, 2)), 0),
        (compress_predictions(answers(1, 2)), 10**9),
    ],
)
def test_predictions_that_are_cut_padded_or_swollen_are_refused(data: bytes, num_images: int) -> None:
    with pytest.raises(InvalidMeasurementError):
        decompress_predictions(data, num_images)


def test_a_class_beyond_the_last_is_no_prediction() -> None:
    check_predictions(answers(9), 10)
    with pytest.raises(InvalidMeasurementError, match="class 10"):
        check_predictions(answers(10), 10)
    with pytest.raises(InvalidMeasurementError, match="uint16"):
        check_predictions(np.zeros(0, dtype=np.uint16), 10)
