"""The SDK's calls around training: supernets, networks with their model files, ranking studies."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hilnas.client.event_source import ReceivedEvent, follow
from hilnas.client.resources import API, Document, Group, read, spec_document
from hilnas.client.transport import Params, Transport
from nas_engine.settings.training import NetworkSpec, TrainingSpec
from server.jobs.schemas import JobDetail
from server.shipping.schemas import (
    CandidateLayersResource,
    EvidenceKeyResource,
    ExplanationResource,
    MeasureNeighboursResource,
)
from server.studies.schemas import RankingStudyResource, StudyEntryResource
from server.studies.spec import RankingStudySpec
from server.training.networks.candidate_retraining_spec import CandidateRetrainingSpec
from server.training.networks.schemas import NetworkResource
from server.training.schemas import DeployableModelResource, SupernetResource, SupernetVersionResource


def fetch_bundle(transport: Transport, address: str, path: Path, name: str) -> str:
    """Fetch an evidence bundle into a file, or into a folder under the server's name for it; else under `name`."""
    with transport.stream(address, {}, timeout_s=600.0) as response:
        said = re.search(r'filename="([A-Za-z0-9][A-Za-z0-9._+-]*)"', response.headers.get("content-disposition", ""))
        target = path / (f"{name}-evidence.zip" if said is None else said[1]) if path.is_dir() else path
        partial = target.with_name(target.name + ".part")
        with partial.open("wb") as file:
            for chunk in response.iter_bytes():
                file.write(chunk)
    os.replace(partial, target)
    return str(target)


class Candidates(Group):
    """What becomes of candidates after their search."""

    def models(self, candidate_id: str) -> Iterator[DeployableModelResource]:
        """Model files with the supernet's weights: of front members, and of what was exported."""
        return self.items(f"{API}/candidates/{candidate_id}/models", DeployableModelResource, {})

    def export(self, candidate_id: str, *, idempotency_key: str | None = None) -> JobDetail:
        """Have its model exported with the supernet's weights; once the job is done, `models` lists it."""
        path = f"{API}/candidates/{candidate_id}:export"
        return read(JobDetail, self._transport.post(path, idempotency_key=idempotency_key))

    def bundle(self, candidate_id: str, path: Path) -> str:
        """Fetch its evidence bundle into a file, or into a folder under the server's name for it; returns the path.

        It appears whole or not at all; `hilnas bundles verify` checks it.
        """
        return fetch_bundle(self._transport, f"{API}/candidates/{candidate_id}/bundle", path, candidate_id)

    def evidence_key(self) -> EvidenceKeyResource:
        """Read the key with which the server signs evidence bundles."""
        return read(EvidenceKeyResource, self._transport.get(f"{API}/evidence-key"))

    def explain(self, candidate_id: str) -> ExplanationResource:
        """Read what each single change of its architecture would do to latency and accuracy."""
        return read(ExplanationResource, self._transport.get(f"{API}/candidates/{candidate_id}/neighbours"))

    def layers(self, candidate_id: str) -> CandidateLayersResource:
        """Read where its microseconds go: time per block and layer, with MACs beside it."""
        return read(CandidateLayersResource, self._transport.get(f"{API}/candidates/{candidate_id}/layers"))

    def measure_neighbours(
        self, candidate_id: str, *, max_networks: int = 8, idempotency_key: str | None = None
    ) -> MeasureNeighboursResource:
        """Have changes of its architecture measured that nothing measured yet, when boards have nothing else to do."""
        path, document = f"{API}/candidates/{candidate_id}/neighbours:measure", {"max_networks": max_networks}
        return read(MeasureNeighboursResource, self._transport.post(path, document, idempotency_key=idempotency_key))

    def retrain(
        self,
        candidate_id: str,
        settings: CandidateRetrainingSpec | Document,
        *,
        idempotency_key: str | None = None,
    ) -> NetworkResource:
        """Train its architecture by itself; the answer is the network."""
        path = f"{API}/candidates/{candidate_id}:retrain"
        answer = self._transport.post(path, spec_document(settings), idempotency_key=idempotency_key)
        return read(NetworkResource, answer)


class SupernetGroup(Group):
    """Supernets and their training."""

    def register(
        self,
        spec: TrainingSpec | Document,
        weights_sha256: str,
        *,
        statistics: Mapping[str, float] | None = None,
        provenance: Mapping[str, str] | None = None,
    ) -> SupernetResource:
        """Take in a supernet that was trained elsewhere; its weights are an uploaded artifact."""
        body: Document = {
            "spec": spec_document(spec),
            "weights_sha256": weights_sha256,
            "statistics": dict(statistics or {}),
            "provenance": dict(provenance or {}),
        }
        return read(SupernetResource, self._transport.post(f"{API}/supernets:register", body))

    def create(self, spec: TrainingSpec | Document, *, idempotency_key: str | None = None) -> SupernetResource:
        """Queue the training of a supernet."""
        answer = self._transport.post(f"{API}/supernets", spec_document(spec), idempotency_key=idempotency_key)
        return read(SupernetResource, answer)

    def get(self, supernet_id: str) -> SupernetResource:
        """Read one supernet by its id."""
        return read(SupernetResource, self._transport.get(f"{API}/supernets/{supernet_id}"))

    def all(
        self, *, states: Sequence[str] = (), owner: str | None = None, limit: int | None = None
    ) -> Iterator[SupernetResource]:
        """Iterate over supernets, or those of an owner (by name or id), newest first."""
        return self.items(f"{API}/supernets", SupernetResource, {"state": list(states), "owner": owner}, limit)

    def versions(self, supernet_id: str) -> Iterator[SupernetVersionResource]:
        """Its weights over time, oldest first."""
        return self.items(f"{API}/supernets/{supernet_id}/versions", SupernetVersionResource, {})

    def cancel(self, supernet_id: str) -> SupernetResource:
        """Stop its training; it cannot be resumed."""
        return read(SupernetResource, self._transport.post(f"{API}/supernets/{supernet_id}:cancel"))

    def events(self, supernet_id: str, after_id: int = 0) -> Iterator[ReceivedEvent]:
        """How its training goes, until it ends."""
        return follow(self._transport, f"{API}/supernets/{supernet_id}/events", after_id)


class NetworkGroup(Group):
    """Networks that are trained by themselves."""

    def create(self, spec: NetworkSpec | Document, *, idempotency_key: str | None = None) -> NetworkResource:
        """Queue the training of a network."""
        answer = self._transport.post(f"{API}/networks", spec_document(spec), idempotency_key=idempotency_key)
        return read(NetworkResource, answer)

    def get(self, network_id: str) -> NetworkResource:
        """Read one network by its id."""
        return read(NetworkResource, self._transport.get(f"{API}/networks/{network_id}"))

    def all(
        self, *, states: Sequence[str] = (), owner: str | None = None, limit: int | None = None
    ) -> Iterator[NetworkResource]:
        """Iterate over networks, or those of an owner (by name or id), newest first."""
        return self.items(f"{API}/networks", NetworkResource, {"state": list(states), "owner": owner}, limit)

    def models(self, network_id: str) -> Iterator[DeployableModelResource]:
        """Its model files, for boards."""
        return self.items(f"{API}/networks/{network_id}/models", DeployableModelResource, {})

    def bundle(self, network_id: str, path: Path) -> str:
        """Fetch its evidence bundle into a file, or into a folder under the server's name for it; returns the path."""
        return fetch_bundle(self._transport, f"{API}/networks/{network_id}/bundle", path, network_id)

    def cancel(self, network_id: str) -> NetworkResource:
        """Stop its training; it cannot be resumed."""
        return read(NetworkResource, self._transport.post(f"{API}/networks/{network_id}:cancel"))

    def events(self, network_id: str, after_id: int = 0) -> Iterator[ReceivedEvent]:
        """How its training goes, until it ends."""
        return follow(self._transport, f"{API}/networks/{network_id}/events", after_id)


class RankingStudyGroup(Group):
    """Ranking studies: does a supernet rank architectures as stand-alone training does?"""

    def create(self, spec: RankingStudySpec | Document, *, idempotency_key: str | None = None) -> RankingStudyResource:
        """Queue a ranking study."""
        answer = self._transport.post(f"{API}/ranking-studies", spec_document(spec), idempotency_key=idempotency_key)
        return read(RankingStudyResource, answer)

    def get(self, study_id: str) -> RankingStudyResource:
        """One study with its correlations, as far as it is."""
        return read(RankingStudyResource, self._transport.get(f"{API}/ranking-studies/{study_id}"))

    def all(
        self, *, states: Sequence[str] = (), owner: str | None = None, limit: int | None = None
    ) -> Iterator[RankingStudyResource]:
        """Iterate over studies, or those of an owner (by name or id), newest first."""
        filters: Params = {"state": list(states), "owner": owner}
        return self.items(f"{API}/ranking-studies", RankingStudyResource, filters, limit)

    def entries(self, study_id: str) -> Iterator[StudyEntryResource]:
        """Its architectures with both accuracies."""
        return self.items(f"{API}/ranking-studies/{study_id}/entries", StudyEntryResource, {})

    def cancel(self, study_id: str) -> RankingStudyResource:
        """Stop it; it cannot be resumed, and what is done stays."""
        return read(RankingStudyResource, self._transport.post(f"{API}/ranking-studies/{study_id}:cancel"))

    def events(self, study_id: str, after_id: int = 0) -> Iterator[ReceivedEvent]:
        """How it goes, until it ends."""
        return follow(self._transport, f"{API}/ranking-studies/{study_id}/events", after_id)
