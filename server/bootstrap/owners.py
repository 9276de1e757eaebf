"""How the owner of each kind of thing is found, and how much an owner has of what quotas limit."""

from __future__ import annotations

from datetime import timedelta

from server.access.limits.orders import Orders
from server.access.limits.quotas import QuotaSettings
from server.access.permissions import POLICY, FindOwner, Kind, Owners, Rule
from server.access.principal import Principal
from server.access.store import PrincipalStore
from server.bootstrap.references import referent_of
from server.candidates.search_store import SearchStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.jobs.queue import JobStore
from server.latency_tables.store import BatchStore
from server.spaces.store import SpaceTableStore
from server.studies.store import StudyStore
from server.training.networks.store import NetworkStore
from server.training.store import SupernetStore

_TRAININGS = (SupernetStore, NetworkStore)


def all_owners(uow: UnitOfWork) -> Owners:
    """What the routes ask before they let a caller change a thing: the owner in the row of what their path names."""
    in_rows = {rule.kind: _in_row(rule) for rule in POLICY if rule.subject}
    return Owners(uow, {**in_rows, Kind.SEARCH: _of_search, Kind.SUPERNET: _of_supernet})


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


def _in_row(rule: Rule) -> FindOwner:
    id_column, noun = referent_of(rule.subject).id, rule.kind.value
    return lambda tx, id: PrincipalStore(tx).owner_of(id_column, id, noun)


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
