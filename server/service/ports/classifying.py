"""Port for classifications. Values in, values out; `get` raises NotFoundError."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from server.service.paging import Page, PageRequest
from server.service.values.classification import ClassificationQuery, ClassificationRecord


class ClassificationStore(Protocol):
    """Classifications with their predictions."""

    def add(self, record: ClassificationRecord) -> None:
        """Store one."""

    def get(self, classification_id: str) -> ClassificationRecord:
        """Read one."""

    def of_lease(self, lease_id: str) -> ClassificationRecord | None:
        """What one lease brought."""

    def page(self, query: ClassificationQuery, page: PageRequest) -> Page[ClassificationRecord]:
        """List, newest first."""

    def of_same_images(self, record: ClassificationRecord) -> tuple[ClassificationRecord, ...]:
        """Authoritative ones of the same source model and the very same images, newest first."""

    def of_candidates(self, candidate_ids: Sequence[str]) -> tuple[ClassificationRecord, ...]:
        """The authoritative ones of devices for these candidates, oldest first."""

    def set_loss(self, record: ClassificationRecord) -> None:
        """Write the loss of a stored one."""
