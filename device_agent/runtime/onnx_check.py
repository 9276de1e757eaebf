"""A look into an ONNX file without any engine: walks the protobuf wire format, refuses what an agent must not load.

Field numbers are those of onnx/onnx.proto (ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto). Only
headers are read; weights are skipped, so this takes milliseconds. External data is refused because its paths may
point anywhere on the device's disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from device_agent.failures import JobFailedError
from hilnas.protobuf_fields import fields_on_the_wire
from nas_engine.domain.job_protocol import FailureType

MAX_DEPTH = 32
MAX_IR_VERSION = 13  # what the newest supported ONNX Runtime reads
_EXTERNAL = 1  # TensorProto.DataLocation
# message kind -> field number -> message kind of what is in it; everything else is skipped
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 9: "opset", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 11: "input", 15: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
}


@dataclass(slots=True)
class OnnxFacts:
    """What the file says of itself: IR version, and opset of the default domain (0 where absent)."""

    ir_version: int = 0
    opset: int = 0
    domains: set[str] = field(default_factory=set)
    has_graph: bool = False


def check_onnx(data: bytes) -> OnnxFacts:
    """The file's versions.

    Raises:
        JobFailedError: MODEL_REJECTED; not ONNX, external data, too new, or nested beyond reason.
    """
    facts = OnnxFacts()
    try:
        _walk(memoryview(data), "model", facts, 0)
    except (IndexError, ValueError, UnicodeDecodeError) as error:
        raise _rejected(f"not an ONNX file: {error}") from error
    if not facts.has_graph or not facts.domains:
        raise _rejected("not an ONNX file: it has no graph or no opset")
    if facts.ir_version > MAX_IR_VERSION:
        raise _rejected(f"IR version {facts.ir_version} is newer than {MAX_IR_VERSION}: export with an older one")
    return facts


def _walk(data: memoryview, kind: str, facts: OnnxFacts, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _rejected(f"graphs are nested deeper than {MAX_DEPTH} levels")
    children = _CHILDREN.get(kind, {})
    for number, value in fields_on_the_wire(data):
        match kind, number, value:
            case "model", 1, int():
                facts.ir_version = value
            case "tensor", 13, memoryview():
                raise _rejected("the model refers to external data: embed the weights in the file")
            case "tensor", 14, int() if value == _EXTERNAL:
                raise _rejected("the model keeps weights outside the file: embed them")
            case _, _, memoryview() if number in children:
                _descend(value, children[number], facts, depth)
            case _:
                pass


def _descend(data: memoryview, kind: str, facts: OnnxFacts, depth: int) -> None:
    if kind == "opset":
        domain, version = "", 0
        for number, value in fields_on_the_wire(data):
            match number, value:
                case 1, memoryview():
                    domain = bytes(value).decode()
                case 2, int():
                    version = value
        facts.domains.add(domain)
        if domain in ("", "ai.onnx"):
            facts.opset = max(facts.opset, version)
        return
    if kind == "graph":
        facts.has_graph = True
    _walk(data, kind, facts, depth + 1)


def _rejected(message: str) -> JobFailedError:
    return JobFailedError(FailureType.MODEL_REJECTED, message)
