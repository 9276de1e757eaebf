"""Whether every value that a search wants has somewhere to come from: a supernet, a device, or a table of results."""

from __future__ import annotations

from collections.abc import Sequence

from nas_engine.domain.metrics import LATENCY_US
from nas_engine.domain.plugins.declarations import SearchedSpaces
from nas_engine.settings.kinds.algorithms import searched_spaces
from server.candidates.spec import SearchSpec
from server.core.errors import SpecViolation
from server.spaces.descriptions import SpaceDescription


def missing_sources(spec: SearchSpec, space: SpaceDescription | None) -> Sequence[SpecViolation]:
    """What is wanted and comes from nowhere, and what is named and cannot be used.

    `space` is None where it is unknown; its values are looked for as in a space with graphs then.
    """
    if space is not None and not space.has_graphs:
        return _misfits_of_table(spec, space)
    wanted = spec.metrics()
    found = []
    if LATENCY_US in wanted and spec.device is None:
        message = "latency_us is wanted but no device is named: add device.device_type"
        found.append(SpecViolation("/device", message))
    if (evaluated := spec.evaluated_metrics()) and spec.supernet is None:
        message = f"{evaluated[0].name} is wanted but no supernet is named: give its name or id, or a training spec"
        found.append(SpecViolation("/supernet", message))
    is_dense = searched_spaces(spec.algorithm.kind) is SearchedSpaces.DENSE
    if is_dense and space is not None and not space.densely_connected:
        message = (
            f"{spec.algorithm.kind} searches densely connected spaces, {space.id!r} is none: take a DenseNAS space or "
            "nsga2"
        )
        found.append(SpecViolation("/algorithm", message))
    return found


def _misfits_of_table(spec: SearchSpec, space: SpaceDescription) -> Sequence[SpecViolation]:
    """What a search in a table of results wants and its columns lack, and what it names and has no use for."""
    found: list[SpecViolation] = []
    columns = [metric.name for metric in space.columns]
    places = [(f"/objectives/{i}/metric", o.metric) for i, o in enumerate(spec.objectives)]
    places += [(f"/constraints/{i}/metric", c.metric) for i, c in enumerate(spec.constraints)]
    outside = {metric.name for metric in spec.external_metrics()}
    for pointer, label in places:
        if label not in columns and label not in outside:
            message = (
                f"space {space.id!r} is a table of results without a column {label}: it holds {', '.join(columns)}, "
                "and nothing in it can be trained, exported or measured"
            )
            found.append(SpecViolation(pointer, message))
    named = {
        "/supernet": spec.supernet is not None,
        "/device": spec.device is not None,
        "/boards": bool(spec.boards),
        "/dataset": spec.dataset is not None,
        "/shifting": spec.shifting is not None,
        "/algorithm": searched_spaces(spec.algorithm.kind) is not SearchedSpaces.ANY,
        "/warm_start/measured": spec.warm_start is not None and spec.warm_start.measured,
    }
    reason = f"space {space.id!r} is a table of results: accuracy and cost are read from it, and it has no networks"
    for pointer in (pointer for pointer, wrong in named.items() if wrong):
        advice = "take another one" if pointer == "/algorithm" else "leave it out"
        found.append(SpecViolation(pointer, f"{reason}; {advice}"))
    return found
