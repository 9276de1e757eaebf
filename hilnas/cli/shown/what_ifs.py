"""Fronts on other boards in a terminal: what was measured, what is estimated, and what would settle it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hilnas.cli.shown.fronts import cell, column_title
from nas_engine.domain.metrics import LATENCY_US
from nas_engine.domain.uncertainty import Interval, value_text
from server.searches.fronts.schemas import FrontObjectiveResource
from server.searches.what_if.schemas import CarriedNetworkResource, WhatIfDetail


def what_if_view(found: WhatIfDetail) -> RenderableType:
    """How far it is; once it is fitted, the estimated front, how far to believe it, and what to measure next."""
    title = f"Front of {found.search_id} on {found.device_type}: {found.state.value} ({found.id})"
    parts: list[RenderableType] = [Text(title, style="bold")]
    parts += [Text(said) for said in (found.reason, found.waiting_for) if said]
    parts.append(Text(f"{found.num_measured} of {found.num_chosen} chosen candidates are measured there."))
    if found.quality is None:
        return Group(*parts)
    quality = found.quality
    parts.append(
        Text(
            f"Estimates stand on {found.num_fitted} measurements; {found.validation}: "
            f"{value_text(quality.coverage, 'fraction')} of the {quality.num_left_out} lay within their "
            f"{value_text(quality.nominal, 'fraction')} intervals, off by "
            f"{value_text(quality.mean_relative_error, 'fraction')} on average."
        )
    )
    parts.append(_networks(found.front, found.objectives))
    parts.append(Text("± is half a 95 % interval; 'estimated' was not measured on this board."))
    if found.measure_next:
        parts.append(Text(f"Measure these {len(found.measure_next)} to be sure:", style="bold"))
        parts.append(_networks(found.measure_next, found.objectives))
        parts.append(
            Text(f"Have them measured:\n  hilnas search what-if {found.search_id} --id {found.id} --measure-next")
        )
    return Group(*parts)


def _networks(
    networks: Sequence[CarriedNetworkResource], objectives: Sequence[FrontObjectiveResource]
) -> RenderableType:
    table = Table("candidate", "latency is")
    for objective in objectives:
        table.add_column(column_title(objective.metric, objective.unit, objective.column), justify="right")
    table.add_column("on the front", justify="right")
    for one in networks:
        values = [
            cell(
                Interval(value, one.low_us, one.high_us) if objective.metric == LATENCY_US.name else Interval(value),
                objective.unit,
            )
            for value, objective in zip(one.values, objectives, strict=True)
        ]
        table.add_row(one.short_id, one.kind.value, *values, value_text(one.front_share, "fraction"))
    return table
