"""Properties of image sets and answers over arbitrary images."""

from __future__ import annotations

import contextlib
import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nas_engine.domain.errors import DatasetError
from nas_engine.domain.measuring.classification import compress_predictions, decompress_predictions, paired_loss, top1
from nas_engine.domain.measuring.image_set import ImageSetFile, Layout, Preprocessing, write_image_set

_finite = st.floats(-1e6, 1e6, allow_nan=False)
_classes = st.integers(0, 65_535)


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, np.ndarray, np.ndarray, Preprocessing]:
    channels = draw(st.sampled_from([1, 3]))
    shape = (draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 4)), channels)
    pixels_NHWC = draw(arrays(np.uint8, shape))
    num_classes = draw(st.integers(1, 65_536))
    labels_N = draw(arrays(np.int64, shape[0], elements=st.integers(0, num_classes - 1)))
    how = Preprocessing(
        mean=tuple(draw(st.lists(_finite, min_size=channels, max_size=channels))),
        std=tuple(draw(st.lists(st.floats(1e-3, 1e6), min_size=channels, max_size=channels))),
        layout=draw(st.sampled_from(Layout)),
    )
    name = draw(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20))
    return write_image_set(name, pixels_NHWC, labels_N, how, num_classes), pixels_NHWC, labels_N, how


@given(files())
def test_any_images_come_back_as_they_were(made: tuple[bytes, np.ndarray, np.ndarray, Preprocessing]) -> None:
    data, pixels_NHWC, labels_N, how = made
    images = ImageSetFile(io.BytesIO(data))
    assert images.header.preprocessing == how
    assert np.array_equal(images.labels_N, labels_N)
    assert np.array_equal(images.pixels(0, len(labels_N)), pixels_NHWC)
    assert images.inputs(0, len(labels_N)).shape == images.header.input_shape(len(labels_N))


@given(files(), st.data())
def test_a_damaged_file_is_refused_or_is_another_set_but_never_an_accident(
    made: tuple[bytes, np.ndarray, np.ndarray, Preprocessing],
    data: st.DataObject,
) -> None:
    whole = made[0]
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    with contextlib.suppress(DatasetError):
        images = ImageSetFile(io.BytesIO(damaged))
        assert len(images.labels_N) == images.header.num_images
        assert int(images.labels_N.max()) < images.header.num_classes


@given(st.lists(_classes, min_size=1, max_size=50))
def test_predictions_survive_the_wire(classes: list[int]) -> None:
    predictions_N = np.array(classes, dtype=np.uint16)
    assert np.array_equal(decompress_predictions(compress_predictions(predictions_N), len(classes)), predictions_N)


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=50))
def test_a_paired_loss_is_the_difference_of_the_accuracies(rows: list[tuple[int, int, int]]) -> None:
    reference, device, labels = np.array(rows, dtype=np.uint16).T
    found = paired_loss(reference, device, labels)
    assert abs(found.loss - (top1(reference, labels).value - top1(device, labels).value)) < 1e-12
    assert abs(found.loss) <= 1.0 - found.agreement + 1e-12
    assert found.standard_error >= 0.0
