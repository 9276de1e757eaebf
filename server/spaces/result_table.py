"""Tables of results that are registered as search spaces of their own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from server.access.principal import Principal
from server.artifacts.artifact import check_sha256
from server.core.errors import InvalidValueError

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceTable:
    """A search space that is a table. What an id stands for never changes.

    Attributes:
        id: of the space, as search specs name it.
        sha256: of the artifact that holds the table; it identifies the architectures.
    """

    id: str
    sha256: str
    created_by: str | None = None
    owner: Principal | None = None
    created_at: datetime

    def __post_init__(self) -> None:
        check_sha256(self.sha256)
        if _ID.fullmatch(self.id) is None:
            raise InvalidValueError(
                f"{self.id[:80]!r} cannot name a search space: use up to 100 letters, digits, '.', '_' and '-', "
                "beginning with a letter or a digit"
            )
