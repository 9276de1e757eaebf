"""Quotas: how much one owner may have under way, send and ask, so that nobody's mistake stops the others' work."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from server.access.store import UploadStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import QuotaExceededError

DAY_S = 86_400
KEEP_UPLOADS = timedelta(days=7)
LEAST_UPLOAD_BYTES = 1 << 20
"""What an upload counts as at least: a million empty files would cost as many rows and inodes."""
_WHEN_WORK_ENDS_S = 60
_ONE_MORE: Mapping[str, tuple[str, int]] = {
    "queued_jobs": ("queued jobs", _WHEN_WORK_ENDS_S),
    "open_trainings": ("trainings of supernets and networks that are not over", _WHEN_WORK_ENDS_S),
    "open_studies": ("ranking studies that are not over", _WHEN_WORK_ENDS_S),
    "open_latency_tables": ("latency tables and reports that are not over", _WHEN_WORK_ENDS_S),
    "registrations_per_day": ("supernets, networks and search spaces made in a day", 3600),
    "open_sessions": ("sessions of this token", _WHEN_WORK_ENDS_S),
}
"""What is counted one by one: how people call it, and when there may be room again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaSettings:
    """The limits, each for one owner (of whatever number of tokens); 0 switches one off.

    Attributes:
        open_searches: searches that are not over.
        queued_jobs: jobs that wait when more are ordered.
        search_candidates: candidates of one search.
        open_candidates: candidates of all searches that are not over.
        open_trainings: supernets and networks whose training is not over.
        open_studies: ranking studies that are not over.
        open_latency_tables: latency tables and reports of them that are not over.
        registrations_per_day: supernets, networks and search spaces that came to be in the last 24 hours, when another
            one is registered.
        upload_bytes_per_day: bytes of artifacts sent in one day, UTC; one upload is `LEAST_UPLOAD_BYTES` at least.
        label_bytes: bytes of the labels of one thing, names and values.
        open_sessions: sessions of the web pages that one token has.
        event_streams: event streams that one token has open, counted by each server for itself.
        requests_per_minute: REST requests and pages, counted by each server for itself; as many may come at once.
    """

    open_searches: int = 100
    queued_jobs: int = 20_000
    search_candidates: int = 100_000
    open_candidates: int = 1_000_000
    open_trainings: int = 100
    open_studies: int = 100
    open_latency_tables: int = 100
    registrations_per_day: int = 2_000
    upload_bytes_per_day: int = 200 << 30
    label_bytes: int = 16 << 10
    open_sessions: int = 100
    event_streams: int = 16
    requests_per_minute: int = 12_000

    def check(self, name: str, what: str, wanted: int, *, retry_after_s: int | None = None) -> None:
        """Refuse what would go beyond a limit.

        Args:
            name: of the limit: a field of this class.
            what: what is counted, for people.
            wanted: how many there would be.
            retry_after_s: when it may be tried again; None where waiting changes nothing.

        Raises:
            QuotaExceededError: it would.
        """
        limit = int(getattr(self, name))
        if limit and wanted > limit:
            raise QuotaExceededError(what, f"HILNAS_QUOTA_{name.upper()}", limit, wanted, retry_after_s)

    def check_labels(self, labels: Mapping[str, str]) -> None:
        """Refuse labels that are too large. Raises QuotaExceededError."""
        num_bytes = sum(len(f"{name}{value}".encode()) for name, value in labels.items())
        self.check("label_bytes", "bytes of labels", num_bytes)

    def check_one_more(self, name: str, num_there: int) -> None:
        """Refuse one more of what is counted one by one. Raises QuotaExceededError."""
        what, retry_after_s = _ONE_MORE[name]
        self.check(name, what, num_there + 1, retry_after_s=retry_after_s)

    def check_search(self, num_candidates: int, open_candidates: int, num_open: int) -> None:
        """Refuse a search, or its larger budget.

        Args:
            num_candidates: its budget.
            open_candidates: those of the owner's other open searches.
            num_open: how many open searches there would be.

        Raises:
            QuotaExceededError: it is too large, or one too many.
        """
        self.check("search_candidates", "candidates in one search", num_candidates)
        self.check("open_searches", "open searches", num_open, retry_after_s=_WHEN_WORK_ENDS_S)
        total, wait_s = open_candidates + num_candidates, _WHEN_WORK_ENDS_S
        self.check("open_candidates", "candidates in all open searches", total, retry_after_s=wait_s)


class Quotas:
    """What was asked and sent lately, by quota key (see `Caller.quota_key`). Thread-safe; one per process."""

    def __init__(self, uow: UnitOfWork, settings: QuotaSettings | None = None) -> None:
        self.settings = settings or QuotaSettings()
        self._uow = uow
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}
        self._sent: Counter[tuple[str, str]] = Counter()

    def count_request(self, key: str) -> None:
        """Count one request. Raises QuotaExceededError."""
        limit = self.settings.requests_per_minute
        if not limit:
            return
        now_s = time.monotonic()
        with self._lock:
            left, at_s = self._buckets.get(key, (float(limit), now_s))
            left = min(float(limit), left + (now_s - at_s) * limit / 60)
            self._buckets[key] = (max(left - 1, 0.0), now_s)
        if left < 1:
            wait_s = max(1, round((1 - left) * 60 / limit))
            self.settings.check("requests_per_minute", "requests in a minute", limit + 1, retry_after_s=wait_s)

    def count_upload(self, key: str, num_bytes: int, announced: int = 0) -> None:
        """Count bytes that came in; refuse them, and those announced beside, beyond the day's limit.

        Raises:
            QuotaExceededError: with the seconds until the day ends.
        """
        self.note_upload(key, num_bytes)
        stored = self._uow.read(lambda tx: UploadStore(tx).uploaded_bytes(key, self._today))
        with self._lock:
            sent = self._sent[(key, self._today)]
        now = datetime.now(UTC)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(seconds=DAY_S)
        wait_s = max(1, int((midnight - now).total_seconds()))
        total = stored + sent + announced
        self.settings.check("upload_bytes_per_day", "bytes uploaded in a day", total, retry_after_s=wait_s)

    def note_upload(self, key: str, num_bytes: int) -> None:
        """Count bytes that came in, to be held against the quota by the next upload."""
        with self._lock:
            self._sent[(key, self._today)] += num_bytes

    @property
    def _today(self) -> str:
        return _day(datetime.now(UTC))

    def write_uses(self) -> None:
        """Write down what was uploaded lately."""
        with self._lock:
            taken = Counter(self._sent)
        if not taken:
            return

        def work(tx: Transaction) -> None:
            for (key, day), num_bytes in taken.items():
                UploadStore(tx).add_uploaded(key, day, num_bytes)

        self._uow.write(work)
        with self._lock:
            self._sent -= taken

    def prune(self) -> None:
        """Forget what limits nobody any more."""
        self._uow.write(lambda tx: UploadStore(tx).prune_uploads(_day(tx.now() - KEEP_UPLOADS)))
        with self._lock:
            full = time.monotonic() - 60
            self._buckets = {key: bucket for key, bucket in self._buckets.items() if bucket[1] > full}


def _day(now: datetime) -> str:
    return now.astimezone(UTC).date().isoformat()
