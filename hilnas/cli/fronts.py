"""Fronts and answers in a terminal: every value with its 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hilnas.client.views.metric_titles import metric_title
from nas_engine.domain.dominance import Dominance
from nas_engine.domain.metrics import metric_named
from nas_engine.domain.plugins.doors import PluginError
from nas_engine.domain.uncertainty import Interval, number_text, shown_in, unit_text
from server.searches.answers.schemas import AnswerMemberResource, AnswerResource
from server.searches.candidate_schemas import CandidateResource, FrontResource

_DEVICES = {"board": "a board", "emulated": "an emulated device", "simulated": "a simulated device"}
_ON_DEVICE = ("device_top1", "loss on the device")


def front_table(front: FrontResource) -> RenderableType:
    """The front with every value's interval, accuracy on test images too, and what its latencies are."""
    title = f"Pareto front of {front.search_id}{latencies_text(front.latency_kind, front.device_class)}"
    if front.dominance is Dominance.CONFIDENT:
        title += ", nothing dominated beyond its 95 % confidence interval"
    told = {objective.metric for objective in front.objectives}
    # What is an objective has its column already.
    others = [name for name in ("test_top1", "macs", "params") if name not in told]
    table = Table("candidate", "architecture")
    for objective in front.objectives:
        table.add_column(column_title(objective.metric, objective.unit), justify="right")
    for name in others:
        table.add_column(column_title(name, metric_unit(name)), justify="right")
    on_device = any(point.candidate.device_accuracy is not None for point in front.points)
    for name in _ON_DEVICE if on_device else ():
        table.add_column(f"{name} [%]", justify="right")
    table.add_column("flags")
    for point in front.points:
        candidate = point.candidate
        errors = {one.name: one.uncertainty for one in candidate.values}
        values = [
            cell(Interval.of_error(value, spread), objective.unit)
            for value, spread, objective in zip(point.values, point.uncertainties, front.objectives, strict=True)
        ]
        test = candidate.test_top1
        known = {
            "test_top1": "-" if test is None else cell(Interval.of_error(test, errors.get("test_top1")), "fraction"),
            "macs": _count(candidate.macs),
            "params": _count(candidate.params),
        }
        flags = "" if candidate.latency is None else ", ".join(candidate.latency.flags)
        accuracies = _on_device(candidate) if on_device else ()
        names = (candidate.short_id, candidate.arch_id[:12])
        table.add_row(*names, *values, *(known[name] for name in others), *accuracies, flags)
    if not front.points:
        return Group(Text(title, style="bold"), Text(_empty(front)))
    parts: list[RenderableType] = [Text(title, style="bold"), table, Text("± is half a 95 % interval.")]
    if (said := _all_alike(front)) is not None:
        parts.insert(1, Text(said))
    # Not the table's own title: that would be broken into lines as narrow as the table.
    return Group(*parts)


def answer_view(answer: AnswerResource) -> RenderableType:
    """What to ship, what else must be known, the front, and the commands that come next."""
    shown = list(answer.members)
    chosen = answer.ship or answer.nearest
    if chosen is not None and all(one.candidate_id != chosen.candidate_id for one in shown):
        shown.insert(0, chosen)
    units = {one.metric: one.unit for member in shown for one in member.values}
    first = [name for name in ("top1", "test_top1", "latency_us") if name in units]
    metrics = [*first, *(name for name in units if name not in first)]
    verdicts = {one.short_id: one for one in answer.compared}
    table = Table("", "candidate", "architecture")
    for name in metrics:
        table.add_column(column_title(name, units[name]), justify="right")
    table.add_column(f"{metric_title(answer.judged)}, what is shipped less it", justify="right")
    for member in shown:
        differences = verdicts[member.short_id].differences if member.short_id in verdicts else []
        less = next((one for one in differences if one.metric == answer.judged), None)
        difference = "" if less is None else f"{less.interval.text} ({less.verdict.value})"
        table.add_row(_mark(answer, member), member.short_id, member.arch_id[:12], *_cells(member, metrics), difference)
    parts: list[RenderableType] = [Text(answer.headline, style="bold"), *map(Text, answer.sentences)]
    if shown:
        parts += [table, Text("± is half a 95 % interval." + latencies_text(answer.latency_kind, answer.device_class))]
    parts += [Text(f"{step.title}:\n  {step.command}") for step in answer.next_steps]
    return Group(*parts)


def latencies_text(kind: str | None, device_class: str | None) -> str:
    """What latencies are and come from, in brackets; empty without any."""
    if kind is None:
        return ""
    if kind == "table":
        return " (latency from a table of results)"
    return f" ({kind} latency on {_DEVICES.get(device_class or '', 'devices of several classes')})"


def column_title(metric: str, unit: str) -> str:
    """A metric above its column, with the unit that its values are shown in; brackets are no markup."""
    shown = unit_text(unit)
    title = metric_title(metric)
    return escape(f"{title} [{shown}]") if shown else title


def cell(interval: Interval, unit: str) -> str:
    """A value with its interval, in the unit of its column."""
    return number_text(shown_in(interval, unit))


def metric_cell(name: str, value: float | None, standard_error: float | None) -> str:
    """A metric's value with its interval, in the unit of its column; a dash where it is not known."""
    return "-" if value is None else cell(Interval.of_error(value, standard_error), metric_unit(name))


def metric_unit(name: str) -> str:
    """Unit of a metric; empty where a package that is not installed here brings it."""
    try:
        return metric_named(name).unit
    except PluginError:
        return ""


def _all_alike(front: FrontResource) -> str | None:
    """A sentence where confident dominance told nothing apart."""
    if front.dominance is not Dominance.CONFIDENT or not 1 < len(front.points) == front.num_feasible:
        return None
    return (
        f"None of these {len(front.points)} can be told apart from the others beyond its interval in every objective: "
        "measure again or validate with more images. 'hilnas search answer' says which to ship meanwhile."
    )


def _empty(front: FrontResource) -> str:
    """Why there is no front."""
    if not front.num_complete:
        return "No candidate is complete."
    return (
        f"None of the {front.num_complete} complete candidates meets every constraint of the search: "
        f"'hilnas search show {front.search_id}' says how near they came."
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


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
