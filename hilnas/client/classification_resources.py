"""The SDK's calls about answers to image sets."""

from __future__ import annotations

from collections.abc import Iterator

from hilnas.client.resources import API, Group, read
from hilnas.client.transport import Params
from server.classifying.schemas import ClassificationDetail, ClassificationResource


class ClassificationGroup(Group):
    """What models answered on devices, and what is lost against float."""

    def all(self, filters: Params | None = None, limit: int | None = None) -> Iterator[ClassificationResource]:
        """Classifications, newest first; filters as in ``GET /api/v1/classifications``."""
        return self.items(f"{API}/classifications", ClassificationResource, filters or {}, limit)

    def get(self, classification_id: str) -> ClassificationDetail:
        """One classification with the class it gave to every image."""
        answer = self._transport.get(f"{API}/classifications/{classification_id}")
        return read(ClassificationDetail, answer)
