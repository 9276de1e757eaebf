"""What models answered to image sets on devices: queried without starting anything."""

from __future__ import annotations

from server.service.paging import Page, PageRequest
from server.service.ports.unit_of_work import UnitOfWork
from server.service.values.classification import ClassificationQuery, ClassificationRecord


class Classifications:
    """Use cases of classifications."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def get(self, classification_id: str) -> ClassificationRecord:
        """One classification. Raises NotFoundError."""
        return self._uow.read(lambda tx: tx.classifications.get(classification_id))

    def page(self, query: ClassificationQuery, page: PageRequest) -> Page[ClassificationRecord]:
        """List, newest first. Only authoritative ones unless the query says otherwise."""
        return self._uow.read(lambda tx: tx.classifications.page(query, page))
