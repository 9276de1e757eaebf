"""Ends of trainings, and of the searches that wait for a supernet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

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
from server.training.networks.store import NetworkStore
from server.training.store import SupernetStore, TrainingStore
from server.training.training import TRAINING_TRANSITIONS, TrainingState


def end_supernet(tx: Transaction, supernet_id: str, state: TrainingState, reason: str) -> None:
    """End a supernet, its jobs, and the searches that wait for its first version."""
    _end(tx, SupernetStore(tx), supernet_id, state, reason)
    for waiting in SearchStore(tx).searches_waiting_for_supernet(supernet_id):
        if waiting.supernet_version_id is None:
            locked = SearchStore(tx).lock_search(waiting.id)
            end_search(tx, locked, SearchState.FAILED, f"supernet {supernet_id} ended as {state.value}: {reason}")


def end_network(tx: Transaction, network_id: str, state: TrainingState, reason: str) -> None:
    """End a network and its jobs."""
    _end(tx, NetworkStore(tx), network_id, state, reason)


def _end(tx: Transaction, store: TrainingStore[Any], id: str, state: TrainingState, reason: str) -> None:
    training = store.lock_training(id)
    check_transition(store.noun, id, TRAINING_TRANSITIONS, training.state, state)
    store.save_training(replace(training, state=state, reason=reason, finished_at=tx.now()))
    payload: Mapping[str, JsonValue] = {"state": state.value, "reason": reason}
    EventStore(tx).append_event(NewEvent(type=EventType.SUPERNET, payload=payload, **store.reference(id)))
    for job in JobStore(tx).active_jobs_of_training(**store.reference(id)):
        stop_job(tx, job.id)
