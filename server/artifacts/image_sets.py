"""Image sets in the store: their head is read, and what was cut short is refused."""

from __future__ import annotations

from nas_engine.domain.errors import DatasetError
from nas_engine.domain.measuring.image_set import HEAD_BYTES, ImageSetHeader, Labels, file_bytes, read_head
from server.artifacts.artifacts import Artifacts


def image_set_head(artifacts: Artifacts, sha256: str) -> tuple[ImageSetHeader, Labels]:
    """Header and labels of a stored image set.

    Raises:
        NotFoundError: there is no such artifact.
        DatasetError: it is no image set, or not a whole one.
    """
    size_bytes = artifacts.get(sha256).size_bytes
    header, labels_N = read_head(artifacts.read_range(sha256, 0, HEAD_BYTES))
    if file_bytes(header) != size_bytes:
        raise DatasetError(
            f"the image set has {size_bytes} bytes, its header announces {file_bytes(header)}: it is cut"
        )
    return header, labels_N
