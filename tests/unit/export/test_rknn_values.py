"""Settings, calibration images, keys and the compiler's table: what they accept and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from nas_engine.domain.errors import ExportError
from nas_engine.domain.measuring.cycle_table import CycleTable, Target, simulate_latency
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.export.rknn.converter import one_line_cause
from nas_engine.export.rknn.cycle_table import parse_cycle_table
from nas_engine.export.rknn.settings import CalibrationBatch, RknnSettings, make_key

# Printed by rknn-toolkit2 2.5.0 (columns as they are, some rows left out and renumbered).
LOG = """\
D RKNN: [01:29:19.740]                                   Network Layer Information Table
D RKNN: [01:29:19.740] -------------------------------------------------------------------
D RKNN: [01:29:19.740] ID   OpType             DataType Target InputShape      OutputShape     Cycles(DDR/NPU/Total)    RW(KB)       FullName
D RKNN: [01:29:19.740] 0    InputOperator      FLOAT16  CPU    \\               (1,3,12,12)     0/0/0                    0            InputOperator:input
D RKNN: [01:29:19.740] 1    ConvClip           FLOAT16  NPU    (1,3,12,12),(8,3,3,3),(8)  (1,8,6,6)  113/432/432     2            Conv:stem.conv
\x1b[36mD RKNN: [01:29:19.740] 2    AveragePool        FLOAT16  CPU    (1,8,6,6)       (1,8,3,3)       0/0/0           0            AveragePool:block2.mean\x1b[0m
D RKNN: [01:29:19.740] 3    Split              INT8  NPU    (1,3840,1,1),(3)  (1,1280,1,1),...       0/0/0                    7            Split:f_tp_rs_split
D RKNN: [01:29:19.740] 4    Conv               FLOAT16  NPU    (1,8,3,3),(5,8,3,3)   (1,5,1,1)   532/32/532      0            Conv:head.linear#2
D RKNN: [01:29:19.740] 5    Reshape            FLOAT16  CPU    (1,5,1,1),(2)   (1,5)           0/0/0                    0            Reshape:head.linear_mm_tp_rs
D RKNN: [01:29:19.740] 6    OutputOperator     FLOAT16  CPU    (1,5)           \\               0/0/0                    0            OutputOperator:head.linear
D RKNN: [01:29:19.741] Total Internal Memory Size: 4.5KB
D RKNN: [01:29:19.741] Total Weight Memory Size: 9028.56KB
"""  # noqa: E501


def test_the_table_is_read_with_cycles_targets_and_memory() -> None:
    table = parse_cycle_table("noise\n" + LOG)
    assert [layer.operator for layer in table.layers] == ["ConvClip", "AveragePool", "Split", "Conv", "Reshape"]
    first = table.layers[0]
    assert (first.ddr_cycles, first.npu_cycles, first.total_cycles) == (113, 432, 432)
    assert (first.name, first.target, first.traffic_kib) == ("Conv:stem.conv", Target.NPU, 2)
    assert table.total_cycles == 432 + 532
    assert (table.internal_memory_bytes, table.weight_memory_bytes) == (4608, 9245245)


def test_layers_on_the_cpu_are_fallbacks_but_the_last_reshape_is_not() -> None:
    table = parse_cycle_table(LOG)
    assert [layer.name for layer in table.cpu_fallbacks] == ["AveragePool:block2.mean"]
    assert not table.npu_only


def test_cycles_over_the_clock_are_a_simulated_latency() -> None:
    simulated = simulate_latency(parse_cycle_table(LOG), clock_hz=500_000_000)
    assert simulated.latency_us == pytest.approx(964 / 500)
    assert simulated.num_layers == 5


def test_a_table_with_a_column_of_sparse_weights_is_read_too() -> None:
    sparse = LOG.replace("113/432/432     2 ", "113/432/432     0%    2 ")
    assert sparse != LOG
    assert parse_cycle_table(sparse) == parse_cycle_table(LOG)


def test_the_last_table_counts_where_the_compiler_printed_two() -> None:
    assert parse_cycle_table(LOG.replace("432", "999") + LOG).total_cycles == 964


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("", "no layer table"),
        (LOG.replace("Conv:stem.conv", ""), "some could not be read"),
        (LOG.replace("113/432/432", "many"), "some could not be read"),
        (LOG.replace("Total Weight", "Weight"), "weight memory"),
        (LOG.split("\n")[0], "empty"),
    ],
)
def test_a_log_of_another_form_is_refused(log: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        parse_cycle_table(log)


def test_a_table_survives_its_stored_form() -> None:
    table = parse_cycle_table(LOG)
    assert CycleTable.from_json(table.to_json()) == table


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[" * 5000, '{"layers": [{"target": "FPGA"}]}', '{"layers": [{"target": "NPU"}]}']
)
def test_a_stored_form_that_is_something_else_is_refused(text: str) -> None:
    with pytest.raises(ExportError, match="not a stored cycle table"):
        CycleTable.from_json(text)


@pytest.mark.parametrize(
    ("detail", "cause"),
    [
        ("Traceback (most recent call last):\n  File x\nValueError: Invalid 'a'!\n", "Invalid 'a'!"),
        ("=====\nTraceback:\n  File\nonnx.onnx_cpp2py_export.checker.ValidationError: bad node\n====", "bad node"),
        ("\x1b[31mE build: opset 20, need <= 19!\x1b[0m", "E build: opset 20, need <= 19!"),
        ("", "no reason given"),
    ],
)
def test_a_traceback_is_cut_down_to_its_cause(detail: str, cause: str) -> None:
    assert one_line_cause(detail) == cause


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": Dtype.FP32}, "not in fp32"),
        ({"optimization_level": 4}, "goes from 0 to 3"),
        ({"mean": (0.0,)}, "together"),
        ({"mean": (0.0,), "std": (1.0, 1.0)}, "mean has 1 channels and std 2"),
        ({"mean": (0.0,), "std": (0.0,)}, "std positive"),
        ({"mean": (float("nan"),), "std": (1.0,)}, "finite"),
    ],
)
def test_settings_that_mean_nothing_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        RknnSettings(**{"dtype": Dtype.W8A8, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((3, 8, 8), np.float32), "give \\(images, channels, height, width\\)"),
        (np.zeros((0, 3, 8, 8), np.float32), "shape"),
        (np.zeros((1, 3, 8, 8), np.float64), "float64"),
        (np.full((1, 3, 8, 8), np.inf, np.float32), "infinity"),
    ],
)
def test_calibration_images_of_another_form_are_refused(images: np.ndarray, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        CalibrationBatch(images)


def test_calibration_images_with_equal_bytes_and_other_shapes_have_other_digests() -> None:
    first, second = (CalibrationBatch(np.zeros(shape, np.uint8)) for shape in ((1, 3, 4, 8), (1, 3, 8, 4)))
    assert first.digest != second.digest


def test_w8a8_without_images_is_refused() -> None:
    with pytest.raises(ExportError, match="needs calibration images"):
        make_key(b"", RknnSettings(dtype=Dtype.W8A8), None, toolkit_version="2.5.0", arch_id=None)


def test_the_key_depends_on_everything_that_a_conversion_depends_on() -> None:
    images = [CalibrationBatch(np.full((1, 3, 8, 8), value, np.uint8)) for value in (0, 1)]
    int8 = RknnSettings(dtype=Dtype.W8A8)

    def key(onnx: bytes, settings: RknnSettings, image: int, version: str, arch_id: str | None) -> str:
        return make_key(onnx, settings, images[image], toolkit_version=version, arch_id=arch_id).sha256

    base = key(b"a", int8, 0, "2.5.0", None)
    assert base == key(b"a", int8, 0, "2.5.0", None)
    others = {
        key(b"b", int8, 0, "2.5.0", None),
        key(b"a", RknnSettings(dtype=Dtype.FP16), 0, "2.5.0", None),
        key(b"a", RknnSettings(dtype=Dtype.W8A8, single_core_mode=True), 0, "2.5.0", None),
        key(b"a", int8, 1, "2.5.0", None),
        key(b"a", int8, 0, "2.6.0", None),
        key(b"a", int8, 0, "2.5.0", "c" * 64),
    }
    assert len(others) == 6
    assert base not in others
