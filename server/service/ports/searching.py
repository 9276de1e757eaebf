"""Ports for searches, candidates, evaluations and checkpoints. Values in, values out; never rows.

Every method works inside the transaction the store belongs to. `get` and `lock` raise NotFoundError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from nas_engine.domain.objective import Metric
from server.service.paging import Page, PageRequest
from server.service.states import CandidateState, SearchState
from server.service.values.candidate import (
    ArchitectureRecord,
    AwaitedEvaluation,
    Candidate,
    CandidateQuery,
    Evaluation,
)
from server.service.values.search import Checkpoint, Search, SearchQuery


class SearchStore(Protocol):
    """Searches."""

    def add(self, search: Search) -> None:
        """Store a new search."""

    def get(self, search_id: str) -> Search:
        """Read one."""

    def lock(self, search_id: str) -> Search:
        """Read one and hold it until the transaction ends. Lock searches before jobs, several in id order."""

    def save(self, search: Search) -> Search:
        """Write a locked search with its version one higher; returns it as written."""

    def page(self, query: SearchQuery, page: PageRequest) -> Page[Search]:
        """List; ordered by id."""

    def count(self, query: SearchQuery) -> int:
        """How many `page` would list in all."""

    def in_states(self, states: Sequence[SearchState]) -> tuple[Search, ...]:
        """All searches in these states, by id."""

    def waiting_for(self, supernet_id: str) -> tuple[Search, ...]:
        """Searches that are not final and evaluate with this supernet, by id."""


class ArchitectureStore(Protocol):
    """Architectures of all searches, once each."""

    def put(self, records: Sequence[ArchitectureRecord]) -> None:
        """Store those that are not there yet."""

    def get(self, arch_id: str) -> ArchitectureRecord:
        """Read one."""


class CandidateStore(Protocol):
    """Candidates."""

    def add_many(self, candidates: Sequence[Candidate]) -> None:
        """Store new candidates with their architectures.

        Raises:
            ConflictError: one is in this search already (same arch_id or seq).
        """

    def get(self, candidate_id: str) -> Candidate:
        """Read one."""

    def get_many(self, candidate_ids: Sequence[str]) -> tuple[Candidate, ...]:
        """Read those that exist, by (search, seq)."""

    def save(self, candidate: Candidate) -> None:
        """Write state, reason, values and artifact of a candidate of a locked search."""

    def mark_evaluating(self, candidate_id: str) -> None:
        """ASKED becomes EVALUATING; any other state stays."""

    def page(self, query: CandidateQuery, page: PageRequest) -> Page[Candidate]:
        """List; those without the sort value come last."""

    def count(self, query: CandidateQuery) -> int:
        """How many `page` would list in all."""

    def count_states(self, search_id: str) -> Mapping[CandidateState, int]:
        """Candidates of a search per state; states without any are absent."""

    def untold(self, search_id: str) -> tuple[Candidate, ...]:
        """Candidates in a final state that were not told yet, by seq."""

    def told(self, search_id: str) -> tuple[Candidate, ...]:
        """Candidates that were told, by seq."""

    def complete(self, search_id: str) -> tuple[Candidate, ...]:
        """COMPLETE candidates, by seq: what a front is made of."""

    def mark_told(self, search_id: str, candidate_ids: Sequence[str], told_seq: int) -> int:
        """Mark those that are not told yet; returns how many were."""

    def unfinished(self, search_id: str) -> tuple[Candidate, ...]:
        """Candidates that are in no final state, by seq."""


class EvaluationStore(Protocol):
    """Evaluations, and those that are awaited."""

    def add(self, evaluation: Evaluation) -> bool:
        """Store one; False where this candidate, metric and attempt has one already (a repeated result)."""

    def of_candidates(self, candidate_ids: Sequence[str]) -> tuple[Evaluation, ...]:
        """Every evaluation of these candidates, by (candidate, metric, attempt)."""

    def resting_on(self, measurement_ids: Sequence[str]) -> tuple[Evaluation, ...]:
        """Evaluations whose value comes from one of these measurements."""

    def since(self, search_id: str, told_seq: int) -> tuple[Evaluation, ...]:
        """Evaluations of already told candidates recorded after step `told_seq`: what `revise` is given."""

    def await_many(self, awaited: Sequence[AwaitedEvaluation]) -> None:
        """Note what jobs will bring."""

    def awaited_of(self, candidate_id: str) -> tuple[AwaitedEvaluation, ...]:
        """What one candidate still waits for."""

    def awaited_under(self, latency_key: str, hardware_key: str) -> tuple[AwaitedEvaluation, ...]:
        """Every candidate, of any search, that waits for this measurement; by candidate id."""

    def num_awaited(self, search_id: str) -> int:
        """How many evaluations a search waits for; 0 opens the barrier."""

    def settle(self, candidate_id: str, metric: Metric) -> bool:
        """Take one off the list; False where it was not awaited."""

    def settle_candidate(self, candidate_id: str) -> None:
        """Take everything one candidate waits for off the list."""

    def settle_search(self, search_id: str) -> None:
        """Take everything a search waits for off the list."""


class CheckpointStore(Protocol):
    """Checkpoints of searches."""

    def add(self, checkpoint: Checkpoint) -> None:
        """Store one.

        Raises:
            ConflictError: the search has one with this seq.
        """

    def latest(self, search_id: str) -> Checkpoint | None:
        """The newest, None before the first."""

    def page(self, search_id: str, page: PageRequest) -> Page[Checkpoint]:
        """List, newest first."""

    def prune(self, search_id: str, keep: int) -> int:
        """Delete all but the newest `keep`; returns how many."""
