"""Fronts and answers in a terminal: every value with its 95 % interval."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hilnas.client.views import metric_titles
from nas_engine.domain.dominance import Dominance
from nas_engine.domain.metrics import DEVICE_TOP1, ON_BOARD, declarations, declared_metric
from nas_engine.domain.uncertainty import Interval, number_text, shown_in
from server.searches.answers.schemas import AnswerMemberResource, AnswerResource
from server.searches.candidate_schemas import CandidateResource, MetricValueResource
from server.searches.fronts.schemas import FrontBoardResource, FrontResource

_DEVICES = {"board": "a board", "emulated": "an emulated device", "simulated": "a simulated device"}
_LOSS = "loss on the device"


def front_table(front: FrontResource) -> RenderableType:
    """The front with every value's interval, accuracy on test images too, and what its latencies are."""
    latencies = boards_text(front.boards) or latencies_text(front.latency_kind, front.device_class)
    title = f"Pareto front of {front.search_id}{latencies}"
    if front.dominance is Dominance.CONFIDENT:
        title += ", nothing dominated beyond its 95 % confidence interval"
    # What is an objective has its column already; accuracy on the device has two of its own.
    told = {DEVICE_TOP1.name, *(objective.metric for objective in front.objectives)}
    others = [one for one in listed_values(point.candidate for point in front.points) if one.name not in told]
    table = Table("candidate", "architecture")
    for objective in front.objectives:
        table.add_column(column_title(objective.metric, objective.unit, objective.column), justify="right")
    for one in others:
        table.add_column(column_title(one.name, one.unit, one.column), justify="right")
    on_device = any(point.candidate.device_accuracy is not None for point in front.points)
    if on_device:
        table.add_column(column_title(DEVICE_TOP1.name, DEVICE_TOP1.unit), justify="right")
        table.add_column(escape(f"{_LOSS} [%]"), justify="right")
    table.add_column("flags")
    for point in front.points:
        candidate = point.candidate
        known = {one.name: one for one in candidate.values}
        intervals = zip(point.intervals(front.objectives), front.objectives, strict=True)
        values = [cell(interval, objective.unit) for interval, objective in intervals]
        accuracies = _on_device(candidate) if on_device else ()
        names = (candidate.short_id, candidate.arch_id[:12])
        table.add_row(
            *names, *values, *(value_cell(known.get(one.name)) for one in others), *accuracies, candidate.flags_text
        )
    if not front.points:
        return Group(Text(title, style="bold"), Text(_empty(front)))
    parts: list[RenderableType] = [Text(title, style="bold"), table, Text("± is half a 95 % interval.")]
    if (said := _all_alike(front)) is not None:
        parts.insert(1, Text(said))
    parts.append(Text(f"Which of them to ship, and how sure that is:\n  hilnas search answer {front.search_id}"))
    # Not the table's own title: that would be broken into lines as narrow as the table.
    return Group(*parts)


def answer_view(answer: AnswerResource) -> RenderableType:
    """What to ship, what else must be known, the front, and the commands that come next."""
    shown = list(answer.members)
    chosen = answer.ship or answer.nearest
    if chosen is not None and all(one.candidate_id != chosen.candidate_id for one in shown):
        shown.insert(0, chosen)
    metrics = {one.metric: one for member in shown for one in member.values}
    in_order = sorted(metrics, key=_place)
    verdicts = {one.short_id: one for one in answer.compared}
    table = Table("", "candidate", "architecture")
    for name in in_order:
        table.add_column(column_title(name, metrics[name].unit, metrics[name].column), justify="right")
    column = metrics[answer.judged].column if answer.judged in metrics else ""
    judged = metric_titles.metric_title(answer.judged, column)
    table.add_column(escape(f"{judged}, what is shipped less it"), justify="right")
    for member in shown:
        differences = verdicts[member.short_id].differences if member.short_id in verdicts else []
        less = next((one for one in differences if one.metric == answer.judged), None)
        difference = "" if less is None else f"{less.interval.text} ({less.verdict.value})"
        table.add_row(
            _mark(answer, member), member.short_id, member.arch_id[:12], *_cells(member, in_order), difference
        )
    parts: list[RenderableType] = [Text(answer.headline, style="bold"), *map(Text, answer.sentences)]
    if shown:
        latencies = boards_text(answer.boards) or latencies_text(answer.latency_kind, answer.device_class)
        parts += [table, Text("± is half a 95 % interval." + latencies)]
    parts += [Text(f"{step.title}:\n  {step.command}") for step in answer.next_steps]
    return Group(*parts)


def latencies_text(kind: str | None, device_class: str | None) -> str:
    """What latencies are and come from, in brackets; empty without any."""
    if kind is None:
        return ""
    if kind == "table":
        return " (latency from a table of results)"
    return f" ({kind} latency on {_DEVICES.get(device_class or '', 'devices of several classes')})"


def boards_text(boards: Sequence[FrontBoardResource]) -> str:
    """What the latencies on each of several boards are, in brackets; empty where there is one device alone."""
    said = (f"{one.latency_kind} on {_DEVICES[one.device_class.value]}: {one.metric}" for one in boards)
    return f" ({', '.join(said)})" if boards else ""


def listed_values(candidates: Iterable[CandidateResource]) -> list[MetricValueResource]:
    """One value of each metric that tables of some candidates show, in the order of their columns."""
    known = {one.name: one for candidate in candidates for one in candidate.values}
    declared = {name: declared_metric(name) for name in known}
    listed = (name for name, one in declared.items() if one is None or one.listed)
    return [known[name] for name in sorted(listed, key=_place)]


def _place(metric: str) -> tuple[int, str]:
    """Place of a metric among the columns: as they are declared, those that are not installed here last; latencies on
    several boards stand together.
    """
    names, base = [one.name for one in declarations()], metric.partition(ON_BOARD)[0]
    return (names.index(base), metric.partition(ON_BOARD)[2]) if base in names else (len(names), "")


def column_title(metric: str, unit: str, column: str = "") -> str:
    """A metric above its column, with the unit that its values are shown in; brackets are no markup.

    Args:
        metric: its name.
        unit: of its values.
        column: what the server calls it there; without, its declaration says it.
    """
    return escape(metric_titles.column_title(metric, unit, column))


def cell(interval: Interval, unit: str) -> str:
    """A value with its interval, in the unit of its column."""
    return number_text(shown_in(interval, unit))


def value_cell(known: MetricValueResource | None) -> str:
    """A candidate's value with its interval, in the unit of its column; a dash where it is not known."""
    return "-" if known is None else cell(known.interval, known.unit)


def _all_alike(front: FrontResource) -> str | None:
    """A sentence where confident dominance left several standing: how many, and what would tell them apart."""
    if front.dominance is not Dominance.CONFIDENT or len(front.points) < 2:
        return None
    if len(front.points) == front.num_feasible:
        said = f"None of these {len(front.points)} can be told apart from the others"
    else:
        said = f"None of the {front.num_feasible} candidates beats one of these {len(front.points)}"
    return (
        f"{said} beyond its interval in every objective: measure again or validate with more images. "
        "'hilnas search answer' says which to ship meanwhile."
    )


def _empty(front: FrontResource) -> str:
    """Why there is no front."""
    if not front.num_complete:
        return (
            f"No candidate is complete. How it stands, and why each that failed did:\n"
            f"  hilnas search show {front.search_id}\n  hilnas search candidates {front.search_id}"
        )
    return (
        f"None of the {front.num_complete} complete candidates meets every constraint of the search. What is wanted, "
        f"and how to see what comes nearest:\n  hilnas search answer {front.search_id}"
    )


def _mark(answer: AnswerResource, member: AnswerMemberResource) -> str:
    if answer.ship is not None and member.candidate_id == answer.ship.candidate_id:
        return "ship"
    if member.short_id in answer.tied:
        return "alike"
    return "" if member.meets else "beyond"


def _cells(member: AnswerMemberResource, metrics: Sequence[str]) -> list[str]:
    known = {one.metric: one for one in member.values}
    return [
        cell(Interval(one.interval.value, one.interval.low, one.interval.high), one.unit)
        if (one := known.get(name)) is not None
        else "-"
        for name in metrics
    ]


def _on_device(candidate: CandidateResource) -> tuple[str, str]:
    """Top-1 on the device, and what is lost on the same images."""
    found = candidate.device_accuracy
    if found is None:
        return "-", "-"
    device = cell(Interval.of_error(found.top1, found.standard_error), "fraction")
    if found.kind == "simulated":
        device += " (simulated)"
    if found.loss is None:
        return device, "-"
    loss = shown_in(Interval.of_error(found.loss, found.loss_standard_error), "fraction")
    return device, number_text(loss, signed=True)
