"""Which data set calibrates the conversion of a candidate's model."""

from __future__ import annotations

from nas_engine.domain.errors import DatasetError
from server.candidates.search_store import SearchStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.measuring.payloads import ConvertPayload
from server.training.store import SupernetStore


class CalibrationDatasets:
    """Finds the data set of the images that a w8a8 conversion looks at."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def name(self, payload: ConvertPayload) -> str:
        """The data set that a conversion names, else its search's, else the one its supernet was trained with.

        Raises:
            DatasetError: none of them names one.
            NotFoundError: the search or the supernet version is gone.
        """

        def look(tx: Transaction) -> str | None:
            if payload.calibration_dataset is not None:
                return payload.calibration_dataset
            if payload.search_id is not None and (name := SearchStore(tx).get_search(payload.search_id).spec.dataset):
                return name
            if payload.supernet_version_id is None:
                return None
            version = SupernetStore(tx).get_supernet_version(payload.supernet_version_id)
            return SupernetStore(tx).get_training(version.supernet_id).spec.dataset

        found = self._uow.read(look)
        if found is None:
            raise DatasetError("w8a8 needs calibration images: name a data set in the spec")
        return found
