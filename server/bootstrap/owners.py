"""How the owner of each kind of thing is found."""

from __future__ import annotations

from server.access.permissions import Kind, Owners
from server.access.principal import Principal
from server.candidates.search_store import SearchStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.fleet.store import DeviceStore
from server.jobs.queue import JobStore
from server.latency_tables.store import BatchStore
from server.studies.store import StudyStore
from server.training.networks.store import NetworkStore
from server.training.store import SupernetStore


def all_owners(uow: UnitOfWork) -> Owners:
    """What the routes ask before they let a caller change a thing."""
    return Owners(
        uow,
        {
            Kind.SEARCH: _of_search,
            Kind.SUPERNET: _of_supernet,
            Kind.NETWORK: lambda tx, id: NetworkStore(tx).get_training(id).owner,
            Kind.STUDY: lambda tx, id: StudyStore(tx).get_study(id).owner,
            Kind.TABLE: lambda tx, id: BatchStore(tx).get_batch(id).owner,
            Kind.REPORT: lambda tx, id: BatchStore(tx).get_batch(id, "report").owner,
            Kind.JOB: lambda tx, id: JobStore(tx).get_job(id).owner,
            Kind.DEVICE: lambda tx, id: DeviceStore(tx).get_device(id).owner,
        },
    )


def _of_search(tx: Transaction, id: str) -> Principal | None:
    """Also that of a latency table or report, which the paths of searches redirect to."""
    batch = BatchStore(tx).find_batch(id)
    return SearchStore(tx).get_search(id).owner if batch is None else batch.owner


def _of_supernet(tx: Transaction, id: str) -> Principal | None:
    """Also that of a network, which clients of the first release cancel as a supernet."""
    network = NetworkStore(tx).find_training(id)
    return SupernetStore(tx).get_training(id).owner if network is None else network.owner
