"""What the demo prints and writes at the end: the front, what to ship at two latencies, model files and pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hilnas.client.client import Hilnas
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.uncertainty import Interval, quantity_text
from nas_engine.evaluation.ranking import rank_correlation
from server.bootstrap.demo.choices import AtBound, Choice, intervals, measured_candidates
from server.bootstrap.demo.picture import draw
from server.bootstrap.demo.specs import DEVICE_TYPE
from server.bootstrap.demo.spread import Spread, spread_of, value_of
from server.searches.answers.schemas import AnswerMemberResource
from server.searches.candidate_schemas import CandidateResource

Document = dict[str, JsonValue]
MAX_FLAGS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the demo did.

    Attributes:
        random_search_id: of the search at random with the same budget; None where none was asked for.
        started_s: of the monotonic clock.
        train_s, search_s: how long training and the search took.
    """

    search_id: str
    shipped: tuple[AtBound, ...]
    random_search_id: str | None
    started_s: float
    train_s: float
    search_s: float


def write_report(nas: Hilnas, run: Run, folder: Path, console: Console) -> None:
    """Print everything, and write ``report.json``, ``front.svg`` and one ONNX file and one picture per member."""
    answer = nas.searches.answer(run.search_id)
    candidates = measured_candidates(nas, run.search_id)
    by_id = {one.id: one for one in candidates}
    front = sorted(
        (m for m in answer.members if m.candidate_id in by_id), key=lambda m: intervals(by_id[m.candidate_id])[1].value
    )
    (folder / "front").mkdir(exist_ok=True)
    for place, member in enumerate(front, start=1):
        candidate = by_id[member.candidate_id]
        stem = folder / "front" / f"{place:02d}-{candidate.arch_id[:12]}"
        stem.with_suffix(".svg").write_text(nas.searches.picture(candidate.id))
        if candidate.final_model_sha256 is not None:
            nas.artifacts.download(candidate.final_model_sha256, stem.with_suffix(".onnx"))
    spread = spread_of(answer)
    macs = [float(one.macs or 0) for one in candidates]
    tau = rank_correlation(macs, [intervals(one)[1].value for one in candidates]).kendall_tau
    # Share of the search's wall time for which each board held no lease.
    idle: dict[str, JsonValue] = {}
    for device in nas.devices.all(device_type=DEVICE_TYPE):
        busy_s = nas.devices.get(device.id).utilisation_24h * 86_400
        idle[device.name] = round(max(1.0 - busy_s / run.search_s, 0.0), 3)
    report: Document = {
        "seconds": round(time.monotonic() - run.started_s, 1),
        "train_seconds": round(run.train_s, 1),
        "search_seconds": round(run.search_s, 1),
        "num_candidates": len(list(nas.searches.candidates(run.search_id))),
        "kendall_tau": tau,
        "device_idle_share": idle,
        "spread": None if spread is None else asdict(spread),
        "front": [_front_entry(by_id[member.candidate_id], member) for member in front],
        "candidates": [_candidate_entry(one) for one in candidates],
        "shipped": [_shipped_entry(at) for at in run.shipped],
    }
    if run.random_search_id is not None:
        report["random"] = [_candidate_entry(one) for one in measured_candidates(nas, run.random_search_id)]
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    draw(report, folder / "front.svg")
    _print_front(console, front, by_id, spread)
    shown = "-" if tau is None else f"{tau:.2f}"
    console.print(f"Kendall's tau of MACs and measured latency, {len(candidates)} candidates: {shown}")
    console.print(
        "Share of the search without a job: " + ", ".join(f"{n} {100 * _number(s):.0f} %" for n, s in idle.items())
    )
    for at in run.shipped:
        console.print(_shipped_table(at))
        console.print(at.answer.headline, style="bold", soft_wrap=True)
        for sentence in at.answer.sentences:
            console.print(sentence, soft_wrap=True)
    seconds = time.monotonic() - run.started_s
    console.print(
        f"{seconds:.0f} s in all: training {run.train_s:.0f} s, search {run.search_s:.0f} s. "
        f"Written: {folder}/report.json, {folder}/front.svg, {folder}/front/"
    )


def _number(value: JsonValue) -> float:
    assert isinstance(value, int | float)
    return float(value)


def _interval_entry(interval: Interval | None) -> JsonValue:
    return None if interval is None else asdict(interval)


def _candidate_entry(candidate: CandidateResource) -> Document:
    top1, latency = intervals(candidate)
    return {
        "short_id": candidate.short_id,
        "architecture": "-".join(map(str, candidate.genotype)),
        "generation": candidate.generation,
        "macs": candidate.macs,
        "params": candidate.params,
        "top1": _interval_entry(top1),
        "latency_us": _interval_entry(latency),
    }


def _front_entry(candidate: CandidateResource, member: AnswerMemberResource) -> Document:
    flags: list[JsonValue] = [] if candidate.latency is None else [str(flag) for flag in candidate.latency.flags]
    return {
        **_candidate_entry(candidate),
        "arch_id": candidate.arch_id,
        "latency_us": _interval_entry(value_of(member, "latency_us")),
        "test_top1": _interval_entry(value_of(member, "test_top1")),
        "latency_flags": flags,
    }


def _shipped_entry(at: AtBound) -> Document:
    choices: list[JsonValue] = [
        {"rule": one.rule, "keeps_bound": one.latency_us.value <= at.bound_us, **_candidate_entry(one.candidate)}
        for one in at.choices
    ]
    return {"bound_us": at.bound_us, "headline": at.answer.headline, "choices": choices}


def _print_front(
    console: Console,
    front: Sequence[AnswerMemberResource],
    by_id: dict[str, CandidateResource],
    spread: Spread | None,
) -> None:
    table = Table(title="Pareto front (latencies measured on an emulated board: this host's CPU)")
    for heading in ("network", "top-1 validation", "top-1 test", "latency", "MACs", "params", "flags"):
        table.add_column(heading, justify="left" if heading in ("network", "flags") else "right")
    for member in front:
        candidate = by_id[member.candidate_id]
        flags = [] if candidate.latency is None else candidate.latency.flags
        table.add_row(
            member.short_id,
            _text(value_of(member, "top1"), "fraction"),
            _text(value_of(member, "test_top1"), "fraction"),
            _text(value_of(member, "latency_us"), "us"),
            f"{(candidate.macs or 0) / 1e6:.2f} M",
            f"{(candidate.params or 0) / 1e3:.0f} k",
            ", ".join(str(flag) for flag in flags[:MAX_FLAGS]),
        )
    console.print(table)
    if spread is not None:
        gain = (
            ""
            if spread.test_gain is None
            else (f"; from end to end {quantity_text(spread.test_gain, 'fraction', signed=True)} of test accuracy")
        )
        console.print(
            f"The slowest takes {spread.span:.1f} times as long as the fastest; {spread.num_apart} in a row differ in "
            f"latency beyond their 95 % intervals{gain}."
        )


def _shipped_table(at: AtBound) -> Table:
    bound = quantity_text(Interval(at.bound_us), "us")
    table = Table(title=f"What to ship at <= {bound}, by what was gone by; all were measured in the end")
    for heading in ("gone by", "network", "top-1 validation", "measured latency", "MACs", "keeps the bound"):
        table.add_column(heading, justify="left" if heading in ("gone by", "network") else "right")
    for one in at.choices:
        table.add_row(
            one.rule,
            one.candidate.short_id,
            quantity_text(one.top1, "fraction"),
            quantity_text(one.latency_us, "us"),
            f"{(one.candidate.macs or 0) / 1e6:.2f} M",
            _kept(one, at.bound_us),
        )
    return table


def _kept(choice: Choice, bound_us: float) -> str:
    over = choice.latency_us.value / bound_us - 1.0
    return "yes" if over <= 0.0 else f"no, {100 * over:.0f} % over"


def _text(interval: Interval | None, unit: str) -> str:
    return "-" if interval is None else quantity_text(interval, unit)
