"""ONNX Runtime on the export and torch execution of the graph give the same answers."""

from __future__ import annotations

import numpy as np
import pytest

from nas_engine.domain.errors import ExportError
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form
from nas_engine.evaluation.parity import Parity, compare, measure_parity, require_parity, run_onnx
from nas_engine.export.random_weights import random_weights
from nas_engine.spaces.registry import create_space
from tests.support.samples.sample_graphs import every_node_graph, small_shufflenet, training_graph

FORMS = {"every-node": every_node_graph(), "shufflenet": small_shufflenet(), "training": training_graph()}


def _parity(graph: LayerGraph, num_images: int = 2) -> Parity:
    weights, statistics = random_weights(graph, 0)
    images = np.random.default_rng(1).standard_normal((num_images, *graph.input_shape), dtype=np.float32)
    coefficients = {"w": np.array([0.3, 0.7], np.float32)}
    return measure_parity(graph, weights, statistics, images, coefficients=coefficients)


@pytest.mark.parametrize("graph", FORMS.values(), ids=FORMS.keys())
def test_both_sides_agree_to_a_ten_thousandth(graph: LayerGraph) -> None:
    parity = _parity(graph)
    assert parity.num_images == 2
    require_parity(parity)


def test_the_published_224_pixel_network_agrees() -> None:
    space = create_space("spos")
    graph = space.graph(space.parse("spos-searched"), Form.DEPLOYED)
    assert graph is not None
    require_parity(_parity(graph, num_images=1))


def test_the_error_is_relative_to_the_largest_answer() -> None:
    parity = compare(np.array([[0.0, 10.0]], np.float32), np.array([[0.5, 10.0]], np.float32))
    assert parity.max_absolute_error == 0.5
    assert parity.max_relative_error == pytest.approx(0.05)


def test_a_difference_above_the_tolerance_is_refused() -> None:
    with pytest.raises(ExportError, match=r"differs from its source by 5.00e-02"):
        require_parity(compare(np.array([[0.0, 10.0]], np.float32), np.array([[0.5, 10.0]], np.float32)))


def test_a_difference_from_all_zero_answers_is_never_accepted() -> None:
    zeros, ones = np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)
    require_parity(compare(zeros, zeros))
    with pytest.raises(ExportError):
        require_parity(compare(zeros, ones))


def test_non_finite_and_misshapen_answers_are_refused() -> None:
    ones = np.ones((1, 2), np.float32)
    with pytest.raises(ExportError, match="NaN or infinity"):
        compare(ones, np.array([[np.nan, 1.0]], np.float32))
    with pytest.raises(ExportError, match="not the same network"):
        compare(ones, np.ones((1, 3), np.float32))


def test_a_model_that_onnx_runtime_refuses_is_an_export_error() -> None:
    with pytest.raises(ExportError, match="ONNX Runtime cannot run the model"):
        run_onnx(b"not a model", np.ones((1, 3, 4, 4), np.float32))
