"""The pictures of a front, of a hypervolume that grows, and of a learning curve."""

from __future__ import annotations

from hilnas.client.views.chart import Axis, chart, curve, dot, whisker
from hilnas.client.views.metric_titles import column_title, metric_title
from nas_engine.domain.metric import Goal
from nas_engine.domain.metrics import is_measured
from nas_engine.domain.uncertainty import Interval, quantity_text, shown_in
from server.searches.fronts.schemas import FrontObjectiveResource, FrontPointResource, FrontResource
from server.searches.history.schemas import HypervolumeResource
from server.training.curves.schemas import CurveResource

# Legible on white and on black: contrast of 3:1 and more against both.
FRONT_COLOUR, DOMINATED_COLOUR, SECOND_COLOUR = "#2f80ed", "#8a8a8a", "#d9730d"


def front_picture(front: FrontResource) -> str:
    """The front with its 95 % intervals over the other candidates; empty where there are no two axes, or no point.

    Of more than two objectives two are drawn: the one that is minimized first (a measured one where there is one)
    across, the first of the others up.
    """
    if len(front.objectives) < 2 or not front.points:
        return ""
    across, up = _axes(front.objectives)
    objectives = front.objectives[across], front.objectives[up]
    shown = [[_interval(point, place, front) for place in (across, up)] for point in front.points]
    others = [[_interval(point, place, front) for place in (across, up)] for point in front.dominated]
    both = [*shown, *others]
    xs = [end for x, _ in both for end in _ends(x)]
    ys = [end for _, y in both for end in _ends(y)]
    x, y = Axis.across(_title(objectives[0]), xs), Axis.up(_title(objectives[1]), ys)
    marks = [dot(x, y, (a.value, b.value), DOMINATED_COLOUR, 2.5, "") for a, b in others]
    # Along the front the better value across never comes with the better one up: steps, in the order across.
    line = sorted((a.value, b.value) for a, b in shown)
    if len(front.objectives) == 2 and objectives[0].goal == Goal.MINIMIZE.value:
        marks.append(curve(x, y, line, FRONT_COLOUR, stepped=True))
    for point, (a, b) in zip(front.points, shown, strict=True):
        if a.low is not None and a.high is not None:
            marks.append(whisker(x.px(a.low), y.px(b.value), x.px(a.high), y.px(b.value), FRONT_COLOUR))
        if b.low is not None and b.high is not None:
            marks.append(whisker(x.px(a.value), y.px(b.low), x.px(a.value), y.px(b.high), FRONT_COLOUR))
        marks.append(dot(x, y, (a.value, b.value), FRONT_COLOUR, 4.0, _tip(point, front.objectives)))
    kind = "" if front.latency_kind is None else f", {front.latency_kind} latency"
    return chart(f"Pareto front of {front.search_id}{kind}", x, y, marks)


def hypervolume_picture(history: HypervolumeResource) -> str:
    """The hypervolume by evaluation; empty before the first."""
    if not history.points:
        return ""
    points = [(float(point.num_evaluated), point.hypervolume) for point in history.points]
    x = Axis.across("evaluations", [0.0, *(number for number, _ in points)])
    y = Axis.up("hypervolume", [0.0, *(value for _, value in points)])
    return chart(f"Hypervolume of {history.search_id}", x, y, [curve(x, y, points, FRONT_COLOUR, stepped=True)])


def learning_picture(found: CurveResource) -> str:
    """Loss and accuracy by step, one above the other; empty before the first report."""
    losses = [(float(point.step), point.loss) for point in found.points if point.loss is not None]
    top1s = [(float(point.step), 100.0 * point.top1) for point in found.points if point.top1 is not None]
    drawn = (("training loss", losses, FRONT_COLOUR), ("training top1 [%]", top1s, SECOND_COLOUR))
    pictures: list[str] = []
    for title, points, colour in drawn:
        if points:
            x = Axis.across("step", [step for step, _ in points])
            y = Axis.up(title, [value for _, value in points])
            pictures.append(chart(f"{title} of {found.trained_id}", x, y, [curve(x, y, points, colour)]))
    return "".join(pictures)


def _axes(objectives: list[FrontObjectiveResource]) -> tuple[int, int]:
    """Places of the objectives that are drawn across and up."""
    cheap = [place for place, one in enumerate(objectives) if one.goal == Goal.MINIMIZE.value]
    measured = [place for place in cheap if is_measured(objectives[place].metric)]
    across = (measured or cheap or [0])[0]
    return across, next(place for place in range(len(objectives)) if place != across)


def _interval(point: FrontPointResource, place: int, front: FrontResource) -> Interval:
    return shown_in(point.intervals(front.objectives)[place], front.objectives[place].unit)


def _ends(interval: Interval) -> list[float]:
    return [one for one in (interval.value, interval.low, interval.high) if one is not None]


def _title(objective: FrontObjectiveResource) -> str:
    return column_title(objective.metric, objective.unit, objective.column)


def _tip(point: FrontPointResource, objectives: list[FrontObjectiveResource]) -> str:
    texts = [
        f"{metric_title(one.metric, one.column)}: {quantity_text(interval, one.unit)}"
        for one, interval in zip(objectives, point.intervals(objectives), strict=True)
    ]
    return "\n".join((f"candidate {point.candidate.short_id or point.candidate.id}", *texts))
