"""Short names of metrics, for columns and axes; any other metric is called by its own name."""

from __future__ import annotations

_TITLES = {"latency_us": "latency p50", "top1": "validation top1", "test_top1": "test top1", "macs": "MACs"}


def metric_title(name: str) -> str:
    """A metric as tables and pictures call it, without its unit."""
    return _TITLES.get(name, name)
