"""Evidence bundles: what is written is intact, and whatever is changed is refused by name."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from nas_engine.domain.json_value import canonical_json
from server.shipping.bundle.archive import ArchiveWriter, BundleError
from server.shipping.bundle.manifest import BundleWriter
from server.shipping.bundle.signing import (
    SigningKey,
    SigningKeyError,
    named_fingerprint,
    pin,
    pinned,
)
from server.shipping.bundle.verifying import Signer, extract
from tests.support.samples.bundles import BUNDLE, KEY, OTHER, check, written


def test_a_bundle_is_intact_and_its_signer_unknown_until_named_or_pinned(tmp_path: Path) -> None:
    found = check(tmp_path, BUNDLE)
    assert (found.signer, found.fingerprint) == (Signer.UNKNOWN, KEY.fingerprint)
    assert found.manifest.subject == {"arch_id": "2" * 64}
    assert check(tmp_path, BUNDLE, named=KEY.fingerprint).signer is Signer.KNOWN
    assert check(tmp_path, BUNDLE, trusted={KEY.fingerprint}).signer is Signer.KNOWN
    assert check(tmp_path, BUNDLE, trusted={OTHER.fingerprint}).signer is Signer.UNKNOWN
    with pytest.raises(BundleError, match=f"signed by {KEY.fingerprint}, not by {OTHER.fingerprint}"):
        check(tmp_path, BUNDLE, named=OTHER.fingerprint)


def test_equal_evidence_gives_equal_bytes_and_any_tool_unpacks_them(tmp_path: Path) -> None:
    assert written() == BUNDLE
    with zipfile.ZipFile(io.BytesIO(BUNDLE)) as archive:
        assert archive.testzip() is None
        assert archive.read("models/spos-29520446bbb1-fp32.onnx") == b"onnx" * 9 + b"more"
    check(tmp_path, BUNDLE)
    target = io.BytesIO()
    extract(tmp_path / "bundle.zip", "candidate.json", target)
    assert target.getvalue() == b'{"latency_us":73.95}'


def test_a_changed_file_is_named(tmp_path: Path) -> None:
    at = BUNDLE.index(b"onnxmore")
    with pytest.raises(BundleError, match=r"models/spos-29520446bbb1-fp32\.onnx' was changed"):
        check(tmp_path, BUNDLE[:at] + b"X" + BUNDLE[at + 1 :])


def rebuilt(change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> bytes:
    """The bundle's files written anew by our own archive, after a change: only contents can give it away."""
    with zipfile.ZipFile(io.BytesIO(BUNDLE)) as archive:
        files = change({name: archive.read(name) for name in archive.namelist()})
    out = io.BytesIO()
    writer = ArchiveWriter(out)
    for name, content in files.items():
        writer.add(name, [content])
    writer.finish()
    return out.getvalue()


def resigned(files: dict[str, bytes], key: SigningKey, manifest: bytes) -> dict[str, bytes]:
    signature = {"algorithm": "ed25519", "public_key": key.public_key.hex(), "signature": key.sign(manifest).hex()}
    return {**files, "manifest.json": manifest, "signature.json": canonical_json(signature).encode()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: {k: v for k, v in f.items() if k != "candidate.json"}, "'candidate.json' is missing"),
        (lambda f: {"extra.txt": b"x", **f}, "'extra.txt' was added"),
        (lambda f: {k: v for k, v in f.items() if k != "manifest.json"}, "manifest.json is missing"),
        (lambda f: {k: v for k, v in f.items() if k != "signature.json"}, "signature.json is missing"),
        (lambda f: {**f, "candidate.json": b'{"latency_us":13.95}'}, "'candidate.json' was changed"),
        (lambda f: dict(reversed(f.items())), "another order"),
        (lambda f: {**f, "manifest.json": f["manifest.json"] + b" "}, "the signature does not fit"),
        (lambda f: {**f, "signature.json": f["signature.json"].upper()}, "signature.json"),
        (lambda f: resigned(f, KEY, f["manifest.json"] + b" "), "not written canonically"),
        (lambda f: resigned(f, KEY, f["manifest.json"].replace(b"bundle/1", b"bundle/2")), "format"),
        (lambda f: resigned(f, KEY, b'{"files":[NaN]}'), "only finite numbers"),
        (lambda f: resigned(f, KEY, b"[" * 100_000), "manifest.json"),
    ],
)
def test_a_changed_set_of_files_is_refused(
    tmp_path: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        check(tmp_path, rebuilt(change))


def test_a_bundle_signed_anew_by_somebody_else_has_an_unknown_signer(tmp_path: Path) -> None:
    forged = rebuilt(lambda files: resigned(files, OTHER, files["manifest.json"]))
    assert check(tmp_path, forged, trusted={KEY.fingerprint}).signer is Signer.UNKNOWN
    with pytest.raises(BundleError, match="not by"):
        check(tmp_path, forged, named=KEY.fingerprint)


def zipped(*members: tuple[zipfile.ZipInfo | str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped(("/etc/passwd", b"x")), "'/etc/passwd' leads out of the folder"),
        (zipped(("a/../../b", b"x")), "'a/../../b' leads out"),
        (zipped(("C:evil", b"x")), "'C:evil' leads out"),
        (zipped(("nul\n.txt", b"x")), "is no name for a file"),
        (zipped((link("models"), b"/etc")), "'models' is a link"),
        (zipped(("bomb", bytes(10_000_000)), method=zipfile.ZIP_DEFLATED), "'bomb' is compressed"),
        (zipped(("a.txt", b"1"), ("a.txt", b"2")), "a.txt"),
        (zipped(*((f"f{number}", b"") for number in range(501))), "lists 501 files"),
        (b"", "0 bytes"),
        (b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 65535, 65535, 2**32 - 1, 0, 0), "lists 65535 files"),
    ],
    ids=("absolute", "upwards", "drive", "control", "link", "bomb", "twice", "many", "empty", "claims"),
)
def test_what_zip_files_can_try_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        check(tmp_path, content)


def test_a_name_that_stands_twice_is_refused_even_in_our_own_form(tmp_path: Path) -> None:
    out = io.BytesIO()
    writer = ArchiveWriter(out)
    writer.add("a.txt", [b"1"])
    writer.add("b.txt", [b"2"])
    writer.finish()
    with pytest.raises(BundleError, match=r"'a\.txt' stands in the bundle twice"):
        check(tmp_path, out.getvalue().replace(b"b.txt", b"a.txt"))
    with pytest.raises(BundleError, match="stands in it already"):
        writer.add("a.txt", [b"3"])


def test_nothing_that_is_not_finite_is_written() -> None:
    writer = BundleWriter(ArchiveWriter(io.BytesIO()), KEY)
    with pytest.raises(ValueError, match="JSON"):
        writer.add_document("a.json", "document", {"latency_us": float("nan")})


def test_a_signer_is_named_by_fingerprint_or_public_key_file(tmp_path: Path) -> None:
    assert named_fingerprint(KEY.fingerprint) == KEY.fingerprint
    assert named_fingerprint(KEY.fingerprint.removeprefix("sha256:").upper()) == KEY.fingerprint
    file = tmp_path / "key.pem"
    file.write_text(KEY.public_pem)
    assert named_fingerprint(str(file)) == KEY.fingerprint
    other = generate_private_key(SECP256R1()).public_key()
    file.write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(SigningKeyError, match="Ed25519"):
        named_fingerprint(str(file))
    with pytest.raises(SigningKeyError, match="no fingerprint"):
        named_fingerprint(KEY.fingerprint[:20])


def test_pinned_signers_are_kept_once_each(tmp_path: Path) -> None:
    file = tmp_path / "trusted-signers"
    assert pinned(file) == frozenset()
    for key in (KEY, KEY, OTHER):
        pin(key.fingerprint, file)
    assert pinned(file) == {KEY.fingerprint, OTHER.fingerprint}
    assert len(file.read_text().splitlines()) == 2
    file.write_text("sha256:zz\n")
    with pytest.raises(SigningKeyError, match="no fingerprint"):
        pinned(file)


def test_the_manifest_lists_every_file_with_its_digest(tmp_path: Path) -> None:
    manifest = json.loads(zipfile.ZipFile(io.BytesIO(BUNDLE)).read("manifest.json"))
    assert [one["path"] for one in manifest["files"]] == [
        "models/spos-29520446bbb1-fp32.onnx",
        "candidate.json",
        "empty.txt",
    ]
    assert manifest["format"] == "hilnas-evidence-bundle/1"
