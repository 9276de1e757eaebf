"""Export holds for any genotype, any normalisation and any integer, not only for the examples."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_engine.domain.graph_builder import GraphBuilder
from nas_engine.evaluation.parity import measure_parity, require_parity
from nas_engine.export import onnx_wire
from nas_engine.export.batch_norm import BatchNormValues, fold
from nas_engine.export.onnx import export_onnx
from nas_engine.export.onnx_check import inspect_onnx
from nas_engine.export.operators import npu_fallbacks
from nas_engine.export.random_weights import random_weights
from tests.support.samples.sample_graphs import INIT, ZERO, small_shufflenet

INT64 = st.integers(-(2**63), 2**63 - 1)


@settings(max_examples=15, deadline=None)
@given(genotype=st.tuples(*[st.integers(0, 3)] * 4), seed=st.integers(0, 2**32 - 1))
def test_any_genotype_gives_a_valid_model_that_agrees_with_torch(genotype: tuple[int, ...], seed: int) -> None:
    graph = small_shufflenet(genotype)
    weights, statistics = random_weights(graph, seed)
    images = np.random.default_rng(seed).standard_normal((1, *graph.input_shape), dtype=np.float32)
    require_parity(measure_parity(graph, weights, statistics, images))
    assert inspect_onnx(export_onnx(graph, weights, statistics)).outputs[0].shape == (1, 10)
    assert npu_fallbacks(graph) == ()


@settings(max_examples=25, deadline=None)
@given(
    channels=st.integers(1, 6),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    size=st.integers(5, 9),
    depthwise=st.booleans(),
    has_bias=st.booleans(),
    affine=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_convolution_with_normalisation_agrees_with_torch(
    channels: int,
    kernel: int,
    stride: int,
    padding: int,
    size: int,
    depthwise: bool,
    has_bias: bool,
    affine: bool,
    seed: int,
) -> None:
    g = GraphBuilder((channels, size, size))
    x = g.conv(
        g.input,
        "conv",
        out=channels * (2 if depthwise else 1),
        kernel=kernel,
        stride=stride,
        padding=padding,
        groups=channels if depthwise else 1,
        init=INIT,
        bias=ZERO if has_bias else None,
    )
    graph = g.build(g.batch_norm(x, "bn", affine=affine))
    weights, statistics = random_weights(graph, seed)
    images = np.random.default_rng(seed).standard_normal((2, *graph.input_shape), dtype=np.float32)
    require_parity(measure_parity(graph, weights, statistics, images))


@given(data=st.data(), out=st.integers(1, 5))
def test_folding_equals_convolving_and_then_normalising(data: st.DataObject, out: int) -> None:
    def vector(low: float, high: float) -> np.ndarray:
        values = data.draw(st.lists(st.floats(low, high, width=32), min_size=out, max_size=out))
        return np.array(values, np.float32)

    values = BatchNormValues(vector(-4, 4), vector(-4, 4), vector(-4, 4), vector(0, 4))
    weight, bias = vector(-4, 4).reshape(out, 1, 1, 1), vector(-4, 4)
    folded_weight, folded_bias = fold(weight, bias, values, 1e-3, "bn")
    x = 1.75
    convolved = weight.reshape(out).astype(np.float64) * x + bias
    expected = (convolved - values.mean) / np.sqrt(
        values.variance.astype(np.float64) + 1e-3
    ) * values.gamma + values.beta
    np.testing.assert_allclose(folded_weight.reshape(out) * x + folded_bias, expected, rtol=1e-4, atol=1e-3)


@given(value=INT64, values=st.lists(INT64, max_size=4), real=st.floats(width=32, allow_nan=False))
def test_attributes_are_read_back_by_protobuf_as_they_were_written(value: int, values: list[int], real: float) -> None:
    attributes = (
        onnx_wire.attribute_int("one", value)
        + onnx_wire.attribute_ints("many", values)
        + onnx_wire.attribute_float("real", real)
    )
    graph = onnx.GraphProto.FromString(onnx_wire.node("Op", "name", ["a", "", "b"], "y", attributes))
    (node,) = graph.node
    assert (node.op_type, node.name, list(node.input), list(node.output)) == ("Op", "name", ["a", "", "b"], ["y"])
    assert node.attribute[0].i == value
    assert list(node.attribute[1].ints) == values
    assert node.attribute[2].f == real
    assert graph.SerializeToString(deterministic=True) == onnx_wire.node("Op", "name", ["a", "", "b"], "y", attributes)


@given(shape=st.lists(st.integers(1, 4), max_size=4), seed=st.integers(0, 100), integers=st.booleans())
def test_tensors_are_read_back_by_onnx_as_they_were_written(shape: list[int], seed: int, integers: bool) -> None:
    rng = np.random.default_rng(seed)
    array = rng.integers(-(2**40), 2**40, shape) if integers else rng.standard_normal(shape).astype(np.float32)
    written = b"".join(onnx_wire.tensor("w", np.asarray(array)))
    (tensor,) = onnx.GraphProto.FromString(written).initializer
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), array)
    assert tensor.name == "w"


def test_a_tensor_that_is_not_contiguous_is_written_in_its_logical_order() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T
    (tensor,) = onnx.GraphProto.FromString(b"".join(onnx_wire.tensor("w", array))).initializer
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), array)
