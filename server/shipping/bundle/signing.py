"""Who signed a bundle: Ed25519 keys, their fingerprints, and which of them this user believes."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from server.core.home import default_home

_PURPOSE = b"hilnas evidence bundle 1\n"
"""Stands before what is signed, so that a signature serves for nothing else."""
_FINGERPRINT = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")
PINS_FILE = "trusted-signers"


class SigningKeyError(Exception):
    """A key cannot be read, or is no Ed25519 key."""


class SigningKey:
    """The server's private key.

    Args:
        pem: as `new_key_pem` makes it.
    """

    def __init__(self, pem: bytes) -> None:
        """Read the key. Raises SigningKeyError: it cannot be read, or is of another kind."""
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SigningKeyError(f"the key that signs evidence bundles cannot be read: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise SigningKeyError("the key that signs evidence bundles is no Ed25519 key")
        self._key = key

    @property
    def public_key(self) -> bytes:
        """The 32 bytes by which others check what it signs."""
        return self._key.public_key().public_bytes_raw()

    @property
    def public_pem(self) -> str:
        """The public key as a PEM file."""
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(serialization.Encoding.PEM, kind).decode()

    @property
    def fingerprint(self) -> str:
        """What people compare."""
        return fingerprint(self.public_key)

    def sign(self, manifest: bytes) -> bytes:
        """Sign a manifest; equal manifests give equal signatures."""
        return self._key.sign(_PURPOSE + manifest)


def new_key_pem() -> bytes:
    """Make a private key."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def fingerprint(public_key: bytes) -> str:
    """``sha256:`` and the hex digest of the 32 bytes of a public key."""
    return f"sha256:{hashlib.sha256(public_key).hexdigest()}"


def is_signed(public_key: bytes, signature: bytes, manifest: bytes) -> bool:
    """Whether a signature is that of this key under this manifest."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _PURPOSE + manifest)
    except (InvalidSignature, ValueError):
        return False
    return True


def named_fingerprint(given: str) -> str:
    """The fingerprint that a user names: itself, or a file with a public key in PEM.

    Raises:
        SigningKeyError: it is neither.
    """
    if (found := _FINGERPRINT.fullmatch(given.strip())) is not None:
        return f"sha256:{found[1].lower()}"
    try:
        key = serialization.load_pem_public_key(Path(given).read_bytes())
    except OSError as error:
        raise SigningKeyError(
            f"{given!r} is no fingerprint (sha256: and 64 hex digits), and no file that can be read: {error.strerror}"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SigningKeyError(f"{given} holds no public key in PEM form") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SigningKeyError(f"{given} holds another kind of key: bundles are signed with Ed25519")
    return fingerprint(key.public_bytes_raw())


def pinned(file: Path | None = None) -> frozenset[str]:
    """Fingerprints that this user has pinned. Raises SigningKeyError: a line of the file is none."""
    path = file or default_home() / PINS_FILE
    if not path.exists():
        return frozenset()
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    found = set()
    for line in filter(None, lines):
        if (match := _FINGERPRINT.fullmatch(line)) is None:
            raise SigningKeyError(f"{path}: {line[:80]!r} is no fingerprint")
        found.add(f"sha256:{match[1].lower()}")
    return frozenset(found)


def pin(signer: str, file: Path | None = None) -> Path:
    """Believe a signer from now on; returns the file that says so. Raises SigningKeyError."""
    path = file or default_home() / PINS_FILE
    if signer not in pinned(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as lines:
            lines.write(f"{signer}\n")
    return path
