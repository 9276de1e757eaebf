"""Table of networks that are trained by themselves, and its store."""

from __future__ import annotations

import sqlalchemy as sa

from nas_engine.settings.training import NetworkSpec
from server.access.store import OWNER
from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.types import Digest, Id, Json, JsonOf, Timestamp
from server.training.networks.network import Network, parse_network_spec
from server.training.store import TRAINING_PATHS, Reference, TrainingStore, training_columns

networks = sa.Table(
    "networks",
    metadata,
    *training_columns(JsonOf(NetworkSpec, load=parse_network_spec)),
    sa.Column("weights_id", Id),
    sa.Column("weights_sha256", Digest),
    sa.Column("weights_statistics", Json),
    sa.Column("weights_created_at", Timestamp),
)

_WEIGHTS = {f"weights_{name}": f"weights.{name}" for name in ("id", "sha256", "statistics", "created_at")}
NETWORKS = Rows(Network, networks, paths={**TRAINING_PATHS, **_WEIGHTS}, joined=OWNER)


class NetworkStore(TrainingStore[Network]):
    """Networks as rows, each with its weights."""

    noun = "network"
    rows = NETWORKS

    def reference(self, id: str) -> Reference:
        """How jobs and events name one."""
        return Reference(network_id=id)
