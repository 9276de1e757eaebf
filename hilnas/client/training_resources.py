"""The SDK's calls around training: supernets, networks with their model files, ranking studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hilnas.client.core.calls import M, call, listing, stream
from hilnas.client.core.event_source import ReceivedEvent, followed
from hilnas.client.core.group import Document, Group, filters_of, read, spec_document
from hilnas.client.core.paths import path_of
from hilnas.client.core.steps import Call, Items
from hilnas.client.handles import Handle
from hilnas.client.measuring_resources import Job
from hilnas.client.views.frames import frame_of
from hilnas.client.views.html import paragraphs
from hilnas.client.views.pictures import learning_picture
from nas_engine.settings.training import NetworkSpec, TrainingSpec
from server.shipping.schemas import (
    CandidateLayersResource,
    EvidenceKeyResource,
    ExplanationResource,
    MeasureNeighboursResource,
)
from server.training.curves.schemas import CurveResource
from server.training.networks.candidate_retraining_spec import CandidateRetrainingSpec
from server.training.networks.schemas import NetworkResource
from server.training.schemas import DeployableModelResource, SupernetResource, SupernetVersionResource
from server.training.training import TrainingState

if TYPE_CHECKING:
    import pandas


class Curve(CurveResource):
    """The learning curve of a supernet or a network."""

    def to_pandas(self) -> pandas.DataFrame:
        """A row a point. Raises MissingPackageError."""
        return frame_of(self.points)

    def _repr_html_(self) -> str:
        """The curve drawn."""
        return learning_picture(self) or paragraphs(["nothing reported yet"])


class TrainedHandle(Handle[M]):
    """What supernets and networks have in common: a training that is followed."""

    SUCCESS = TrainingState.READY

    @call
    def curve(self, *, max_points: int = 500) -> Call[Curve]:
        """Its learning curve: loss, accuracy, learning rate and throughput; at most so many points of it."""
        http = self._carrier.exchange
        return read(Curve, (yield from http.get(path_of(*self._place, "curve"), {"max_points": max_points})))

    @stream
    def events(self, after_id: int = 0) -> Items[ReceivedEvent]:
        """How its training goes, until it ends."""
        return followed(self._carrier.exchange, path_of(*self._place, "events"), after_id)


class Supernet(TrainedHandle[M], SupernetResource):
    """A supernet as it was when it was read; its methods ask the server anew."""

    COLLECTION, NOUN = "supernets", "supernet"


class Network(TrainedHandle[M], NetworkResource):
    """A network as it was when it was read; its methods ask the server anew."""

    COLLECTION, NOUN = "networks", "network"


class Candidates(Group[M]):
    """What becomes of candidates after their search."""

    @listing
    def models(self, candidate_id: str) -> Items[DeployableModelResource]:
        """Model files with the supernet's weights: of front members, and of what was exported."""
        return self.items(path_of("candidates", candidate_id, "models"), DeployableModelResource, {})

    @call
    def export(self, candidate_id: str, *, idempotency_key: str | None = None) -> Call[Job[M]]:
        """Have its model exported with the supernet's weights; once the job is done, `models` lists it."""
        path = path_of("candidates", candidate_id, verb="export")
        return self.read(Job, (yield from self._http.post(path, idempotency_key=idempotency_key)))

    @call
    def bundle(self, candidate_id: str, path: Path) -> Call[str]:
        """Fetch its evidence bundle into a file, or into a folder under the server's name for it; returns the path.

        It appears whole or not at all; `hilnas bundles verify` checks it.
        """
        return self.bundle_of(path_of("candidates", candidate_id, "bundle"), path, candidate_id)

    @call
    def evidence_key(self) -> Call[EvidenceKeyResource]:
        """Read the key with which the server signs evidence bundles."""
        return read(EvidenceKeyResource, (yield from self._http.get(path_of("evidence-key"))))

    @call
    def explain(self, candidate_id: str) -> Call[ExplanationResource]:
        """Read what each single change of its architecture would do to latency and accuracy."""
        return read(ExplanationResource, (yield from self._http.get(path_of("candidates", candidate_id, "neighbours"))))

    @call
    def layers(self, candidate_id: str) -> Call[CandidateLayersResource]:
        """Read where its microseconds go: time per block and layer, with MACs beside it."""
        return read(CandidateLayersResource, (yield from self._http.get(path_of("candidates", candidate_id, "layers"))))

    @call
    def measure_neighbours(
        self, candidate_id: str, *, max_networks: int = 8, idempotency_key: str | None = None
    ) -> Call[MeasureNeighboursResource]:
        """Have changes of its architecture measured that nothing measured yet, when boards have nothing else to do."""
        path = path_of("candidates", candidate_id, "neighbours", verb="measure")
        wanted: Document = {"max_networks": max_networks}
        answer = yield from self._http.post(path, wanted, idempotency_key=idempotency_key)
        return read(MeasureNeighboursResource, answer)

    @call
    def retrain(
        self,
        candidate_id: str,
        settings: CandidateRetrainingSpec | Document,
        *,
        idempotency_key: str | None = None,
    ) -> Call[Network[M]]:
        """Train its architecture by itself; the answer is the network."""
        path = path_of("candidates", candidate_id, verb="retrain")
        answer = yield from self._http.post(path, spec_document(settings), idempotency_key=idempotency_key)
        return self.read(Network, answer)


class SupernetGroup(Group[M]):
    """Supernets and their training."""

    @call
    def create(self, spec: TrainingSpec | Document, *, idempotency_key: str | None = None) -> Call[Supernet[M]]:
        """Queue the training of a supernet."""
        answer = yield from self._http.post(path_of("supernets"), spec_document(spec), idempotency_key=idempotency_key)
        return self.read(Supernet, answer)

    @call
    def register(
        self,
        spec: TrainingSpec | Document,
        weights_sha256: str,
        *,
        statistics: Mapping[str, float] | None = None,
        provenance: Mapping[str, str] | None = None,
    ) -> Call[Supernet[M]]:
        """Take in a supernet that was trained elsewhere; its weights are an uploaded artifact."""
        body: Document = {
            "spec": spec_document(spec),
            "weights_sha256": weights_sha256,
            "statistics": dict(statistics or {}),
            "provenance": dict(provenance or {}),
        }
        return self.read(Supernet, (yield from self._http.post(path_of("supernets", verb="register"), body)))

    @call
    def get(self, supernet_id: str) -> Call[Supernet[M]]:
        """Read one supernet by its id."""
        return self.read(Supernet, (yield from self._http.get(path_of("supernets", supernet_id))))

    @listing
    def all(
        self,
        *,
        states: Sequence[str] = (),
        owner: str | None = None,
        find: str | None = None,
        labels: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> Items[Supernet[M]]:
        """Iterate over supernets, newest first: of an owner (by name or id), in which all words of `find` stand
        somewhere, which carry all labels.
        """
        return self.items(path_of("supernets"), Supernet, filters_of(states, owner, find, labels), limit)

    @listing
    def versions(self, supernet_id: str) -> Items[SupernetVersionResource]:
        """Its weights over time, oldest first."""
        return self.items(path_of("supernets", supernet_id, "versions"), SupernetVersionResource, {})

    @call
    def curve(self, supernet_id: str, *, max_points: int = 500) -> Call[Curve]:
        """Its learning curve: loss, accuracy, learning rate and throughput; at most so many points of it."""
        path = path_of("supernets", supernet_id, "curve")
        return read(Curve, (yield from self._http.get(path, {"max_points": max_points})))

    @call
    def cancel(self, supernet_id: str) -> Call[Supernet[M]]:
        """Stop its training; it cannot be resumed."""
        return self.read(Supernet, (yield from self._http.post(path_of("supernets", supernet_id, verb="cancel"))))

    @stream
    def events(self, supernet_id: str, after_id: int = 0) -> Items[ReceivedEvent]:
        """How its training goes, until it ends."""
        return followed(self._http, path_of("supernets", supernet_id, "events"), after_id)


class NetworkGroup(Group[M]):
    """Networks that are trained by themselves."""

    @call
    def create(self, spec: NetworkSpec | Document, *, idempotency_key: str | None = None) -> Call[Network[M]]:
        """Queue the training of a network."""
        answer = yield from self._http.post(path_of("networks"), spec_document(spec), idempotency_key=idempotency_key)
        return self.read(Network, answer)

    @call
    def get(self, network_id: str) -> Call[Network[M]]:
        """Read one network by its id."""
        return self.read(Network, (yield from self._http.get(path_of("networks", network_id))))

    @listing
    def all(
        self,
        *,
        states: Sequence[str] = (),
        owner: str | None = None,
        find: str | None = None,
        labels: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> Items[Network[M]]:
        """Iterate over networks, newest first: of an owner (by name or id), in which all words of `find` stand
        somewhere, which carry all labels.
        """
        return self.items(path_of("networks"), Network, filters_of(states, owner, find, labels), limit)

    @listing
    def models(self, network_id: str) -> Items[DeployableModelResource]:
        """Its model files, for boards."""
        return self.items(path_of("networks", network_id, "models"), DeployableModelResource, {})

    @call
    def bundle(self, network_id: str, path: Path) -> Call[str]:
        """Fetch its evidence bundle into a file, or into a folder under the server's name for it; returns the path."""
        return self.bundle_of(path_of("networks", network_id, "bundle"), path, network_id)

    @call
    def curve(self, network_id: str, *, max_points: int = 500) -> Call[Curve]:
        """Its learning curve: loss, accuracy, learning rate and throughput; at most so many points of it."""
        path = path_of("networks", network_id, "curve")
        return read(Curve, (yield from self._http.get(path, {"max_points": max_points})))

    @call
    def cancel(self, network_id: str) -> Call[Network[M]]:
        """Stop its training; it cannot be resumed."""
        return self.read(Network, (yield from self._http.post(path_of("networks", network_id, verb="cancel"))))

    @stream
    def events(self, network_id: str, after_id: int = 0) -> Items[ReceivedEvent]:
        """How its training goes, until it ends."""
        return followed(self._http, path_of("networks", network_id, "events"), after_id)
