"""Every field that an agent can send has a bound, and the bound is kept before and after a message is built."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from hilnas.v1 import control_pb2, measurement_pb2
from server.core.errors import InvalidValueError
from server.core.rpc.bounds import MAX_FIELDS, Bound, field_name, needs_bound, read_message, violation
from server.core.rpc.guard import REQUESTS
from server.core.rpc.wire_bounds import MAX_CONTROL_BYTES, MAX_ENVELOPE_BYTES, WIRE_BOUNDS

SENT = (*(kind.DESCRIPTOR for kind in REQUESTS.values()), control_pb2.ResultEnvelope.DESCRIPTOR)


def fields_of(kind: Descriptor, seen: set[str]) -> Iterator[FieldDescriptor]:
    """Every field of a message and of those inside it, once."""
    if kind.full_name in seen:
        return
    seen.add(kind.full_name)
    for field in kind.fields:
        yield field
        if field.message_type is not None:
            yield from fields_of(field.message_type, seen)


def test_every_field_that_an_agent_can_send_has_a_whole_bound() -> None:
    seen: set[str] = set()
    fields = {field_name(field): field for kind in SENT for field in fields_of(kind, seen)}
    assert len(fields) > 90
    needed = {name: field for name, field in fields.items() if needs_bound(field)}
    lacking = {name: WIRE_BOUNDS.get(name, Bound()).lacks(field) for name, field in needed.items()}
    assert {name: what for name, what in lacking.items() if what} == {}
    assert set(WIRE_BOUNDS) == set(needed), "a line of the table is of no field"


def test_a_field_without_a_bound_is_not_let_through() -> None:
    bounds = {name: bound for name, bound in WIRE_BOUNDS.items() if name != "Nack.reason"}
    message = control_pb2.SyncRequest(nacks=[control_pb2.Nack(reason="why")])
    assert violation(message, WIRE_BOUNDS) == ""
    with pytest.raises(LookupError, match="Nack.reason"):
        violation(message, bounds)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (control_pb2.SyncRequest(wait_s=float("nan")), "SyncRequest.wait_s is nan"),
        (control_pb2.SyncRequest(wait_s=float("inf")), "must be finite"),
        (control_pb2.SyncRequest(wait_s=-1.0), "finite and from 0"),
        (control_pb2.SyncRequest(labels={str(n): "" for n in range(65)}), "SyncRequest.labels has 65 entries"),
        (control_pb2.EnrollRequest(labels={"rack": "x" * 201}), "LabelsEntry.value has 201 characters"),
        (control_pb2.EnrollRequest(labels={"ra\0ck": "x"}), "LabelsEntry.key is 'ra\\x00ck'"),
        (control_pb2.EnrollRequest(name="a\nb"), "control characters"),
        (control_pb2.EnrollRequest(name="a\u2028b"), "line ends"),
        (control_pb2.RenewRequest(running=[control_pb2.LeaseReport()] * 65), "65 entries"),
        (control_pb2.SyncRequest(nacks=[control_pb2.Nack(reason="x" * 70_000)]), "Nack.reason has 70000"),
        (measurement_pb2.Measurement(load_us=float("-inf")), "Measurement.load_us is -inf"),
        (measurement_pb2.Measurement(init_us=-0.5), "Measurement.init_us is -0.5"),
        (measurement_pb2.Measurement(batch=-1), "Measurement.batch is -1"),
        (control_pb2.ResultEnvelope(total_s=-1.0), "total_s"),
        (measurement_pb2.CanaryReading(ratio=float("nan")), "ratio is nan"),
        (control_pb2.AgentIdentity(instance_epoch=-1), "instance_epoch is -1"),
        (control_pb2.Capabilities(core_masks=["0x1"] * 65), "core_masks"),
        (measurement_pb2.DeviceIdentity(runtime_versions=[measurement_pb2.ComponentVersion()] * 65), "65"),
    ],
)
def test_what_is_beyond_its_bound_is_named_with_the_bound(message: Message, words: str) -> None:
    assert words in violation(message, WIRE_BOUNDS)


def test_many_empty_messages_are_counted_before_they_are_built() -> None:
    nack, flag = b"\x32\x00", b"\x2a\x00"
    for kind, data in (
        (control_pb2.SyncRequest, nack * (MAX_CONTROL_BYTES // 2)),
        (control_pb2.ResultEnvelope, _inside(2, flag * (MAX_ENVELOPE_BYTES // 2 - 8))),
    ):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(InvalidValueError, match=f"more than {MAX_FIELDS} fields"):
            read_message(kind, data, MAX_ENVELOPE_BYTES)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024  # KiB; built it takes 400 MiB


@pytest.mark.parametrize(
    "data",
    [b"\x0b" * 100, b"\x0b\x0c", b"\x0a", b"\x0a\xff\xff\xff\xff\x0f", b"\xff" * 20, b"\x0a\x02\xff\xfe", b"\x09\0"],
)
def test_bytes_that_are_no_message_are_refused_as_such(data: bytes) -> None:
    with pytest.raises(InvalidValueError, match="no EnrollRequest"):
        read_message(control_pb2.EnrollRequest, data, MAX_CONTROL_BYTES)


def test_fields_of_a_newer_release_are_let_through() -> None:
    newer = b"\xfa\x3e\x05hello" + b"\xf8\x3e\x01" + b"\xfd\x3e1234" + b"\xf9\x3e12345678"
    message = read_message(control_pb2.SyncRequest, newer, MAX_CONTROL_BYTES)
    assert violation(message, WIRE_BOUNDS) == ""


def _inside(number: int, data: bytes) -> bytes:
    """A field of bytes with its tag and length."""
    length, size = b"", len(data)
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data
