"""The scrub: reads every stored file again and reports which are corrupted, missing, or recorded nowhere.

The report lies in the store's own folder, beside what it is about, so that servers that share a store share it. A scrub
changes nothing; uploading a content again heals it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from server.artifacts.artifact import Artifact, ScrubReport, ScrubState, check_sha256
from server.artifacts.files import CHUNK_BYTES, FileByteStore, full_disk_told
from server.artifacts.store import ArtifactStore
from server.core.database.transaction import UnitOfWork
from server.core.errors import ConflictError, InvalidValueError, NotFoundError, ServiceError, StorageFullError

_log = structlog.get_logger("hilnas.artifacts")
MAX_LISTED = 1000
ORPHANED_AFTER_S = 3600.0  # younger files may belong to an upload whose record is not written yet
_PAGE = 500
_LOCK_TRIES = 5


_REPORTS = TypeAdapter(ScrubReport)


class ArtifactScrubs:
    """Starts scrubs, one at a time over all servers that share the store, and gives the last report.

    Args:
        every: how often `start_if_due` starts one; zero for never.
    """

    def __init__(self, uow: UnitOfWork, store: FileByteStore, every: timedelta = timedelta()) -> None:
        self._uow = uow
        self._store = store
        self._every = every
        self._report_file = store.root / "scrub.json"
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def report(self) -> ScrubReport:
        """The last report; a scrub that runs now shows its start, and one that was killed that it failed."""
        report = self._read()
        if report.state is not ScrubState.RUNNING or self._runs_somewhere():
            return report
        if (report := self._read()).state is ScrubState.RUNNING:  # else it ended between the two
            return ScrubReport(
                state=ScrubState.FAILED, started_at=report.started_at, error="the server ended before the scrub did"
            )
        return report

    def start(self) -> ScrubReport:
        """Begin a scrub in the background.

        Raises:
            ConflictError: one runs already.
            StorageFullError: its report cannot be written.
        """
        began = threading.Event()
        refused: list[ServiceError] = []

        def run() -> None:
            try:
                with self._only_one():
                    self._write(ScrubReport(state=ScrubState.RUNNING, started_at=datetime.now(UTC)))
                    began.set()
                    self._scrub()
            except Exception as error:  # the thread's edge
                if isinstance(error, ServiceError) and not began.is_set():
                    refused.append(error)
                else:
                    _log.warning("scrub failed", exc_info=error)
            finally:
                began.set()

        self._thread = threading.Thread(target=run, name="scrub", daemon=True)
        self._thread.start()
        began.wait()
        if refused:
            raise refused[0]
        return self.report()

    def start_if_due(self) -> None:
        """Begin one where the last is long enough ago; called by the housekeeping."""
        if not self._every or self._runs_somewhere():
            return
        report = self.report()
        # One of the future was begun before the clock was set back: it says nothing about now.
        if report.started_at is None or not timedelta(0) <= datetime.now(UTC) - report.started_at < self._every:
            try:
                self.start()
            except ConflictError:  # another server was faster
                return

    def stop(self) -> None:
        """End a running scrub at its next chunk; it reports that it failed."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _scrub(self) -> None:
        started_at = datetime.now(UTC)
        findings = _Findings()
        error = ""
        try:
            for artifact in self._recorded():
                self._check(artifact, findings)
            self._look_for_orphans(findings)
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"[:500]
        report = findings.report(started_at, error)
        self._write(report)
        if report.num_corrupted or report.num_missing or error:
            _log.error(
                "the artifact store is damaged: GET /api/v1/artifacts:scrub names the artifacts; upload them again",
                corrupted=report.num_corrupted,
                missing=report.num_missing,
                error=error,
            )

    def _recorded(self) -> Iterator[Artifact]:
        after = ""
        while page := self._uow.read(lambda tx, after=after: ArtifactStore(tx).artifacts_after(after, _PAGE)):  # type: ignore[misc]
            yield from page
            after = page[-1].sha256

    def _check(self, artifact: Artifact, findings: _Findings) -> None:
        findings.num_checked += 1
        digest = hashlib.sha256()
        try:
            with self._store.open_unverified(artifact.sha256) as source:
                while chunk := source.read(CHUNK_BYTES):
                    if self._stopped.is_set():
                        raise InterruptedError("the server was stopped")
                    digest.update(chunk)
                    findings.checked_bytes += len(chunk)
        except NotFoundError:
            findings.missing.append(artifact.sha256)
            return
        if digest.hexdigest() != artifact.sha256:
            findings.corrupted.append(artifact.sha256)

    def _look_for_orphans(self, findings: _Findings) -> None:
        for path in self._store.objects.glob("*/*"):
            name = path.parent.name + path.name
            try:
                young = time.time() - path.stat().st_mtime < ORPHANED_AFTER_S
                check_sha256(name)
            except FileNotFoundError:
                continue
            except InvalidValueError:
                findings.orphaned.append(f"{path.parent.name}/{path.name}"[:200])
                continue
            if not young and self._uow.read(lambda tx, name=name: ArtifactStore(tx).find_artifact(name)) is None:  # type: ignore[misc]
                findings.orphaned.append(name)

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        with full_disk_told():
            descriptor = os.open(self._store.root / "scrub.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            for attempt in range(_LOCK_TRIES):  # whoever only asks whether one runs holds it for an instant
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if attempt == _LOCK_TRIES - 1:
                        raise ConflictError("a scrub of the artifacts runs already: wait for its report") from error
                    time.sleep(0.02)
            yield
        finally:
            os.close(descriptor)

    def _runs_somewhere(self) -> bool:
        try:
            with self._only_one():
                return False
        except StorageFullError:  # nor could one write its report
            return False
        except ConflictError:
            return True

    def _read(self) -> ScrubReport:
        try:
            return _REPORTS.validate_json(self._report_file.read_bytes())
        except (FileNotFoundError, ValidationError):
            return ScrubReport()

    def _write(self, report: ScrubReport) -> None:
        partial: Path = self._report_file.with_suffix(".part")
        with full_disk_told():
            partial.write_bytes(_REPORTS.dump_json(report))
            partial.replace(self._report_file)


class _Findings:
    """What one scrub has found so far."""

    def __init__(self) -> None:
        self.num_checked = 0
        self.checked_bytes = 0
        self.corrupted: list[str] = []
        self.missing: list[str] = []
        self.orphaned: list[str] = []

    def report(self, started_at: datetime, error: str) -> ScrubReport:
        """The report of a scrub that ends now."""
        return ScrubReport(
            state=ScrubState.FAILED if error else ScrubState.DONE,
            started_at=started_at,
            finished_at=datetime.now(UTC),
            num_checked=self.num_checked,
            checked_bytes=self.checked_bytes,
            num_corrupted=len(self.corrupted),
            num_missing=len(self.missing),
            num_orphaned=len(self.orphaned),
            corrupted=tuple(self.corrupted[:MAX_LISTED]),
            missing=tuple(self.missing[:MAX_LISTED]),
            orphaned=tuple(self.orphaned[:MAX_LISTED]),
            error=error,
        )
