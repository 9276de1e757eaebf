"""Faults on demand at the agents' endpoint, and notes of what came in; the use cases behind it stay the real ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from server.core.errors import UnavailableError
from server.fleet.rpc import AgentServices


@dataclass(slots=True)
class Faults:
    """What goes wrong at the next calls, and what the calls were.

    Attributes:
        reports: every state that an agent sent, oldest first.
        phases: the phases of each job as they were renewed.
        fetches: digest and offset of each fetch.
        credentials: of each enrolment.
        break_after_bytes: each of the next streams ends with an error after so many bytes.
        corrupt_fetches: so many of the next streams begin with a wrong byte.
        chunk_delay_s: pause before each chunk.
        refuse_results: so many of the next results are not taken.
        hide_receipts, hide_enrolments: so many of the next ones are taken, and the answer is lost.
    """

    reports: list[Any] = field(default_factory=list)
    phases: dict[str, list[Any]] = field(default_factory=dict)
    fetches: list[tuple[str, int]] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)
    break_after_bytes: list[int] = field(default_factory=list)
    corrupt_fetches: int = 0
    chunk_delay_s: float = 0.0
    refuse_results: int = 0
    hide_receipts: int = 0
    hide_enrolments: int = 0

    def around(self, services: AgentServices) -> AgentServices:
        """The same use cases, with these faults and notes at their doors."""
        for work in services.work.values():
            work.results = _Door(work.results, put=self._results)  # type: ignore[attr-defined]
        return replace(
            services,
            devices=_Door(services.devices, enrol=self._enrolments),
            sessions=_Door(services.sessions, sync=self._syncs, renew=self._renewals),
            artifacts=_Door(services.artifacts, stream=self._streams),
        )

    def _results(self, put: Callable[..., Any], *given: Any) -> Any:
        if self.refuse_results:
            self.refuse_results -= 1
            raise UnavailableError("the database is away, as the test says")
        receipt = put(*given)
        if self.hide_receipts:
            self.hide_receipts -= 1
            raise UnavailableError("the answer is lost, as the test says")
        return receipt

    def _enrolments(self, enrol: Callable[..., Any], *given: Any) -> Any:
        device, credential = enrol(*given)
        self.credentials.append(credential)
        if self.hide_enrolments:
            self.hide_enrolments -= 1
            raise UnavailableError("the answer is lost, as the test says")
        return device, credential

    def _syncs(self, sync: Callable[..., Any], report: Any, *given: Any) -> Any:
        self.reports.append(report)
        return sync(report, *given)

    def _renewals(self, renew: Callable[..., Any], device_id: str, running: Any) -> Any:
        for one in running:
            phases = self.phases.setdefault(one.lease.job_id, [])
            if one.phase is not None and one.phase not in phases[-1:]:
                phases.append(one.phase)
        return renew(device_id, running)

    def _streams(self, stream: Callable[..., Any], artifact: Any, offset: int = 0) -> Iterator[bytes]:
        self.fetches.append((artifact.sha256, offset))
        limit_bytes = self.break_after_bytes.pop(0) if self.break_after_bytes else None
        wrong, sent = self.corrupt_fetches > 0, 0
        self.corrupt_fetches -= wrong
        for chunk in stream(artifact, offset):
            if limit_bytes is not None and sent >= limit_bytes:
                raise UnavailableError("the stream breaks, as the test says")
            time.sleep(self.chunk_delay_s)
            yield bytes([chunk[0] ^ 0xFF]) + chunk[1:] if wrong and not sent else chunk
            sent += len(chunk)


class _Door:
    """A use case whose named methods go through a function; all else is its own."""

    def __init__(self, inner: Any, **ways: Callable[..., Any]) -> None:
        self._inner, self._ways = inner, ways

    def __getattr__(self, name: str) -> Any:
        own = getattr(self._inner, name)
        if name not in self._ways:
            return own
        way = self._ways[name]
        return lambda *given: way(own, *given)
