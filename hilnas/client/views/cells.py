"""What a resource shows in a row of a table: names and texts, values with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from functools import singledispatch

from pydantic import BaseModel

from hilnas.client.views.metric_titles import column_title
from nas_engine.domain.text import duration_text
from nas_engine.domain.uncertainty import Interval, number_text, quantity_text, shown_in, value_text
from server.jobs.spent.schemas import TimeResource
from server.measuring.schemas import MeasurementResource
from server.searches.candidate_schemas import CandidateResource
from server.searches.fronts.schemas import FrontPointResource
from server.searches.schemas import SearchResource
from server.training.networks.schemas import NetworkResource
from server.training.schemas import SupernetResource

_MOST_COLUMNS = 8
_LONGEST = 40


@singledispatch
def cells_of(value: object) -> Mapping[str, str]:
    """Names and texts of a row. Of what is not known here: its first plain fields."""
    if not isinstance(value, BaseModel):
        return {"value": _text(value)}
    plain = {name: getattr(value, name) for name in type(value).model_fields}
    shown = [(name, one) for name, one in plain.items() if _is_plain(one)]
    return {name: _text(one) for name, one in shown[:_MOST_COLUMNS]}


@cells_of.register
def _of_search(search: SearchResource) -> Mapping[str, str]:
    progress = search.progress
    hypervolume = "" if progress.hypervolume is None else value_text(progress.hypervolume)
    return {
        "search": search.short_id or search.id,
        "name": search.name,
        "state": search.state.value,
        "space": search.spec.space.id,
        "evaluated": f"{progress.num_complete} of {progress.num_candidates}",
        "front": str(progress.front_size),
        "hypervolume": hypervolume,
        **_times(search.time),
        "reason": search.reason or search.waiting_for,
    }


@cells_of.register(SupernetResource)
@cells_of.register(NetworkResource)
def _of_training(training: SupernetResource | NetworkResource) -> Mapping[str, str]:
    progress = training.progress
    top1 = progress.metrics.get("top1")
    return {
        "id": training.id,
        "name": training.name,
        "state": training.state.value,
        "space": training.spec.space.id,
        "step": f"{progress.step} of {progress.num_steps}" if progress.num_steps else "",
        "loss": "" if progress.loss is None else value_text(progress.loss),
        "training top1 [%]": "" if top1 is None else number_text(shown_in(Interval(top1), "fraction")),
        **_times(training.time),
        "reason": training.reason,
    }


@cells_of.register
def _of_candidate(candidate: CandidateResource) -> Mapping[str, str]:
    values = {
        column_title(one.name, one.unit, one.column): number_text(shown_in(one.interval, one.unit))
        for one in candidate.values
    }
    name = candidate.short_id or candidate.id
    return {"candidate": name, "architecture": candidate.arch_id[:12], "state": candidate.state_text, **values}


@cells_of.register
def _of_point(point: FrontPointResource) -> Mapping[str, str]:
    return cells_of(point.candidate)


@cells_of.register
def _of_measurement(measurement: MeasurementResource) -> Mapping[str, str]:
    stats = measurement.stats
    return {
        "measurement": measurement.id,
        "device type": measurement.device_type or "",
        "latency p50": quantity_text(Interval(stats.p50_us, stats.ci95_low_us, stats.ci95_high_us), "us"),
        "kind": measurement.kind.value,
        "validity": measurement.validity.value,
        "at": _text(measurement.created_at),
    }


def _times(time: TimeResource | None) -> Mapping[str, str]:
    if time is None:
        return {}
    left = "" if time.left_s is None else duration_text(time.left_s)
    return {"elapsed": duration_text(time.elapsed_s), "left": left}


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool | Enum | datetime) and value != ""


def _text(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    text = value_text(value) if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
