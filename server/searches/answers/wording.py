"""An answer in sentences, and the commands that come next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas_engine.domain.metric import Goal, Metric
from nas_engine.domain.metrics import ACCURACIES, LATENCY_US, TEST_TOP1, is_latency, words_for
from nas_engine.domain.objective import Constraint
from nas_engine.domain.uncertainty import Interval, quantity_text
from server.candidates.states import SearchState
from server.core.ids import short_id
from server.fleet.device import HardwareProfile
from server.measuring.measurement import measurement_kind
from server.searches.answers.answer import Answer, Beaten, Member
from server.searches.answers.verdict import Verdict
from server.searches.feasibility import asked_text

_MAX_NAMED = 5  # members that a sentence names one by one


@dataclass(frozen=True, slots=True)
class NextStep:
    """What to do next, and the command that does it."""

    title: str
    command: str


def headline(answer: Answer) -> str:
    """What to ship, in one sentence; or why that cannot be said."""
    at = _at(answer)
    if answer.unknown:
        names = ", ".join(words_for(metric) for metric in answer.unknown)
        known = ", ".join(words_for(one.metric) for one in answer.front.objectives)
        return f"{at}: this search has no values of {names}; it looked at {known}, so bound one of these"
    if answer.ship is not None:
        return f"{at}: ship {answer.ship.short_id}, {_described(answer, answer.ship)}"
    if answer.nearest is None:
        return f"{at}: nothing{'' if answer.front.search.state.final else ' yet'}, {_why_nothing(answer)}"
    near = answer.nearest
    values = ", ".join(f"{_name(answer, one.metric)} {_value(near, one.metric)}" for one in answer.bounds)
    return f"{at}: nothing meets that; the nearest is {answer.nearest.short_id}, {values}"


def _why_nothing(answer: Answer) -> str:
    front = answer.front
    if not front.num_complete:
        return "no candidate of the search is complete"
    constraints = front.search.spec.domain_constraints()
    return (
        f"none of the {front.num_complete} complete candidates of the search meets its own constraints, "
        f"{asked_text(constraints)}"
    )


def sentences(answer: Answer) -> list[str]:
    """What else must be known before one acts upon the headline."""
    said = []
    search = answer.front.search
    if not search.state.final:
        progress = search.progress
        said.append(
            f"The search is {search.state.value}: {progress.num_finished} of {search.spec.budget.num_candidates} "
            "candidates are done, and the answer may change."
        )
    elif search.state is not SearchState.COMPLETED:
        said.append(f"The search is {search.state.value}" + (f": {search.reason}." if search.reason else "."))
    ship = answer.ship
    if ship is None:
        return said
    said += _sureness(answer, ship)
    said += _ties(answer, ship)
    said += _beats(answer)
    for metric in (one for one in ship.intervals if is_latency(one) and ship.intervals[one].is_lopsided):
        said.append(
            f"The {_name(answer, metric)} of {ship.short_id} lies on two levels: its median may be of either. "
            "Measure it again on a quiet device before you rely on it."
        )
    if not search.state.final and search.supernet_id is not None:
        said.append("Accuracy on test images is taken of the front when the search is over.")
    return said + _intervals(answer)


def _intervals(answer: Answer) -> list[str]:
    """What the intervals of differences are: paired by image or not."""
    known = [one for other in answer.compared for one in other.differences if one.interval.half_width is not None]
    accuracies = [one for one in known if one.metric in ACCURACIES]
    if not known:
        return []
    if not accuracies:
        return ["Intervals are 95 %."]
    paired = [one for one in accuracies if one.paired is not None]
    if not paired:
        return [
            "Intervals are 95 %. Differences are of independent values: which images each network got right is not "
            "known here, and networks that answered the same images differ more surely than that."
        ]
    most = max(one.paired.num_images for one in paired if one.paired is not None)
    said = f"Intervals are 95 %. Differences of accuracy are paired, image by image, on up to {most:,} images"
    if len(paired) < len(accuracies):
        return [f"{said}; {len(accuracies) - len(paired)} are of independent values, which makes them too wide."]
    return [f"{said}."]


def next_steps(answer: Answer) -> list[NextStep]:
    """Commands to copy."""
    search = answer.front.search
    name, steps = short_id(search.id), []
    chosen = answer.ship
    if search.state is SearchState.PAUSED:
        steps.append(NextStep("go on with the search, which is paused", f"hilnas search resume {name}"))
    elif not search.state.final:
        steps.append(NextStep("see the search through to its end", f"hilnas search follow {name}"))
    if chosen is None and not answer.front.num_complete:
        steps.append(NextStep("how it stands", f"hilnas search show {name}"))
        return steps
    if chosen is None:
        bound = next((one for one in answer.bounds if one.metric not in answer.unknown), None) or _unmet(answer)
        order = "seq" if bound is None else ("-" if bound.maximum is None else "") + bound.metric.name
        steps.append(NextStep("what comes nearest", f"hilnas search candidates {name} --order-by {order} --limit 5"))
        steps.append(NextStep("the front as it is", f"hilnas search front {name}"))
        return steps
    if chosen.candidate.final_model_sha256 is not None:
        title = "its file, with the supernet's weights"
        steps.append(NextStep(title, f"hilnas candidates download {chosen.short_id} --format onnx"))
    if search.supernet_id is not None:
        command = f"hilnas candidates retrain {chosen.short_id} --epochs 30 --output {chosen.short_id}"
        steps.append(NextStep("train it by itself, which makes it better, and fetch the files", command))
    if any(is_latency(one) for one in chosen.intervals) and (answer.front.hardware or answer.front.boards):
        arch_id = chosen.candidate.arch_id[:12]
        steps.append(NextStep("what its latency rests on", f"hilnas measurements list --arch-id {arch_id}"))
    board = f" --board {answer.front.boards[0][0].name}" if len(answer.front.boards) == 1 else ""
    steps.append(NextStep("beside the rest of the front", f"hilnas search front {name}{board}"))
    return steps


def _unmet(answer: Answer) -> Constraint | None:
    """The constraint of the search that kept its candidates out; None where one met them all."""
    front = answer.front
    constraints = front.search.spec.domain_constraints()
    if front.num_feasible or not constraints:
        return None
    values = [one.values for one in front.dominated]

    def is_met(constraint: Constraint) -> bool:
        return any(constraint.satisfied(one[constraint.metric]) for one in values if constraint.metric in one)

    return next((one for one in constraints if not is_met(one)), constraints[0])


def _at(answer: Answer) -> str:
    device, boards = answer.front.search.spec.device, answer.front.boards
    where = "" if device is None else f" on {device.device_type}"
    if boards:  # each bound says which it is on
        where = f" on {_place(answer, boards[0][0].metric)}" if len(boards) == 1 and not answer.bounds else ""
    if not answer.bounds:
        return f"The best {words_for(answer.judged.metric)}, whatever it costs{where}"
    return "At " + " and ".join(_bound_text(answer, bound) for bound in answer.bounds) + where


def _place(answer: Answer, metric: Metric) -> str:
    """What the board of a latency is called; empty where there is one alone, which need not be told from others."""
    board = next((one for one, _ in answer.front.boards if one.metric == metric), None)
    return "" if board is None else board.device.device_type if board.is_own_device else board.name


def _name(answer: Answer, metric: Metric) -> str:
    """What sentences call a metric, the latency on the search's own device among those on others too."""
    place = _place(answer, metric)
    return f"{words_for(LATENCY_US)} on {place}" if place else words_for(metric)


def _bound_text(answer: Answer, bound: Constraint) -> str:
    place = _place(answer, bound.metric)
    name, where = ("", f" on {place}") if place else (f"{words_for(bound.metric)} ", "")
    name = "" if bound.metric == LATENCY_US else name
    texts = [
        f"{name}{sign} {quantity_text(Interval(limit), bound.metric.unit)}{where}"
        for sign, limit in (("<=", bound.maximum), (">=", bound.minimum))
        if limit is not None
    ]
    return " and ".join(texts)


def _described(answer: Answer, member: Member) -> str:
    bounded = [one.metric for one in answer.bounds if _place(answer, one.metric)]
    wanted = dict.fromkeys(
        (answer.judged.metric, TEST_TOP1, *(one.metric for one in answer.front.objectives), *bounded)
    )
    kinds = {board.metric: _kind_text(hardware) for board, hardware in answer.front.boards}
    texts = [
        f"{_name(answer, one)} {_value(member, one)}{kinds.get(one, '')}" for one in wanted if one in member.intervals
    ]
    hardware = answer.front.hardware
    if LATENCY_US in member.intervals and hardware is not None and not kinds:
        texts[-1] += _kind_text(hardware)
    return ", ".join(texts)


def _kind_text(hardware: HardwareProfile) -> str:
    device_class = hardware.key.identity.device_class
    return f" ({measurement_kind(device_class).value} on {device_class.value})"


def _value(member: Member, metric: Metric) -> str:
    return quantity_text(member.intervals[metric], metric.unit)


def _sureness(answer: Answer, ship: Member) -> list[str]:
    if not answer.bounds or ship.is_sure:
        return []
    bounds = " and ".join(_bound_text(answer, bound) for bound in answer.bounds)
    surer = [one.member for one in answer.compared if one.member.meets and one.member.is_sure]
    sign = answer.judged.minimized
    best = min(surer, key=lambda one: sign(one.candidate.values[answer.judged.metric]), default=None)
    beside = "" if best is None else f"; {best.short_id} keeps it for sure: {_described(answer, best)}"
    return [f"Its interval reaches beyond {bounds}{beside}."]


def _ties(answer: Answer, ship: Member) -> list[str]:
    if not answer.tied:
        return []
    name = words_for(answer.judged.metric)
    everything = len(answer.tied) + 1
    names = _listed([one.short_id for one in (ship, *answer.tied)])
    within = sum(1 for one in answer.compared if one.member.meets) + 1
    who = f"All {everything}" if everything == within and everything > 2 else f"These {everything}"
    said = [f"{who} cannot be told apart by {name}: {names}. More validation images would tell them apart."]
    costs = [one.metric for one in answer.front.objectives if one.goal is Goal.MINIMIZE]
    for cost in costs[:1]:
        cheapest = min((ship, *answer.tied), key=lambda one: one.candidate.values[cost])
        if cheapest is not ship:
            said.append(f"Of these {cheapest.short_id} has the least {words_for(cost)}: {_value(cheapest, cost)}.")
    return said


def _beats(answer: Answer) -> list[str]:
    """What is beaten beyond noise in what was judged, and what that costs."""
    said = []
    judged = answer.judged.metric
    name = words_for(judged)
    beaten = [one for one in answer.compared if _verdict(one, judged) is Verdict.BETTER]
    if beaten:
        known = all(_interval(one, judged).half_width is not None for one in beaten)
        noise = "which is more than noise" if known else "of values whose uncertainty is not known"
        said.append(f"In {name} it beats {_by(beaten, judged)}, {noise}.")
    better = [one for one in answer.compared if _verdict(one, judged) is Verdict.WORSE]
    beyond = [one for one in better if not one.member.meets]
    if beyond:
        where = "lies" if len(beyond) == 1 else "lie"
        said.append(f"Better in {name}: {_by(beyond, judged)}, which {where} beyond the bound.")
    on_test = [one for one in answer.compared if _verdict(one, TEST_TOP1) is Verdict.WORSE and one.member.meets]
    for one in on_test[:1]:
        said.append(f"On test images {one.member.short_id} is better than it by more than noise: look at both.")
    return said


def _verdict(beaten: Beaten, metric: Metric) -> Verdict | None:
    return next((one.verdict for one in beaten.differences if one.metric == metric), None)


def _by(compared: Sequence[Beaten], metric: Metric) -> str:
    """Names of other members, each with the size of the difference."""
    named = compared[:_MAX_NAMED]
    texts = [f"{one.member.short_id} by {quantity_text(_interval(one, metric).absolute, metric.unit)}" for one in named]
    more = f" and {len(compared) - _MAX_NAMED} more" if len(compared) > _MAX_NAMED else ""
    return ", ".join(texts) + more


def _interval(beaten: Beaten, metric: Metric) -> Interval:
    return next(one.interval for one in beaten.differences if one.metric == metric)


def _listed(names: Sequence[str]) -> str:
    if len(names) > _MAX_NAMED:
        return f"{', '.join(names[:_MAX_NAMED])} and {len(names) - _MAX_NAMED} more"
    return f"{', '.join(names[:-1])} and {names[-1]}"
