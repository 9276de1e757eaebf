"""Which data set calibrates the conversion of a candidate's model, and in which form its images are."""

from __future__ import annotations

from nas_engine.domain.errors import DatasetError
from nas_engine.settings.images import ImageForm
from server.candidates.search_store import SearchStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.measuring.payloads import ConvertPayload
from server.training.store import SupernetStore


class CalibrationDatasets:
    """Finds the data set of the images that a w8a8 conversion looks at."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def images(self, payload: ConvertPayload) -> tuple[str, ImageForm]:
        """The data set that a conversion names, else its search's, else the one its supernet was trained with.

        Its images come in the form that the supernet was trained on, or a network by itself.

        Raises:
            DatasetError: none of them names one.
            NotFoundError: the search or the supernet version is gone.
        """

        def look(tx: Transaction) -> tuple[str | None, ImageForm]:
            if payload.calibration_dataset is not None:
                return payload.calibration_dataset, payload.calibration_form
            name, form = None, payload.calibration_form
            if payload.supernet_version_id is not None:
                version = SupernetStore(tx).get_supernet_version(payload.supernet_version_id)
                training = SupernetStore(tx).get_training(version.supernet_id).spec
                name, form = training.dataset, training.image_form
            if payload.search_id is not None:
                name = SearchStore(tx).get_search(payload.search_id).spec.dataset or name
            return name, form

        name, form = self._uow.read(look)
        if name is None:
            raise DatasetError("w8a8 needs calibration images: name a data set in the spec")
        return name, form
