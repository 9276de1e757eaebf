"""Orders: what each route adds to, and how much of it one owner may have; one table, which every order asks.

A route that makes something is named by its function, as in the table of permissions. What it adds to is counted by the
concern that keeps it, in the transaction of the order, and one order of an owner at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from server.access.limits.quotas import QuotaSettings
from server.access.principal import Principal
from server.access.store import PrincipalStore
from server.core.database.transaction import Transaction

CountOf = Callable[[Transaction, str], int]
"""How much an owner, by its id, has of something."""

ADDS_TO: Mapping[str, tuple[str, ...]] = {
    "create_search": ("queued_jobs",),
    "clone_search": ("queued_jobs",),
    "create_supernet": ("open_trainings", "queued_jobs"),
    "register_supernet": ("registrations_per_day", "queued_jobs"),
    "create_network": ("open_trainings", "queued_jobs"),
    "register_network": ("registrations_per_day", "queued_jobs"),
    "retrain_candidate": ("open_trainings", "queued_jobs"),
    "create_ranking_study": ("open_studies", "queued_jobs"),
    "create_latency_table": ("open_latency_tables", "queued_jobs"),
    "create_cost_report": ("open_latency_tables", "queued_jobs"),
    "measure_model": ("queued_jobs",),
    "query_latencies": ("queued_jobs",),
    "create_what_if": ("queued_jobs",),
    "export_candidate": ("queued_jobs",),
    "measure_neighbours": ("queued_jobs",),
    "register_table": ("registrations_per_day",),
}
"""Fields of `QuotaSettings`, by route. Searches are held to their candidates too (`server/searches/routes.py`)."""


class Orders:
    """Holds what is ordered against what its owner has already.

    Args:
        counters: for every name that `ADDS_TO` has.
    """

    def __init__(self, settings: QuotaSettings, counters: Mapping[str, CountOf]) -> None:
        self._settings = settings
        self._counters = dict(counters)

    def check(self, tx: Transaction, operation: str, owner: Principal | None) -> None:
        """Refuse an order of one more than its owner may have; without an owner nobody is counted.

        Raises:
            QuotaExceededError: names the limit.
        """
        if owner is None or operation not in ADDS_TO:
            return
        PrincipalStore(tx).lock_principal(owner.id)
        for name in ADDS_TO[operation]:
            self._settings.check_one_more(name, self._counters[name](tx, owner.id))
