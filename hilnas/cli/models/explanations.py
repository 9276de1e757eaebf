"""Explanations of candidates in a terminal: time per block beside its MACs, and what each single change would do."""

from __future__ import annotations

import time

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hilnas.cli.shown.fronts import column_title
from hilnas.cli.terminal import make_console
from hilnas.client.client import Hilnas
from hilnas.client.core.calls import Blocking
from hilnas.client.measuring_resources import Job
from nas_engine.domain.metrics import MACS, TEST_TOP1, TOP1
from nas_engine.domain.uncertainty import Interval, number_text, quantity_text, value_text
from server.core.http.resources import IntervalResource
from server.jobs.states import JobState
from server.shipping.schemas import (
    BlockTimesResource,
    CandidateLayersResource,
    ExplanationResource,
    NeighbourResource,
)

POLL_S = 1.0
_progress = make_console(stderr=True)


def explanation_view(
    candidate: str, found: ExplanationResource, layers: CandidateLayersResource, limit: int
) -> RenderableType:
    """The candidate's latency, its time per block from each source, and its neighbours."""
    base = "unknown" if found.latency_us is None else _latency_text(found)
    parts: list[RenderableType] = [Text(f"{candidate}: {base} on {found.device_type or 'no device'}")]
    for table in layers.tables:
        parts += [Text(_title(table)), _block_table(table)]
    parts += [Text(f"blocks: {note}") for note in layers.notes]
    accuracies = (column_title(one.name, one.unit) for one in (TOP1, TEST_TOP1))
    latency_title = escape("latency [us]")  # else units in brackets are taken for markup
    changes = Table("change", latency_title, "from", *accuracies, column_title(MACS.name, MACS.unit))
    for one in found.neighbours[:limit]:
        macs = "-" if one.macs_difference is None else f"{one.macs_difference:+,}"
        latency = _written(one.latency_difference_us, one.latency_interval_us)
        changes.add_row(one.change, latency, one.latency_source or "-", *_accuracies(one), macs)
    return Group(*parts, changes, *(Text(note) for note in found.notes))


def measure_neighbours(nas: Hilnas, candidate: str, max_networks: int) -> None:
    """Have neighbours measured, and wait for it; says how far that is. What fails is named, and the rest goes on."""
    ordered = nas.candidates.measure_neighbours(candidate, max_networks=max_networks)
    waiting = [nas.jobs.get(id) for id in ordered.job_ids]
    total, said = len(waiting), ""
    if not waiting:
        _say("everything is measured already")
    while waiting:  # ends with the attempts of the jobs
        waiting = [left for job in waiting if (left := _unfinished(nas, nas.jobs.get(job.id))) is not None]
        line = f"measured {total - len(waiting)} of {total}"
        if waiting and waiting[0].waiting_for:
            line += f"; {waiting[0].waiting_for}"
        if line != said:
            _say(line)
            said = line
        if waiting:
            time.sleep(POLL_S)


def _unfinished(nas: Hilnas, job: Job[Blocking]) -> Job[Blocking] | None:
    """The job, or the one that follows it; None once nothing is left to do for it."""
    if job.state in (JobState.QUEUED, JobState.LEASED):
        return job
    if job.state is not JobState.DONE:
        _say(f"{job.id} {job.state.value}: {job.failure_type or '-'}: {job.failure_message}")
        return None
    following = job.result.get("next_job_id") if isinstance(job.result, dict) else None
    return None if following is None else nas.jobs.get(str(following))


def _say(line: str) -> None:
    _progress.print(line, highlight=False, soft_wrap=True)


def _latency_text(found: ExplanationResource) -> str:
    if found.latency is not None:
        return found.latency.text
    return quantity_text(Interval(found.latency_us or 0.0), "us")


def _title(table: BlockTimesResource) -> str:
    runs = "" if table.num_runs is None else f", {table.num_runs} runs"
    on = "" if table.device_class in (None, "board") else f" on an {table.device_class} device"
    return f"time per block, {table.kind.value}{on}: {table.source}{runs}; in all {table.total.text}"


def _block_table(table: BlockTimesResource) -> Table:
    shown = Table(*map(escape, ("block", "operator", "MACs", "time [us]", "share [%]")))
    for column in shown.columns[2:]:
        column.justify = "right"
    for one in table.blocks:
        macs = value_text(one.macs)
        alone = "in others" if not one.layers else _number(one.time)
        shown.add_row(
            one.block or "the engine's own", one.operator or "-", macs, alone, value_text(100 * one.share, digits=3)
        )
    return shown


def _number(one: IntervalResource) -> str:
    return number_text(Interval(one.value, one.low, one.high))


def _accuracies(one: NeighbourResource) -> tuple[str, str]:
    pairs = ((one.top1_difference, one.top1_interval), (one.test_top1_difference, one.test_top1_interval))
    validation, test = (
        _written(None if value is None else 100 * value, None if half is None else 100 * half) for value, half in pairs
    )
    return validation, test


def _written(difference: float | None, half_width: float | None) -> str:
    """A difference with its 95 % interval; a dash where it is not known."""
    if difference is None:
        return "-"
    ends = (None, None) if half_width is None else (difference - half_width, difference + half_width)
    return number_text(Interval(difference, *ends), signed=True)
