"""How the owner of each kind of thing is found, and how much an owner has of what quotas limit."""

from __future__ import annotations

from datetime import timedelta

from server.access.orders import Orders
from server.access.permissions import Kind, Owners
from server.access.principal import Principal
from server.access.quotas import QuotaSettings
from server.candidates.search_store import SearchStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.fleet.store import DeviceStore
from server.jobs.queue import JobStore
from server.latency_tables.store import BatchStore
from server.spaces.store import SpaceTableStore
from server.studies.store import StudyStore
from server.training.networks.store import NetworkStore
from server.training.store import SupernetStore

_TRAININGS = (SupernetStore, NetworkStore)


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


def all_orders(settings: QuotaSettings) -> Orders:
    """What the routes ask before they take an order."""
    return Orders(
        settings,
        {
            "queued_jobs": lambda tx, owner_id: JobStore(tx).num_queued_of(owner_id),
            "open_trainings": lambda tx, owner_id: sum(store(tx).num_open_of(owner_id) for store in _TRAININGS),
            "open_studies": lambda tx, owner_id: StudyStore(tx).num_open_of(owner_id),
            "open_latency_tables": lambda tx, owner_id: BatchStore(tx).num_open_of(owner_id),
            "registrations_per_day": _made_in_a_day,
        },
    )


def _made_in_a_day(tx: Transaction, owner_id: str) -> int:
    since = tx.now() - timedelta(days=1)
    num_trained = sum(store(tx).num_made_since(owner_id, since) for store in _TRAININGS)
    return num_trained + SpaceTableStore(tx).num_made_since(owner_id, since)


def _of_search(tx: Transaction, id: str) -> Principal | None:
    """Also that of a latency table or report, which the paths of searches redirect to."""
    batch = BatchStore(tx).find_batch(id)
    return SearchStore(tx).get_search(id).owner if batch is None else batch.owner


def _of_supernet(tx: Transaction, id: str) -> Principal | None:
    """Also that of a network, which clients of the first release cancel as a supernet."""
    network = NetworkStore(tx).find_training(id)
    return SupernetStore(tx).get_training(id).owner if network is None else network.owner
