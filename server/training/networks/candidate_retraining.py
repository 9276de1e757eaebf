"""Retraining what a search found, without copying genotypes: a network's spec from a candidate and some settings."""

from __future__ import annotations

from nas_engine.settings.training import NetworkSpec, TrainingSettings
from server.access.principal import NOBODY, Creator
from server.candidates.candidate import Candidate
from server.candidates.candidate_store import CandidateStore
from server.candidates.search import Search
from server.candidates.search_store import SearchStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import InvalidSpecError, SpecViolation
from server.training.networks.candidate_retraining_spec import STANDALONE_FIELDS, CandidateRetrainingSpec
from server.training.networks.network import Network
from server.training.networks.networks import Networks
from server.training.store import SupernetStore


class CandidateRetraining:
    """Use case of retraining candidates."""

    def __init__(self, uow: UnitOfWork, networks: Networks) -> None:
        self._uow = uow
        self._networks = networks

    def create(self, candidate_id: str, spec: CandidateRetrainingSpec, creator: Creator = NOBODY) -> Network:
        """Queue the retraining of a candidate's architecture.

        Raises:
            NotFoundError: there is no such candidate.
            InvalidSpecError: it cannot be trained; every reason is given.
        """

        def work(tx: Transaction) -> Network:
            candidate = CandidateStore(tx).get_candidate(candidate_id)
            search = SearchStore(tx).get_search(candidate.search_id)
            return self._networks.create_network(_network_spec(tx, search, candidate, spec), creator)

        return self._uow.write(work)


def _network_spec(tx: Transaction, search: Search, candidate: Candidate, spec: CandidateRetrainingSpec) -> NetworkSpec:
    if spec.inherit and search.supernet_version_id is None:
        message = f"search {search.id} has no supernet to inherit weights from: leave it off"
        raise InvalidSpecError([SpecViolation("/inherit", message)])
    settings = {name: getattr(spec, name) for name in (*TrainingSettings.model_fields, *STANDALONE_FIELDS)}
    return NetworkSpec(
        name=spec.name or f"retraining of {candidate.id}",
        space=search.spec.space,
        dataset=_dataset(tx, search, spec),
        architecture=list(candidate.genotype),
        inherit_from=search.supernet_version_id if spec.inherit else None,
        labels={**spec.labels, "search": search.id, "candidate": candidate.id},
        **settings,
    )


def _dataset(tx: Transaction, search: Search, spec: CandidateRetrainingSpec) -> str:
    if (named := spec.dataset or search.spec.dataset) is not None:
        return named
    if search.supernet_id is None:
        message = f"search {search.id} evaluates no accuracy, so it has no data set: name one"
        raise InvalidSpecError([SpecViolation("/dataset", message)])
    return SupernetStore(tx).get_training(search.supernet_id).spec.dataset
