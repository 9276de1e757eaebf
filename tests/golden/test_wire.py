"""The wire only grows: nothing that an agent of protocol 1 may send or read changes its number, type or name.

After adding fields, write the new snapshot: HILNAS_WRITE_GOLDEN=1 pytest tests/golden/test_wire.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from google.protobuf.descriptor import FieldDescriptor, FileDescriptor

from hilnas.v1 import artifacts_pb2, control_pb2, measurement_pb2

SNAPSHOT = Path(__file__).parent / "wire_v1.json"
FILES: tuple[FileDescriptor, ...] = (control_pb2.DESCRIPTOR, artifacts_pb2.DESCRIPTOR, measurement_pb2.DESCRIPTOR)
Shape = dict[str, str]


def _field(field: FieldDescriptor) -> str:
    kind = field.message_type or field.enum_type
    type_name = kind.full_name if kind is not None else f"type {field.type}"
    return f"{field.number}: {'repeated ' if field.is_repeated else ''}{type_name}"


def shape() -> Shape:
    """Everything the wire promises: methods, fields and enum values, by full name."""
    found: Shape = {}
    for file in FILES:
        for message in file.message_types_by_name.values():
            found |= {field.full_name: _field(field) for field in message.fields}
        for enum in file.enum_types_by_name.values():
            found |= {f"{enum.full_name}.{value.name}": str(value.number) for value in enum.values}
        for service in file.services_by_name.values():
            for method in service.methods:
                streams = "stream " if method.server_streaming else ""
                found[method.full_name] = f"{method.input_type.full_name} -> {streams}{method.output_type.full_name}"
    return found


def test_nothing_of_protocol_1_has_changed() -> None:
    now = shape()
    if os.environ.get("HILNAS_WRITE_GOLDEN"):
        SNAPSHOT.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
    promised: Shape = json.loads(SNAPSHOT.read_text())
    changed = {name: (was, now.get(name)) for name, was in promised.items() if now.get(name) != was}
    assert not changed


def test_what_was_added_is_in_the_snapshot() -> None:
    assert set(shape()) == set(json.loads(SNAPSHOT.read_text()))


def test_a_lease_of_protocol_1_has_the_same_bytes_for_ever() -> None:
    lease = control_pb2.LeaseRef(job_id="job_1", attempt=2, lease_id="lease_3", fence=4)
    assert lease.SerializeToString(deterministic=True).hex() == "0a056a6f625f3110021a076c656173655f332004"
