"""Counters of this process in the Prometheus text format (version 0.0.4)."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS_S = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
_Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Sample:
    """One number at the time of a scrape."""

    name: str
    help: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


GaugeSource = Callable[[], Iterable[Sample]]
"""Asked at every scrape, e.g. for the number of queued jobs."""


class Metrics:
    """Request counts and durations, and gauges read at scrape time. Thread-safe."""

    def __init__(self, sources: tuple[GaugeSource, ...] = ()) -> None:
        self._lock = threading.Lock()
        self._durations: dict[_Key, _Histogram] = defaultdict(_Histogram)
        self._sources = sources

    def observe(self, method: str, route: str, status: int, duration_s: float) -> None:
        """Count one response."""
        with self._lock:
            self._durations[method, route, status].observe(duration_s)

    def render(self) -> str:
        """The whole exposition."""
        with self._lock:
            durations = [(key, histogram.copy()) for key, histogram in sorted(self._durations.items())]
        lines = [
            "# HELP hilnas_http_request_duration_seconds Time until the response was complete.",
            "# TYPE hilnas_http_request_duration_seconds histogram",
        ]
        for key, histogram in durations:
            lines += histogram.lines("hilnas_http_request_duration_seconds", key)
        return "\n".join([*lines, *self._gauge_lines()]) + "\n"

    def _gauge_lines(self) -> Iterator[str]:
        seen: set[str] = set()
        for sample in (sample for source in self._sources for sample in source()):
            if sample.name not in seen:
                seen.add(sample.name)
                yield f"# HELP {sample.name} {sample.help}"
                yield f"# TYPE {sample.name} gauge"
            yield f"{sample.name}{_label_text(sample.labels)} {sample.value:g}"


class _Histogram:
    def __init__(self) -> None:
        self._counts = [0] * (len(_BUCKETS_S) + 1)
        self._sum_s = 0.0

    def observe(self, duration_s: float) -> None:
        bucket = next((i for i, bound in enumerate(_BUCKETS_S) if duration_s <= bound), len(_BUCKETS_S))
        self._counts[bucket] += 1
        self._sum_s += duration_s

    def copy(self) -> _Histogram:
        twin = _Histogram()
        twin._counts, twin._sum_s = list(self._counts), self._sum_s
        return twin

    def lines(self, name: str, key: _Key) -> Iterator[str]:
        labels = (("method", key[0]), ("route", key[1]), ("status", str(key[2])))
        total = 0
        for bound, count in zip((*map(str, _BUCKETS_S), "+Inf"), self._counts, strict=True):
            total += count
            yield f"{name}_bucket{_label_text((*labels, ('le', bound)))} {total}"
        yield f"{name}_sum{_label_text(labels)} {self._sum_s:.6f}"
        yield f"{name}_count{_label_text(labels)} {total}"


def _label_text(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    escaped = ((name, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for name, value in labels)
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"
