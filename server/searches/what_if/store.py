"""The table of what-if boards, and its store."""

from __future__ import annotations

import sqlalchemy as sa

from server.access.store import OWNER, OWNER_PATH, owner_column
from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.store import Store
from server.core.database.types import Digest, EnumText, Id, JsonOf, Timestamp
from server.core.paging import Page, PageRequest
from server.latencies.predictors.predictor import FitQuality
from server.searches.what_if.spec import WhatIfSpec, parse_what_if_spec
from server.searches.what_if.what_if import ChosenNetwork, WhatIf, WhatIfState

what_ifs = sa.Table(
    "what_ifs",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("search_id", Id, sa.ForeignKey("searches.id"), nullable=False, index=True),
    sa.Column("spec", JsonOf(WhatIfSpec, load=parse_what_if_spec), nullable=False),
    sa.Column("hardware_key", Digest, sa.ForeignKey("hardware.hardware_key"), nullable=False),
    sa.Column("state", EnumText(WhatIfState), nullable=False, index=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("chosen", JsonOf(tuple[ChosenNetwork, ...]), nullable=False),
    sa.Column("artifact_sha256", Digest),
    sa.Column("quality", JsonOf(FitQuality)),
    sa.Column("num_fitted", sa.BigInteger, nullable=False),
    sa.Column("created_by", Id),
    owner_column(),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("finished_at", Timestamp),
    sa.Column("version", sa.BigInteger, nullable=False),
)

WHAT_IFS = Rows(WhatIf, what_ifs, paths=OWNER_PATH, joined=OWNER)


class WhatIfStore(Store):
    """What-if boards as rows."""

    def add_what_if(self, what_if: WhatIf) -> None:
        """Store a new one."""
        self._insert(WHAT_IFS, what_if)

    def get_what_if(self, what_if_id: str) -> WhatIf:
        """Read one. Raises NotFoundError."""
        return self._one(WHAT_IFS, WHAT_IFS.select(what_ifs.c.id == what_if_id), "what-if", what_if_id)

    def lock_what_if(self, what_if_id: str) -> WhatIf:
        """Read one and hold it until the transaction ends. Raises NotFoundError."""
        statement = WHAT_IFS.select(what_ifs.c.id == what_if_id).with_for_update(of=what_ifs)
        return self._one(WHAT_IFS, statement, "what-if", what_if_id)

    def save_what_if(self, what_if: WhatIf) -> WhatIf:
        """Write a locked one with its version one higher."""
        return self._save(WHAT_IFS, what_if)

    def page_of_what_ifs(self, search_id: str, page: PageRequest) -> Page[WhatIf]:
        """List those of a search, newest first."""
        statement = WHAT_IFS.select(what_ifs.c.search_id == search_id)
        return self._page(WHAT_IFS, statement, page, id_column=what_ifs.c.id, descending=True)

    def measuring(self, hardware_key: str | None = None) -> tuple[WhatIf, ...]:
        """Those that wait for measurements, or those of them under a hardware key; oldest first."""
        statement = WHAT_IFS.select(what_ifs.c.state == WhatIfState.MEASURING)
        if hardware_key is not None:
            statement = statement.where(what_ifs.c.hardware_key == hardware_key)
        return self._list(WHAT_IFS, statement.order_by(what_ifs.c.id))
