"""The golden model for self-tests: a small convolution network written as ONNX bytes by hand, so nothing is shipped.

Field numbers are those of onnx/onnx.proto; the file is opset 13, IR 8, which every engine of the last years reads.
"""

from __future__ import annotations

import json

import numpy as np

from device_agent.failures import JobFailedError
from device_agent.runtime.select import RuntimeName
from nas_engine.domain.job_protocol import FailureType

_CHANNELS, _SIZE, _LAYERS = 16, 32, 4
_FLOAT = 1
_INTS = 7


def golden_model(runtime: str) -> tuple[bytes, str]:
    """Bytes and format of a golden model the runtime takes; the NPU's must come from a converter, so it has none.

    Raises:
        JobFailedError: UNSUPPORTED; there is none for this runtime.
    """
    match runtime:
        case RuntimeName.FAKE:
            return json.dumps({"hilnas_fake": 1, "latency_us": 1000.0}).encode(), "fake"
        case RuntimeName.RK3588_SIM:
            layer = {
                "name": "conv",
                "operator": "Conv",
                "target": "NPU",
                "ddr_cycles": 1_000_000,
                "npu_cycles": 2_000_000,
                "total_cycles": 2_000_000,
            }
            return json.dumps({"layers": [layer]}).encode(), "rknn-cycles"
        case RuntimeName.RKNNLITE:
            raise JobFailedError(
                FailureType.UNSUPPORTED,
                "there is no built-in .rknn: pass one made by `hilnas models convert` with --golden",
            )
        case _:
            return golden_onnx(), "onnx"


def golden_onnx() -> bytes:
    """Four 3x3 convolutions with ReLU over 16 x 32 x 32; weights from a fixed seed. The same bytes every time."""
    rng = np.random.default_rng(20240131)
    nodes, tensors = b"", b""
    previous = "x0"
    for index in range(_LAYERS):
        weights = (rng.standard_normal((_CHANNELS, _CHANNELS, 3, 3)) / 12.0).astype("<f4")
        tensors += _message(5, _tensor(f"w{index}", weights))
        pads = _attribute("pads", [1, 1, 1, 1])
        nodes += _message(1, _node("Conv", [previous, f"w{index}"], f"c{index}", pads))
        nodes += _message(1, _node("Relu", [f"c{index}"], f"x{index + 1}", b""))
        previous = f"x{index + 1}"
    shape = (1, _CHANNELS, _SIZE, _SIZE)
    graph = nodes + _text(2, "golden") + tensors
    graph += _message(11, _value("x0", shape)) + _message(12, _value(previous, shape))
    return _number(1, 8) + _text(2, "hilnas") + _message(7, graph) + _message(8, _number(2, 13))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _message(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _tensor(name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> bytes:
    dims = b"".join(_number(1, d) for d in values.shape)
    return dims + _number(2, _FLOAT) + _text(8, name) + _message(9, values.tobytes())


def _attribute(name: str, values: list[int]) -> bytes:
    return _message(5, _text(1, name) + b"".join(_number(8, v) for v in values) + _number(20, _INTS))


def _node(kind: str, inputs: list[str], output: str, attributes: bytes) -> bytes:
    return b"".join(_text(1, i) for i in inputs) + _text(2, output) + _text(4, kind) + attributes


def _value(name: str, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(_message(1, _number(1, d)) for d in shape)
    return _text(1, name) + _message(2, _message(1, _number(1, _FLOAT) + _message(2, dims)))
