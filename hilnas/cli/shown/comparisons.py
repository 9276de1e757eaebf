"""Several searches side by side in a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hilnas.cli.shown.fronts import cell, column_title
from hilnas.client.views.metric_titles import metric_title
from nas_engine.domain.uncertainty import Interval, value_text
from server.searches.comparing.schemas import ComparisonResource


def comparison_view(found: ComparisonResource) -> RenderableType:
    """What each search reached against the one reference point, and the front of all of them together."""
    searches = Table("search", "name", "state", "evaluated", "front", "on the joint front", "hypervolume", "of all")
    for one in found.searches:
        searches.add_row(
            one.short_id,
            one.name,
            one.state.value,
            str(one.num_complete),
            str(one.front_size),
            str(one.num_on_joint_front),
            value_text(one.hypervolume),
            value_text(one.share, "fraction"),
        )
    if found.reference_point is None:
        return Group(searches, Text("No search has a front yet."))
    points = Table("search", "candidate")
    for objective in found.objectives:
        points.add_column(column_title(objective.metric, objective.unit, objective.column), justify="right")
    first = found.objectives[0]
    joint = [(one, point) for one in found.searches for point in one.points if point.on_joint_front]
    joint.sort(key=lambda row: row[1].values[0], reverse=first.goal == "maximize")
    for one, point in joint:
        known = [Interval(interval.value, interval.low, interval.high) for interval in point.intervals] or [
            Interval.of_error(*one) for one in zip(point.values, point.uncertainties, strict=True)
        ]
        values = [cell(one, objective.unit) for one, objective in zip(known, found.objectives, strict=True)]
        points.add_row(one.name or one.short_id, point.short_id, *values)
    reference = ", ".join(
        f"{metric_title(objective.metric, objective.column)} {value_text(value, objective.unit)}"
        for value, objective in zip(found.reference_point, found.objectives, strict=True)
    )
    together = value_text(found.hypervolume)
    return Group(
        Text(f"Hypervolumes against one reference point ({reference}); all fronts together: {together}"),
        searches,
        Text("Front of all together:", style="bold"),
        points,
        Text("± is half a 95 % interval."),
    )
