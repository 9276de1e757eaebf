"""Networks on the wire."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from nas_engine.settings.training import NetworkSpec
from server.access.schemas import Owner, OwnerName
from server.candidates.states import DesiredState
from server.core.http.resources import Body, CountedQuery, Id, Json, LabelText, Resource, Sha256, Text
from server.jobs.spent.schemas import TimeResource
from server.jobs.spent.spent import TimeSpent
from server.training.networks.network import Network
from server.training.schemas import SupernetVersionResource, TrainingProgressResource
from server.training.training import TrainingState


class NetworkListQuery(CountedQuery):
    """Filters of a list of networks."""

    state: list[TrainingState] = Field(default_factory=list)
    """Networks in any of these states."""

    space: Text | None = None
    """Networks whose architecture is of this search space, by its id."""

    dataset: Text | None = None
    """Networks trained on this data set, by its name."""

    owner: OwnerName = None
    """Name or id of a principal; only what it owns is listed."""

    label: list[LabelText] = Field(default_factory=list, max_length=16)
    """Networks that carry all of these labels, each as `name:value`."""

    find: Text | None = None
    """Words that all stand, whatever their case, in a network's name, labels, id, space, data set, architecture, owner
    or state."""


class NetworkResource(Resource):
    """One architecture, trained by itself."""

    id: Id
    """Identifier of the network, `network_...`, given by the server; `sup_...` of those that the first release made."""

    name: str
    """Name for people, from the spec."""

    state: TrainingState
    """State of its training as the server sees it."""

    desired_state: DesiredState
    """State its owner asked for; `state` follows it."""

    reason: str
    """Why it is in this state; empty where there is nothing to say."""

    spec: NetworkSpec
    """Spec as it was posted, with defaults filled in; at the paths of the first release with a `strategy`, as its
    clients read it."""

    progress: TrainingProgressResource
    """Progress of its training, as the worker last reported it."""

    weights_sha256: str | None
    """SHA-256 of its weights, a safetensors file: GET /api/v1/artifacts/{sha256}; null before it is trained."""

    statistics: Json
    """Accuracies and further figures of its training, as the worker reported them; null before it is trained."""

    latest_version_id: Id | None
    """Identifier of its weights, by which clients of the first release see that there are any; null before."""

    created_by: Id | None
    """Token that created it; null without authentication."""

    owner: Owner = None
    """Principal that owns it: whose token that was; null without authentication."""

    created_at: datetime
    """Time at which it was created, RFC 3339."""

    finished_at: datetime | None
    """Time at which its training ended, RFC 3339; null before."""

    version: int
    """Number that grows with every change of this document."""

    time: TimeResource | None = None
    """How long its training takes and where the time goes; null where the answer is to a change, and from servers that
    do not tell."""


class NetworkRegistrationBody(Body):
    """A network that was trained elsewhere."""

    spec: NetworkSpec
    """Spec it was trained with; its space, architecture and data set must be known here."""

    weights_sha256: Sha256
    """SHA-256 of its weights, uploaded before with PUT /api/v1/artifacts/{sha256}."""

    statistics: dict[str, float] = Field(default_factory=dict, max_length=100)
    """Accuracies and further figures of the training, by name, for people."""


def network_resource(network: Network, time: TimeSpent | None = None, *, as_supernet: bool = False) -> NetworkResource:
    """A network as REST answers it, with how long it takes where that is told.

    Args:
        as_supernet: whether clients of the first release read it, to whom it is a supernet with a strategy `retrain`.
    """
    weights = network.weights
    return NetworkResource.of(
        network,
        network.spec,
        spec=network.spec.as_first_written if as_supernet else network.spec,
        weights_sha256=None if weights is None else weights.sha256,
        statistics=None if weights is None else weights.statistics,
        latest_version_id=None if weights is None else weights.id,
        time=time,
    )


def weights_as_versions(network: Network) -> list[SupernetVersionResource]:
    """A network's weights as clients of the first release list them: as the only version of a supernet."""
    weights = network.weights
    if weights is None:
        return []
    return [
        SupernetVersionResource.of(
            weights, supernet_id=network.id, number=1, weights_sha256=weights.sha256, search_id=None, parent_id=None
        )
    ]
