"""Live views of searches and trainings in a terminal, fed by their events."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TypeVar

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hilnas.cli.shown.fronts import cell
from hilnas.cli.shown.listings import hypervolume_text
from hilnas.cli.specs.warm_starts import warm_start_text
from hilnas.client.client import Hilnas
from hilnas.client.core.event_source import ReceivedEvent
from hilnas.client.errors import NotFoundError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metrics import TOP1
from nas_engine.domain.text import duration_text
from nas_engine.domain.uncertainty import Interval, value_text
from server.jobs.spent.schemas import TimeResource
from server.searches.schemas import SearchResource
from server.studies.schemas import RankingStudyResource, StudyEntryResource
from server.training.networks.schemas import NetworkResource
from server.training.schemas import SupernetResource

_REFRESH_S = 0.5
LOOK_S = 5.0
T = TypeVar("T", SearchResource, SupernetResource, NetworkResource, RankingStudyResource)


def follow_search(nas: Hilnas, search_id: str, console: Console, look_s: float = LOOK_S) -> SearchResource:
    """Show a search until it ends (or is paused and stays so); returns its last state.

    Args:
        look_s: how often at least it is asked what the search waits for, seconds.
    """
    return _follow(
        console,
        events=lambda: nas.searches.events(search_id),
        read=lambda: nas.searches.get(search_id),
        render=search_view,
        line=search_line,
        waiting=lambda: _search_waits_for(nas, search_id),
        look_s=look_s,
    )


def follow_supernet(nas: Hilnas, supernet_id: str, console: Console) -> SupernetResource:
    """Show the training of a supernet until it ends; returns its last state."""
    return _follow(
        console,
        events=lambda: nas.supernets.events(supernet_id),
        read=lambda: nas.supernets.get(supernet_id),
        render=training_view,
        line=training_line,
        waiting=lambda: _no_worker(nas),
    )


def follow_network(nas: Hilnas, network_id: str, console: Console) -> NetworkResource:
    """Show the training of a network until it ends; returns its last state."""
    return _follow(
        console,
        events=lambda: nas.networks.events(network_id),
        read=lambda: nas.networks.get(network_id),
        render=training_view,
        line=training_line,
        waiting=lambda: _no_worker(nas),
    )


def follow_study(nas: Hilnas, study_id: str, console: Console) -> RankingStudyResource:
    """Show a ranking study until it ends; returns its last state."""
    return _follow(
        console,
        events=lambda: nas.ranking_studies.events(study_id),
        read=lambda: nas.ranking_studies.get(study_id),
        render=lambda study, _: Text(study_line(study)),
        line=study_line,
        waiting=lambda: _no_worker(nas),
    )


def _follow(
    console: Console,
    *,
    events: Callable[[], Iterator[ReceivedEvent]],
    read: Callable[[], T],
    render: Callable[[T, str], RenderableType],
    line: Callable[[T], str],
    waiting: Callable[[], str] = lambda: "",
    look_s: float = LOOK_S,
) -> T:
    """Show what `read` gives whenever something happened, at most twice a second, and once more at the end.

    Args:
        waiting: says what it waits for that tells nothing by itself, such as a board that is away.
    """
    if console.is_terminal:
        with Live(render(read(), ""), console=console, refresh_per_second=4) as live:
            for current, reason in _changes(events, read, waiting, look_s):
                live.update(render(current, reason))
        return read()
    # A log gets a line where a terminal is redrawn.
    last_line = ""
    for current, reason in _changes(events, read, waiting, look_s):
        if (text := line(current) + (reason and f"  waiting: {reason}")) != last_line:
            console.print(text, highlight=False, soft_wrap=True)
            last_line = text
    return read()


def _changes(
    events: Callable[[], Iterator[ReceivedEvent]], read: Callable[[], T], waiting: Callable[[], str], look_s: float
) -> Iterator[tuple[T, str]]:
    """How it stands after every event, and every few seconds without any: a board that has gone says nothing."""
    happened: queue.SimpleQueue[Exception | bool] = queue.SimpleQueue()

    def listen() -> None:
        try:
            for _ in events():
                happened.put(True)
            happened.put(False)
        except Exception as error:
            happened.put(error)

    threading.Thread(target=listen, name="events", daemon=True).start()
    next_read_s = next_look_s = 0.0
    reason = ""
    while True:  # ends with the events of what it follows, or with their error
        try:
            more = happened.get(timeout=look_s)
        except queue.Empty:
            more = True
        if isinstance(more, Exception):
            raise more
        if not more:
            break
        now_s = time.monotonic()
        if now_s >= next_look_s:
            next_look_s = now_s + look_s
            reason = waiting()
        if now_s >= next_read_s:
            next_read_s = now_s + _REFRESH_S
            yield read(), reason
    yield read(), ""


def _search_waits_for(nas: Hilnas, search_id: str) -> str:
    """What the measurements of a search wait for besides their turn; empty where there is nothing to say."""
    search = nas.searches.get(search_id)
    if search.waiting_for:
        return search.waiting_for
    queued = nas.jobs.all(states=["queued"], kinds=["measure", "classify"], search_id=search_id, limit=1)
    return next((nas.jobs.get(job.id).waiting_for for job in queued), "")


def _no_worker(nas: Hilnas) -> str:
    """In words, that no worker lives; empty where one does, and with a server that does not know its workers."""
    try:
        alive = any(worker.is_alive for worker in nas.workers.all())
    except NotFoundError:
        return ""
    return "" if alive else "no worker lives: start one with 'hilnas worker'"


def search_view(search: SearchResource, waiting_for: str = "") -> RenderableType:
    """Everything one wants to see of a running search.

    Args:
        waiting_for: what its measurements wait for; no end is promised meanwhile. Empty: nothing.
    """
    progress = search.progress
    finished = progress.num_complete + progress.num_infeasible + progress.num_failed
    table = _facts(search)
    state = search.state.value if not search.reason else f"{search.state.value}: {search.reason}"
    table.add_row("state", Text(state))
    table.add_row("generation", str(progress.generation))
    table.add_row("evaluated", f"{progress.num_complete + progress.num_infeasible} of {progress.num_candidates}")
    table.add_row("", ProgressBar(total=progress.num_candidates, completed=finished, width=40))
    table.add_row("in flight", str(progress.num_in_flight))
    unmet = f" ({progress.num_unmet} measured, beyond a constraint)" if progress.num_unmet else ""
    infeasible = progress.num_infeasible + (progress.num_unmet or 0)
    table.add_row("infeasible, failed", f"{infeasible}{unmet}, {progress.num_failed}")
    if progress.num_cancelled:
        table.add_row("cancelled", str(progress.num_cancelled))
    table.add_row("measured before", str(progress.num_reused))
    if (algorithm := algorithm_text(progress.report)) is not None:
        table.add_row("algorithm", Text(algorithm))
    if (warm := warm_start_text(progress.report)) is not None:
        table.add_row("warm start", warm)
    if (deriving := deriving_text(progress.report)) is not None:
        table.add_row("deriving", deriving)
    table.add_row("front size", str(progress.front_size))
    table.add_row("hypervolume", hypervolume_text(progress.hypervolume, is_over=search.state.final))
    if (gains := gains_text(progress.report)) is not None:
        table.add_row("gains", gains)
    if progress.stop_text:
        table.add_row("stops by", Text(progress.stop_text))
    if search.cloned_from is not None:
        table.add_row("cloned from", search.cloned_from)
    _add_times(table, search.time)
    if search.time is None or search.time.left_s is None:
        table.add_row("time left", "-" if waiting_for else _eta(search, finished, datetime.now(UTC)))
    if waiting_for:
        table.add_row("waiting", Text(waiting_for))
    return table


def search_line(search: SearchResource) -> str:
    """The same in one line, for logs."""
    progress = search.progress
    evaluated = progress.num_complete + progress.num_infeasible
    failed = f"  failed {progress.num_failed}" if progress.num_failed else ""
    cancelled = f"  cancelled {progress.num_cancelled}" if progress.num_cancelled else ""
    hypervolume = hypervolume_text(progress.hypervolume, is_over=search.state.final)
    deriving = deriving_text(progress.report)
    infeasible = progress.num_infeasible + (progress.num_unmet or 0)
    infeasible_text = f"  infeasible {infeasible}" if infeasible else ""
    return (
        f"{search.state.value}  generation {progress.generation}  evaluated {evaluated}/{progress.num_candidates}"
        f"{infeasible_text}{failed}{cancelled}  in flight {progress.num_in_flight}  front {progress.front_size}"
        f"  hypervolume {hypervolume}"
        + ("" if deriving is None else f"  deriving: {deriving}")
        + times_text(search.time)
    )


def algorithm_text(report: Mapping[str, JsonValue]) -> str | None:
    """Which algorithm the server chose, and why; None where the spec named one."""
    match report.get("algorithm"):
        case {"kind": str(kind), "because": str(because)}:
            return f"{kind}, chosen: {because}"
        case _:
            return None


def gains_text(report: Mapping[str, JsonValue]) -> str | None:
    """What the last candidates added to the hypervolume and the next are expected to; None while that is not known."""
    match report.get("gains"):
        case {"num_candidates": int(num), "last_share": float(last), "next_share": float(following)}:
            return f"last {num} candidates {_gain(last)}, next {num} expected {_gain(following)}"
        case _:
            return None


def _gain(share: float) -> str:
    return value_text(share, "fraction", digits=3, signed=True)


def deriving_text(report: Mapping[str, JsonValue]) -> str | None:
    """How far the derivation of a DenseNAS search is, as of its last checkpoint; None where none is under way."""
    match report.get("deriving"):
        case {"cost_factor": float() | int() as factor, "step": int(step), "num_steps": int(total)}:
            return f"cost factor {value_text(factor)}, step {step} of {total}"
        case _:
            return None


def _eta(search: SearchResource, finished: int, now: datetime) -> str:
    """Time left at the mean pace so far."""
    if search.started_at is None or search.finished_at is not None or not finished:
        return "-"
    elapsed_s = (now - search.started_at).total_seconds()
    left_s = elapsed_s / finished * max(0, search.progress.num_candidates - finished)
    minutes, seconds = divmod(round(left_s), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def _facts(shown: SearchResource | SupernetResource | NetworkResource) -> Table:
    """An empty table of what there is to say of something, under its name."""
    title = escape(f"{shown.name}  {shown.id}")
    table = Table(title=title, show_header=False, title_justify="left", min_width=64)
    table.add_column(style="bold")
    table.add_column()
    return table


def _add_times(table: Table, time: TimeResource | None) -> None:
    """Elapsed and left, and where the time went: what jobs took and how long they waited, summed kind by kind."""
    if time is None:
        return
    table.add_row("elapsed", duration_text(time.elapsed_s))
    if time.left_s is not None:
        table.add_row("time left", duration_text(time.left_s))
    for one in time.kinds:
        spent = f"{duration_text(one.busy_s)} in {one.num_jobs} jobs, {duration_text(one.queued_s)} queued"
        table.add_row(f"time: {one.kind.value}", spent)


def training_view(
    training: SupernetResource | NetworkResource,
    waiting_for: str = "",
    origin: Mapping[str, str] = MappingProxyType({}),
) -> RenderableType:
    """Everything one wants to see of a training, what it waits for, and where imported weights come from."""
    progress = training.progress
    table = _facts(training)
    state = training.state.value if not training.reason else f"{training.state.value}: {training.reason}"
    table.add_row("state", Text(state))
    if progress.num_steps or training.finished_at is None:  # what was imported has no steps here
        table.add_row("step", f"{progress.step} of {progress.num_steps}")
        table.add_row("", ProgressBar(total=max(progress.num_steps, 1), completed=progress.step, width=40))
        table.add_row("loss", value_text(progress.loss))
    for name, value in sorted(progress.metrics.items()):
        table.add_row(name, value_text(value))
    for name, text in origin.items():
        table.add_row(name, Text(text))
    _add_times(table, training.time)
    if waiting_for:
        table.add_row("waiting", Text(waiting_for))
    return table


def training_line(training: SupernetResource | NetworkResource) -> str:
    """The same in one line, for logs."""
    progress = training.progress
    loss = value_text(progress.loss)
    return f"{training.state.value}  step {progress.step}/{progress.num_steps}  loss {loss}{times_text(training.time)}"


def times_text(time: TimeResource | None) -> str:
    """What is left, for the end of a line in a log; empty where it is not known."""
    return "" if time is None or time.left_s is None else f"  left {duration_text(time.left_s)}"


def study_line(study: RankingStudyResource) -> str:
    """A ranking study in one line."""
    result = study.result
    taus = (None, None) if result is None else (result.overall.kendall_tau, result.local.kendall_tau)
    shown = [value_text(tau, digits=3) for tau in taus]
    failed = f", {study.num_failed} failed" if study.num_failed else ""
    return (
        f"{study.state.value}  {study.num_done}/{study.num_entries} architectures{failed}  "
        f"global tau {shown[0]}  local tau {shown[1]}"
    )


def entries_table(entries: Iterable[StudyEntryResource]) -> RenderableType:
    """The architectures of a ranking study, the best by stand-alone accuracy first."""
    table = Table("number", "architecture", "state", "shared top1 [%]", "alone top1 [%]", "MACs", "step")
    for one in sorted(entries, key=lambda entry: -1.0 if entry.alone is None else entry.alone.top1, reverse=True):
        accuracies = [
            "-" if accuracy is None else cell(Interval.of_error(accuracy.top1, accuracy.standard_error), TOP1.unit)
            for accuracy in (one.shared, one.alone)
        ]
        step = f"{one.progress.step}/{one.progress.num_steps}"
        state = f"{one.state.value}: {one.reason}" if one.reason else one.state.value
        macs = value_text(one.macs)
        table.add_row(str(one.number), one.arch_id[:12], state, *accuracies, macs, step)
    return table
