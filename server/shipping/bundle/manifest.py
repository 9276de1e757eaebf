"""What an evidence bundle lists and who signed the list: two canonical JSON documents at the end of the archive."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nas_engine.domain.json_value import JsonValue, canonical_json, parse_json
from nas_engine.export.model_metadata import product_version
from server.shipping.bundle.archive import ArchiveMember, ArchiveWriter, BundleError
from server.shipping.bundle.signing import SigningKey

FORMAT = "hilnas-evidence-bundle/1"
ALGORITHM = "ed25519"
MANIFEST, SIGNATURE = "manifest.json", "signature.json"
MAX_DOCUMENT_BYTES = 1 << 20
_HEX = re.compile(r"(?:[0-9a-f]{2})+")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """A file of a bundle as its manifest lists it.

    Attributes:
        what: what it is, for people.
    """

    path: str
    size_bytes: int
    sha256: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The signed list.

    Attributes:
        subject: which network, in ids and names.
        product_version: of the server that made the bundle.
        files: everything else in the archive, in its order.
    """

    subject: Mapping[str, JsonValue]
    product_version: str
    files: tuple[ListedFile, ...]


class BundleWriter:
    """Writes an evidence bundle: members as they come, then the list and its signature."""

    def __init__(self, archive: ArchiveWriter, key: SigningKey) -> None:
        self._archive = archive
        self._key = key
        self._listed: list[JsonValue] = []

    def add(self, path: str, what: str, chunks: Iterable[bytes]) -> ArchiveMember:
        """Write one file. Raises BundleError."""
        member = self._archive.add(path, chunks)
        self._listed.append({"path": path, "size_bytes": member.size_bytes, "sha256": member.sha256, "what": what})
        return member

    def add_document(self, path: str, what: str, document: JsonValue) -> ArchiveMember:
        """Write one JSON document, canonically. Raises ValueError: a number in it is not finite."""
        return self.add(path, what, [canonical_json(document).encode()])

    def finish(self, subject: Mapping[str, JsonValue]) -> ArchiveMember:
        """List, sign and close; returns the manifest, whose digest stands for the whole bundle."""
        document: dict[str, JsonValue] = {
            "format": FORMAT,
            "product_version": product_version(),
            "subject": subject,
            "files": self._listed,
        }
        manifest = canonical_json(document).encode()
        if len(manifest) > MAX_DOCUMENT_BYTES:
            raise BundleError(f"the list of {len(self._listed)} files is longer than {MAX_DOCUMENT_BYTES} bytes")
        signature = {
            "algorithm": ALGORITHM,
            "public_key": self._key.public_key.hex(),
            "signature": self._key.sign(manifest).hex(),
        }
        member = self._archive.add(MANIFEST, [manifest])
        self._archive.add(SIGNATURE, [canonical_json(signature).encode()])
        self._archive.finish()
        return member


def read_manifest(content: bytes) -> Manifest:
    """Read the list as it was signed. Raises BundleError."""
    document = _canonical(MANIFEST, content)
    match document:
        case {
            "format": str(format),
            "product_version": str(version),
            "subject": dict(subject),
            "files": list(files),
            **rest,
        } if not rest:
            if format != FORMAT:
                raise BundleError(f"{MANIFEST}: format {format[:80]!r} is not {FORMAT!r}, which this version reads")
            return Manifest(subject=subject, product_version=version, files=tuple(map(_listed, files)))
        case _:
            raise BundleError(f"{MANIFEST} does not have the members of a manifest")


def read_signature(content: bytes) -> tuple[bytes, bytes]:
    """Read public key and signature. Raises BundleError."""
    match _canonical(SIGNATURE, content):
        case {"algorithm": "ed25519", "public_key": str(key), "signature": str(signature), **rest} if (
            not rest and _HEX.fullmatch(key) and _HEX.fullmatch(signature)
        ):
            return bytes.fromhex(key), bytes.fromhex(signature)
        case _:
            raise BundleError(f"{SIGNATURE} does not hold an Ed25519 key and signature in lower-case hex")


def _canonical(name: str, content: bytes) -> JsonValue:
    try:
        document = parse_json(content)
        text = canonical_json(document).encode()
    except ValueError as error:
        raise BundleError(f"{name} cannot be read: {error}") from error
    if text != content:
        raise BundleError(f"{name} is not written canonically: it was changed")
    return document


def _listed(document: object) -> ListedFile:
    match document:
        case {"path": str(path), "size_bytes": int(size), "sha256": str(sha256), "what": str(what), **rest} if (
            not rest and size >= 0 and not isinstance(size, bool) and _DIGEST.fullmatch(sha256)
        ):
            return ListedFile(path=path, size_bytes=size, sha256=sha256, what=what)
        case _:
            raise BundleError(f"{MANIFEST} lists a file without path, size, sha256 and what it is")


def paths_of(files: Sequence[ListedFile]) -> tuple[str, ...]:
    """Paths of listed files, in order."""
    return tuple(one.path for one in files)
