"""The real rknn-toolkit2, where its environment exists (`make rknn`, or HILNAS_RKNN_PYTHON)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nas_engine.domain.errors import ConversionError, ConversionFailure
from nas_engine.domain.graph_builder import GraphBuilder
from nas_engine.domain.layer_graph import LayerGraph, PoolKind
from nas_engine.domain.measuring.cycle_table import CycleTable
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.search_space import Form, sample_genotype
from nas_engine.evaluation.parity import run_onnx
from nas_engine.export.convert_file import convert_file
from nas_engine.export.onnx import export_onnx
from nas_engine.export.operators import npu_fallbacks
from nas_engine.export.random_weights import random_weights
from nas_engine.export.rknn.cache import ConversionCache
from nas_engine.export.rknn.converter import RknnConverter, find_converter
from nas_engine.export.rknn.process import PoolSettings
from nas_engine.export.rknn.settings import CalibrationBatch, RknnSettings
from nas_engine.spaces.registry import create_space, space_ids
from tests.support.samples.rknn_files import NEEDS_CONVERTER, RKNN_PYTHON
from tests.support.samples.sample_graphs import INIT, every_node_graph, small_shufflenet

pytestmark = NEEDS_CONVERTER
FP16, W8A8 = RknnSettings(dtype=Dtype.FP16), RknnSettings(dtype=Dtype.W8A8)


@pytest.fixture(scope="module")
def converter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RknnConverter]:
    settings = PoolSettings(command=find_converter(RKNN_PYTHON), job_timeout_s=240.0)
    made = RknnConverter(settings, ConversionCache(tmp_path_factory.mktemp("conversions")))
    yield made
    made.close()


def _images(graph: LayerGraph, number: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((number, *graph.input_shape), dtype=np.float32)


def _export(graph: LayerGraph) -> bytes:
    return export_onnx(graph, *random_weights(graph, 0))


def _strided_slice() -> LayerGraph:
    g = GraphBuilder((3, 16, 16))
    x = g.conv(g.input, "conv", out=8, kernel=3, init=INIT)
    x = g.slice(x, "rows", start=0, stop=16, step=2, axis=1)
    return g.build(g.conv(x, "after", out=8, kernel=3, init=INIT))


def _strided_pools() -> LayerGraph:
    g = GraphBuilder((3, 17, 17))
    x = g.conv(g.input, "conv", out=8, kernel=3, init=INIT)
    x = g.pool(x, "skip", PoolKind.MAX, kernel=1, stride=2)
    x = g.pool(x, "padded", PoolKind.AVG, kernel=3, stride=1, padding=1, count_include_pad=True)
    return g.build(g.pool(x, "unpadded", PoolKind.AVG, kernel=3, stride=2, padding=1, count_include_pad=False))


def _bicubic() -> bytes:
    """A graph that makes toolkit 2.5.0 die of a segmentation fault."""
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1.0, 1.0, 2.0, 2.0])
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="cubic")],
        "bicubic",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 16, 16))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 3, 32, 32))],
        [scales],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(model.SerializeToString())


def _with_opset(data: bytes, opset: int) -> bytes:
    model = onnx.load_model_from_string(data)
    model.opset_import[0].version = opset
    return bytes(model.SerializeToString())


def test_an_architecture_becomes_a_model_that_stays_on_the_npu(converter: RknnConverter) -> None:
    conversion = converter.convert(_export(small_shufflenet()), FP16, arch_id="a" * 64)
    assert conversion.table.npu_only
    assert conversion.table.total_cycles > 0
    assert conversion.model.startswith(b"RKNN")
    assert b'"target_platform":["rk3588"]' in conversion.model
    assert conversion.key.custom_string().encode() in conversion.model


@pytest.mark.parametrize("space_id", space_ids())
def test_a_random_architecture_of_every_space_stays_on_the_npu(converter: RknnConverter, space_id: str) -> None:
    space = create_space(space_id)
    graph = space.graph(space.decode(sample_genotype(space.genes, np.random.default_rng(7))), Form.DEPLOYED)
    if graph is None:
        pytest.skip(f"{space_id} is a table of results and has no network to convert")
    table = converter.convert(_export(graph), FP16).table
    assert [layer.name for layer in table.cpu_fallbacks] == []


def test_the_simulator_gives_the_answers_of_onnx_runtime(converter: RknnConverter) -> None:
    graph = small_shufflenet()
    data, image = _export(graph), _images(graph, 1, 1)
    expected = run_onnx(data, image)
    fp16 = converter.simulate_output(data, FP16, image)
    assert np.corrcoef(expected.ravel(), fp16.ravel())[0, 1] > 0.9999
    int8 = converter.simulate_output(data, W8A8, image, calibration=CalibrationBatch(_images(graph, 4, 2)))
    assert 0.95 < np.corrcoef(expected.ravel(), int8.ravel())[0, 1] < 0.999999


def test_a_quantised_conversion_runs_in_integers_and_needs_less_weight_memory(converter: RknnConverter) -> None:
    graph = small_shufflenet()
    fp16 = converter.convert(_export(graph), FP16)
    int8 = converter.convert(_export(graph), W8A8, calibration=CalibrationBatch(_images(graph, 2, 3)))
    assert int8.table.weight_memory_bytes < fp16.table.weight_memory_bytes
    assert {layer.dtype for layer in fp16.table.layers} == {"FLOAT16"}
    assert "INT8" in {layer.dtype for layer in int8.table.layers}


def test_raw_images_are_normalised_on_the_board_where_the_settings_say_so(converter: RknnConverter) -> None:
    graph = small_shufflenet()
    settings = RknnSettings(dtype=Dtype.W8A8, mean=(127.5,) * 3, std=(63.0,) * 3)
    raw = np.random.default_rng(4).integers(0, 256, (2, *graph.input_shape), dtype=np.uint8)
    conversion = converter.convert(_export(graph), settings, calibration=CalibrationBatch(raw))
    assert conversion.table.npu_only


@pytest.mark.parametrize(
    "graph", [every_node_graph(), _strided_slice(), _strided_pools()], ids=["every-node", "slice", "pools"]
)
def test_the_check_before_conversion_finds_what_the_compiler_moves_to_the_cpu(
    converter: RknnConverter, graph: LayerGraph
) -> None:
    moved = {layer.name.partition(":")[2] for layer in converter.convert(_export(graph), FP16).table.cpu_fallbacks}
    assert moved == {fallback.node for fallback in npu_fallbacks(graph)} != set()


def test_a_model_that_kills_the_compiler_is_a_crash_that_is_tried_once(converter: RknnConverter) -> None:
    for suffix in ("of SIGSEGV", "tried before"):
        with pytest.raises(ConversionError, match=suffix) as caught:
            converter.convert(_bicubic(), FP16)
        assert caught.value.failure is ConversionFailure.CONVERTER_CRASH
    assert converter.convert(_export(_strided_pools()), FP16).model.startswith(b"RKNN")


@pytest.mark.parametrize(
    ("data", "settings", "cause"),
    [
        (b"no model", FP16, "at load: "),
        (_with_opset(_export(_strided_pools()), 20), FP16, "opset 20"),
        (_export(_strided_pools()), RknnSettings(dtype=Dtype.FP16, target_platform="rk9"), "Invalid target_platform"),
        (_export(_strided_pools()), RknnSettings(dtype=Dtype.FP16, mean=(0.0,), std=(1.0,)), "mean"),
    ],
    ids=["garbage", "opset", "platform", "channels"],
)
def test_a_refusal_has_a_one_line_cause(
    converter: RknnConverter, data: bytes, settings: RknnSettings, cause: str
) -> None:
    with pytest.raises(ConversionError, match=cause) as caught:
        converter.convert(data, settings)
    assert caught.value.failure is ConversionFailure.CONVERT_FAILED
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_calibration_images_of_another_shape_are_refused_with_the_cause(converter: RknnConverter) -> None:
    images = CalibrationBatch(np.zeros((1, 3, 5, 5), np.float32))
    with pytest.raises(ConversionError) as caught:
        converter.convert(_export(small_shufflenet()), W8A8, calibration=images)
    assert caught.value.failure is ConversionFailure.CONVERT_FAILED


def test_a_file_is_converted_by_hand(tmp_path: Path) -> None:
    graph = small_shufflenet()
    source, destination = tmp_path / "model.onnx", tmp_path / "model.rknn"
    source.write_bytes(_export(graph))
    np.savez(tmp_path / "images.npz", images=_images(graph, 2, 5))
    converted = convert_file(source, destination, W8A8, calibration_file=tmp_path / "images.npz", python=RKNN_PYTHON)
    assert destination.read_bytes().startswith(b"RKNN")
    assert CycleTable.from_json(converted.table.read_text()) == converted.cycles
    assert converted.simulated.latency_us == pytest.approx(converted.cycles.total_cycles / 1e3)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "images.npz",
        "model.cycles.json",
        "model.onnx",
        "model.rknn",
    ]
