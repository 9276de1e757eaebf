"""Checking an evidence bundle by itself: no server, no network, a chunk in memory at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from server.shipping.bundle.archive import BundleError, Entry, content_of, crc_of, read_entries
from server.shipping.bundle.manifest import (
    MANIFEST,
    MAX_DOCUMENT_BYTES,
    SIGNATURE,
    Manifest,
    paths_of,
    read_manifest,
    read_signature,
)
from server.shipping.bundle.signing import fingerprint, is_signed


class Signer(Enum):
    """Whether the reader knows who signed."""

    KNOWN = "known"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedBundle:
    """A bundle whose every byte is as it was signed.

    Attributes:
        signer: UNKNOWN where the reader has neither named nor pinned the key: anybody may have signed.
        fingerprint: of the key.
    """

    manifest: Manifest
    signer: Signer
    fingerprint: str


def verify_bundle(path: Path, *, named: str | None = None, trusted: Collection[str] = ()) -> VerifiedBundle:
    """Check every byte of a bundle.

    Args:
        named: fingerprint that must have signed it; None: any may have.
        trusted: fingerprints that the reader believes.

    Raises:
        BundleError: something is changed, missing, added or signed by another; the message names it.
    """
    with path.open("rb") as file:
        entries = read_entries(file)
        found = {entry.name: entry for entry in entries}
        for name in (MANIFEST, SIGNATURE):
            if name not in found:
                raise BundleError(f"{name} is missing: this is no evidence bundle, or it was taken out")
        raw = _document(file, found[MANIFEST])
        public_key, signature = read_signature(_document(file, found[SIGNATURE]))
        if not is_signed(public_key, signature, raw):
            raise BundleError(f"{MANIFEST}: the signature does not fit: the list of files or the signature was changed")
        signer = fingerprint(public_key)
        if named is not None and signer != named:
            raise BundleError(f"it is signed by {signer}, not by {named}")
        manifest = read_manifest(raw)
        _check_files(file, manifest, entries)
    known = named is not None or signer in trusted
    return VerifiedBundle(manifest=manifest, signer=Signer.KNOWN if known else Signer.UNKNOWN, fingerprint=signer)


def extract(path: Path, name: str, target: BinaryIO) -> None:
    """Copy one file of a verified bundle. Raises BundleError: there is none of that name."""
    with path.open("rb") as file:
        for entry in read_entries(file):
            if entry.name == name:
                for chunk in content_of(file, entry):
                    target.write(chunk)
                return
    raise BundleError(f"the bundle has no file {name!r}")


def _check_files(file: BinaryIO, manifest: Manifest, entries: Collection[Entry]) -> None:
    listed, there = paths_of(manifest.files), tuple(entry.name for entry in entries)
    for name in listed:
        if name not in there:
            raise BundleError(f"{name!r} is missing: the manifest lists it")
    for name in there:
        if name not in (*listed, MANIFEST, SIGNATURE):
            raise BundleError(f"{name!r} was added: the manifest does not list it")
    if there != (*listed, MANIFEST, SIGNATURE):
        raise BundleError("the files stand in another order than the manifest lists them in")
    for entry, wanted in zip(entries, manifest.files, strict=False):
        digest, crc = hashlib.sha256(), 0
        for chunk in content_of(file, entry):
            digest.update(chunk)
            crc = crc_of(chunk, crc)
        if entry.size_bytes != wanted.size_bytes or digest.hexdigest() != wanted.sha256:
            raise BundleError(
                f"{entry.name!r} was changed: it has sha256 {digest.hexdigest()}, signed is {wanted.sha256}"
            )
        if crc != entry.crc:
            raise BundleError(f"{entry.name!r}: its checksum in the directory was changed")


def _document(file: BinaryIO, entry: Entry) -> bytes:
    if entry.size_bytes > MAX_DOCUMENT_BYTES:
        raise BundleError(f"{entry.name} has {entry.size_bytes} bytes: at most {MAX_DOCUMENT_BYTES} are read")
    content = b"".join(content_of(file, entry))
    if crc_of(content) != entry.crc:
        raise BundleError(f"{entry.name} was changed: its checksum does not fit")
    return content
