"""Counters of this process in the Prometheus text format."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE", "MetricSource", "Metrics"]
_BUCKETS_S = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
MetricSource = Callable[[], Metric]
"""Asked at every scrape, e.g. for the number of queued jobs."""


class Metrics:
    """Request counts and durations, and gauges read at scrape time. Thread-safe; each has a registry of its own."""

    def __init__(self, sources: tuple[MetricSource, ...] = ()) -> None:
        self._registry = CollectorRegistry()
        self._durations = Histogram(
            "hilnas_http_request_duration_seconds",
            "Time until the response was complete.",
            ("method", "route", "status"),
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._registry.register(_Sources(sources))

    def observe(self, method: str, route: str, status: int, duration_s: float) -> None:
        """Record the duration of one response under its method, route and status."""
        self._durations.labels(method, route, str(status)).observe(duration_s)

    def render(self) -> bytes:
        """Write every metric in the exposition format of Prometheus."""
        return generate_latest(self._registry)


class _Sources(Collector):
    def __init__(self, sources: tuple[MetricSource, ...]) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        return (source() for source in self._sources)
