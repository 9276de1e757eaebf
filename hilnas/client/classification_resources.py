"""The SDK's calls about answers to image sets."""

from __future__ import annotations

from hilnas.client.core.calls import M, call, listing
from hilnas.client.core.group import Group, read
from hilnas.client.core.paths import path_of
from hilnas.client.core.steps import Call, Items, Params
from server.classifying.schemas import ClassificationDetail, ClassificationResource


class ClassificationGroup(Group[M]):
    """What models answered on devices, and what is lost against float."""

    @listing
    def all(self, filters: Params | None = None, limit: int | None = None) -> Items[ClassificationResource]:
        """Classifications, newest first; filters as in ``GET /api/v1/classifications``."""
        return self.items(path_of("classifications"), ClassificationResource, filters or {}, limit)

    @call
    def get(self, classification_id: str) -> Call[ClassificationDetail]:
        """One classification with the class it gave to every image."""
        answer = yield from self._http.get(path_of("classifications", classification_id))
        return read(ClassificationDetail, answer)
