"""Messages as hostile agents could send them: of the right structure, with any value in any field.

Drawn from a `random.Random`, because a hundred thousand of them are wanted: what hypothesis draws field by field takes
a hundred times as long. Its part is to choose the seeds.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from hilnas.v1 import control_pb2
from nas_engine.domain.measurement import SampleBlock, compress_blocks
from server.core.rpc.bounds import field_name
from server.core.rpc.wire_bounds import WIRE_BOUNDS

Known = Mapping[str, Callable[[Random], Any]]
"""By `Message.field`: a value that means something to the server; three in four fields are given it."""

AWKWARD = (
    "",
    "\0",
    "a\0b",
    "\n",
    "\u2028",
    "\x7f",
    "\ufeff",
    "\U0001f600",
    "e\u0301",
    "'; --",
    "%s",
    "{}",
    "../..",
    "é",
)
INT32 = (0, 1, 1, 1, -1, 2, 7, 2**15, 2**31 - 1, -(2**31))
INT64 = (*INT32, 2**53, 2**63 - 1, -(2**63))
REALS = (0.0, -0.0, 1.0, 1.0, -1.0, 0.01, 1e-320, 1e9, 1.7e308, -1.7e308, float("nan"), float("inf"), float("-inf"))
SURROGATES = ('"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"\\udce9"')
NUMBERS = ("NaN", "-Infinity", "1e999", "9" * 30, "9" * 5000, "-" + "9" * 25, "1e-999", "18446744073709551616")
HONEST = {"agent_version": "1", "protocol_version": 1, "kernel": "6.1", "load_average_1m": 0.5, "cpu_affinity": [0, 1]}
MEMBERS = (*HONEST, "clocks", "thermal", "uptime_s", "container", "serial_hash", "runtime_versions", "unknown")


def text(rng: Random) -> str:
    """Short text of any characters that a message can hold."""
    if rng.random() < 0.5:
        return rng.choice(AWKWARD)
    points = (rng.choice((0x20, 0x100, 0x3000, 0x1F000)) + rng.randrange(90) for _ in range(rng.randrange(12)))
    return "".join(map(chr, points))


def json_text(rng: Random) -> str:
    """JSON of any shape, depth and content, and what only looks like it."""
    match rng.randrange(8):
        case 0 | 1:
            return json.dumps(HONEST)
        case 2:
            depth = rng.choice((5, 63, 64, 65, 200, 1000, 20_000, 100_000))
            return rng.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth))
        case 3 | 4:
            odd = rng.choice((*NUMBERS, *SURROGATES, json.dumps(json_value(rng)), json.dumps(json_value(rng))))
            return json.dumps(HONEST)[:-1] + f', "{rng.choice(MEMBERS)}": {odd}' + "}"
        case 5:
            return "{" + ",".join(f'"k{number}": {number}' for number in range(rng.randrange(3000))) + "}"
        case 6:
            return json.dumps(HONEST)[: rng.randrange(60)]
        case _:
            return "x" * rng.choice((1, (1 << 18) - 1, (1 << 18) + 1, 1 << 19))


def json_value(rng: Random, depth: int = 0) -> Any:
    """A document of any JSON values."""
    match rng.randrange(6 if depth > 3 else 9):
        case 0:
            return None
        case 1:
            return rng.random() < 0.5
        case 2:
            return rng.choice(INT64)
        case 3:
            return rng.uniform(-1e9, 1e9)
        case 4 | 5:
            return text(rng)
        case 6:
            return [json_value(rng, depth + 1) for _ in range(rng.randrange(4))]
        case 7:
            return {rng.choice(("name", "zone", "a", "governor")): json_value(rng, depth + 1) for _ in range(3)}
        case _:
            return [{"name": text(rng), "available_khz": json_value(rng, depth + 1)}]


def packed_samples(rng: Random) -> bytes:
    """Samples that are honest, out of range, cut, padded, bombs, or no samples."""
    match rng.randrange(6):
        case 0 | 1 | 2:
            block = SampleBlock([rng.randrange(1, 10**7) for _ in range(rng.randrange(1, 50))])
            return compress_blocks([block] * rng.randrange(1, 25))
        case 3:
            words = [1, *rng.choices(INT64, k=rng.randrange(1, 60))]
            return zlib.compress(struct.pack(f"<{len(words)}q", *words))
        case 4:
            size_bytes = rng.choice((0, 7, 8, 1 << 16, 1 << 20, 80 << 20 if rng.random() < 0.05 else 8))
            return zlib.compress(b"\0" * size_bytes)
        case _:
            whole = compress_blocks([SampleBlock((1000, 1001))] * 3)
            return rng.choice((whole[:-3], whole + b"\0", whole * 2, b"", b"\x78\x9c", rng.randbytes(100)))


SPECIAL: Known = {
    "Measurement.samples": packed_samples,
    "Measurement.environment_json": json_text,
    "Classification.environment_json": json_text,
    "Failure.environment_json": json_text,
    # What is waited for is waited for: only short or refused.
    "SyncRequest.wait_s": lambda rng: rng.choice((0.0, 0.0, 0.001, -1.0, 1e300, float("nan"), float("inf"))),
}


def request(rng: Random, kind: type[Any], known: Known) -> bytes:
    """A request of a kind on the wire; one in eight is damaged there."""
    message = filled(rng, kind, known)
    if kind is control_pb2.PutResultRequest:
        message.envelope = filled(rng, control_pb2.ResultEnvelope, known).SerializeToString()
        if rng.random() < 0.15:
            message.envelope = damaged(rng, message.envelope)
        if rng.random() < 0.95:
            message.envelope_sha256 = hashlib.sha256(message.envelope).hexdigest()
    data = bytes(message.SerializeToString())
    return damaged(rng, data) if rng.random() < 0.12 else data


def filled(rng: Random, kind: type[Any], known: Known, odd_share: float = 0.4) -> Any:
    """A message of a kind; each field is left out, known, or, in that share of messages, anything."""
    message, odd = kind(), rng.random() < odd_share
    within = odd_share if odd else odd_share / 4  # else hardly any message would be well formed in all its parts
    for field in rng.sample(list(kind.DESCRIPTOR.fields), len(kind.DESCRIPTOR.fields)):
        one_of = field.containing_oneof
        if one_of is not None and message.WhichOneof(one_of.name):
            continue
        name = field_name(field)
        special = SPECIAL.get(name) or known.get(name)
        if special is not None and (name in SPECIAL or not odd or rng.random() < 0.75):
            value = special(rng)
            if isinstance(value, Message):
                getattr(message, field.name).CopyFrom(value)
            else:
                setattr(message, field.name, value)
        elif field.message_type is not None or (odd and rng.random() < 0.4):
            _fill(rng, message, field, known, within)
    return message


def _fill(rng: Random, message: Message, field: FieldDescriptor, known: Known, odd_share: float) -> None:
    target = getattr(message, field.name)
    bound = WIRE_BOUNDS.get(field_name(field))
    if field.is_repeated:
        most = (bound.items if bound is not None else 0) or 0
        count = rng.choice((0, 1, 1, 2, 2, most if rng.random() < 0.3 else 1, most + 1 if rng.random() < 0.1 else 1))
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for number in range(count):
                target[f"{text(rng)}{number}"] = text(rng)
        else:
            values = [_value(rng, field, known, odd_share) for _ in range(min(3, count))]
            target.extend((values * (count // 3 + 1))[:count])
    elif field.message_type is not None:
        if rng.random() < 0.9:
            target.CopyFrom(_value(rng, field, known, odd_share))
    else:
        setattr(message, field.name, _value(rng, field, known, odd_share))


def _value(rng: Random, field: FieldDescriptor, known: Known, odd_share: float) -> Any:
    if field.message_type is not None:
        return filled(rng, GetMessageClass(field.message_type), known, odd_share)
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return rng.randbytes(rng.randrange(100))
        case FieldDescriptor.CPPTYPE_STRING:
            most = WIRE_BOUNDS[field_name(field)].characters or 0
            return rng.choice(("x", "é", "\U0001f600")) * (most + rng.randrange(2)) if rng.random() < 0.1 else text(rng)
        case FieldDescriptor.CPPTYPE_BOOL:
            return rng.random() < 0.5
        case FieldDescriptor.CPPTYPE_ENUM:
            assert field.enum_type is not None
            return rng.choice((*(value.number for value in field.enum_type.values), 99, -1))
        case FieldDescriptor.CPPTYPE_INT32:
            return rng.choice(INT32)
        case FieldDescriptor.CPPTYPE_INT64:
            return rng.choice(INT64)
        case _:
            return rng.choice(REALS)


def damaged(rng: Random, data: bytes) -> bytes:
    """Bytes cut, overwritten, repeated, or with fields that nobody knows."""
    at, junk = rng.randrange(len(data) + 1), rng.randbytes(rng.randrange(20))
    match rng.randrange(6):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + junk + data[at + len(junk) :]
        case 2:
            return data[:at] + junk + data[at:]
        case 3:
            return data + data
        case 4:
            return data + rng.choice((b"\x0a\x00", b"\x32\x00", b"\x2a\x00", b"\xfa\x3e\x00", b"\x0b")) * 20_000
        case _:
            return b"\x12\x7f" * rng.randrange(1, 100) + data
