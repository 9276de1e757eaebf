"""Derivations of DenseNAS as the service sees them: what a DERIVE job starts from, keeps, and ends with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from nas_engine.domain.json_value import JsonValue
from server.candidates.payloads import DerivePayload
from server.candidates.search import Search
from server.candidates.search_store import SearchStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.jobs.job import LeaseRef
from server.jobs.payloads import read_payload
from server.jobs.queue import JobStore
from server.searches.steps.long_jobs import LongJobs, LongJobVerdict

DERIVING = "deriving"
"""Topic of a search's report while a derivation is under way: which, how far, and where its checkpoint is."""


@dataclass(frozen=True, slots=True)
class DeriveInput:
    """What a DERIVE job starts from.

    Attributes:
        number: of the cost factor, from 0.
        checkpoint_sha256: artifact that an interrupted derivation of this factor goes on from; None for a new one.
    """

    search: Search
    number: int
    checkpoint_sha256: str | None


class Derivations:
    """Use cases of the worker that derives networks."""

    def __init__(self, uow: UnitOfWork, work: LongJobs) -> None:
        self._uow = uow
        self._work = work

    def load(self, lease: LeaseRef) -> DeriveInput:
        """What a leased DERIVE job starts from. Raises LeaseLostError."""
        search = self._work.load(lease)
        payload = self._uow.read(lambda tx: read_payload(DerivePayload, JobStore(tx).get_job(lease.job_id).payload))
        match search.progress.report.get(DERIVING):
            case {"number": payload.number, "checkpoint_sha256": str(sha256)}:
                return DeriveInput(search, payload.number, sha256)
            case _:
                return DeriveInput(search, payload.number, None)

    def report(self, lease: LeaseRef, progress: Mapping[str, JsonValue]) -> None:
        """Tell those who watch the search how far the derivation is. Raises LeaseLostError: stop working."""
        self._work.report(lease, progress)

    def keep(self, lease: LeaseRef, sha256: str, progress: Mapping[str, JsonValue]) -> None:
        """Remember the artifact that any worker can go on from. Raises LeaseLostError."""

        def work(tx: Transaction) -> None:
            payload = read_payload(DerivePayload, JobStore(tx).get_job(lease.job_id).payload)
            search = SearchStore(tx).lock_search(payload.search_id)
            JobStore(tx).lock_job_of_lease(lease)
            kept: dict[str, JsonValue] = {"number": payload.number, "checkpoint_sha256": sha256, **progress}
            SearchStore(tx).save_search(_saying(search, {**search.progress.report, DERIVING: kept}))

        self._uow.write(work)

    def finish(self, lease: LeaseRef, result: JsonValue) -> LongJobVerdict:
        """End the job with what was derived, which the next step takes in. Raises LeaseLostError."""

        def forget_checkpoint(tx: Transaction, search: Search) -> Search:
            report = {topic: said for topic, said in search.progress.report.items() if topic != DERIVING}
            return SearchStore(tx).save_search(_saying(search, report))

        return self._work.finish(lease, result, forget_checkpoint)


def _saying(search: Search, report: Mapping[str, JsonValue]) -> Search:
    return replace(search, progress=replace(search.progress, report=report))
