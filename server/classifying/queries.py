"""What models answered to image sets on devices: queried without starting anything."""

from __future__ import annotations

from server.classifying.classification import ClassificationQuery, ClassificationRecord
from server.classifying.store import ClassificationStore
from server.core.database.transaction import UnitOfWork
from server.core.paging import Page, PageRequest


class Classifications:
    """Use cases of classifications."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def get_classification(self, classification_id: str) -> ClassificationRecord:
        """One classification. Raises NotFoundError."""
        return self._uow.read(lambda tx: ClassificationStore(tx).get_classification(classification_id))

    def page_of_classifications(self, query: ClassificationQuery, page: PageRequest) -> Page[ClassificationRecord]:
        """List without predictions, newest first. Only authoritative ones unless the query says otherwise."""
        return self._uow.read(lambda tx: ClassificationStore(tx).page_of_classifications(query, page))
