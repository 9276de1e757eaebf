"""A small evidence bundle, and reading what was made of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from server.shipping.bundle.archive import ArchiveWriter
from server.shipping.bundle.manifest import BundleWriter
from server.shipping.bundle.signing import SigningKey, new_key_pem
from server.shipping.bundle.verifying import VerifiedBundle, verify_bundle

KEY, OTHER = SigningKey(new_key_pem()), SigningKey(new_key_pem())


def written(key: SigningKey = KEY) -> bytes:
    """The bundle of one network, signed."""
    file = io.BytesIO()
    writer = BundleWriter(ArchiveWriter(file), key)
    writer.add("models/spos-29520446bbb1-fp32.onnx", "model", [b"onnx" * 9, b"more"])
    writer.add_document("candidate.json", "candidate", {"latency_us": 73.95})
    writer.add("empty.txt", "nothing", [])
    writer.finish({"arch_id": "2" * 64})
    return file.getvalue()


BUNDLE = written()


def check(tmp_path: Path, content: bytes, **options: Any) -> VerifiedBundle:
    """What verifying says of these bytes as a file."""
    path = tmp_path / "bundle.zip"
    path.write_bytes(content)
    return verify_bundle(path, **options)
