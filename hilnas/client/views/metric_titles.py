"""Short names of metrics, for columns and axes: what their declarations say."""

from __future__ import annotations

from nas_engine.domain.metrics import declared_metric


def metric_title(name: str, column: str = "") -> str:
    """A metric as tables and pictures call it, without its unit.

    Args:
        name: of the metric.
        column: what the server said of it; servers of the first release say nothing.
    """
    if column:
        return column
    declared = declared_metric(name)
    return name if declared is None else declared.column
