"""Ports for ranking studies: their store, and the mathematics of their result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from server.service.paging import Page, PageRequest
from server.service.values.ranking import RankingResult, RankingStudy, StudyEntry, StudyQuery


class StudyStore(Protocol):
    """Ranking studies and their entries."""

    def add(self, study: RankingStudy, entries: Sequence[StudyEntry]) -> None:
        """Store a new one with all of its entries and their architectures."""

    def get(self, study_id: str) -> RankingStudy:
        """Read one."""

    def lock(self, study_id: str) -> RankingStudy:
        """Read one and hold it, and with it its entries, until the transaction ends."""

    def save(self, study: RankingStudy) -> RankingStudy:
        """Write a locked one with its version one higher."""

    def page(self, query: StudyQuery, page: PageRequest) -> Page[RankingStudy]:
        """List, newest first."""

    def count(self, query: StudyQuery) -> int:
        """How many `page` would list in all."""

    def entry(self, study_id: str, number: int) -> StudyEntry:
        """Read one entry."""

    def entries(self, study_id: str) -> tuple[StudyEntry, ...]:
        """Every entry, by number."""

    def save_entry(self, entry: StudyEntry) -> None:
        """Write an entry of a locked study."""


class Ranker(Protocol):
    """Compares two orders."""

    def __call__(self, shared: Sequence[float], alone: Sequence[float], num_local: int) -> RankingResult:
        """Global correlation, and the correlation inside the `num_local` best by `alone`."""
