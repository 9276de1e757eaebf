"""Short names of metrics, for columns and axes: what their declarations say."""

from __future__ import annotations

from nas_engine.domain.metrics import declared_metric
from nas_engine.domain.uncertainty import unit_text


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


def column_title(name: str, unit: str, column: str = "") -> str:
    """A metric above its column or at its axis, with the unit that its values are shown in.

    Args:
        name: of the metric.
        unit: of its values.
        column: what the server calls it there; without, its declaration says it.
    """
    shown, title = unit_text(unit), metric_title(name, column)
    return f"{title} [{shown}]" if shown else title
