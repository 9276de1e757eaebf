"""Ends of supernets, and of the searches that wait for them."""

from __future__ import annotations

from dataclasses import replace

from nas_engine.domain.json_value import JsonValue
from server.candidates.lifecycle import (
    end_search,
)
from server.candidates.search_store import SearchStore
from server.candidates.states import SearchState
from server.core.database.transaction import Transaction
from server.core.event_type import EventType
from server.core.events import EventStore, NewEvent
from server.core.transitions import check_transition
from server.jobs.completion import stop_job
from server.jobs.queue import JobStore
from server.training.store import SupernetStore
from server.training.supernet import SUPERNET_TRANSITIONS, SupernetState


def end_supernet(tx: Transaction, supernet_id: str, state: SupernetState, reason: str) -> None:
    """End a supernet, its jobs, and the searches that wait for its first version."""
    supernet = SupernetStore(tx).lock_supernet(supernet_id)
    check_transition("supernet", supernet.id, SUPERNET_TRANSITIONS, supernet.state, state)
    SupernetStore(tx).save_supernet(replace(supernet, state=state, reason=reason, finished_at=tx.now()))
    payload: dict[str, JsonValue] = {"state": state.value, "reason": reason}
    EventStore(tx).append_event(NewEvent(type=EventType.SUPERNET, payload=payload, supernet_id=supernet_id))
    for job in JobStore(tx).active_jobs_of_supernet(supernet_id):
        stop_job(tx, job.id)
    for waiting in SearchStore(tx).searches_waiting_for_supernet(supernet_id):
        if waiting.supernet_version_id is None:
            locked = SearchStore(tx).lock_search(waiting.id)
            end_search(tx, locked, SearchState.FAILED, f"supernet {supernet_id} ended as {state.value}: {reason}")
