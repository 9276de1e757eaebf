"""Algorithms and kinds of data sets as lists show them, built-in first; and what installed packages bring.

The packages themselves are not imported: processes of their own have described them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from nas_engine.domain.metrics import all_metrics
from nas_engine.domain.plugins.door_survey import Survey
from nas_engine.domain.plugins.doors import Declaration, Door, DoorProblem, Provider, entries, own_provider
from nas_engine.settings.kinds import algorithms as algorithm_kinds
from nas_engine.settings.kinds import datasets as dataset_kinds
from nas_engine.settings.kinds.declared import settings_schema
from nas_engine.spaces.registry import declared_spaces


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginKind:
    """One thing that specs may name.

    Attributes:
        title: one line for people.
        provider: package that brings it, and its version.
        settings_schema: JSON schema of its settings.
        facts: what else its door says of it, by name.
    """

    name: str
    title: str
    provider: Provider
    settings_schema: Any
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledPlugin:
    """One entry point of an installed package; `problem` says why it cannot be used, empty where it can."""

    door: Door
    name: str
    provider: Provider
    problem: str = ""


@cache
def algorithms() -> tuple[PluginKind, ...]:
    """List the algorithms, in the order they are documented, what others bring last."""
    return _kinds(
        algorithm_kinds.BUILT_IN, algorithm_kinds.surveyed_algorithms(), ("max_objectives", "shifts", "spaces")
    )


@cache
def dataset_kinds_known() -> tuple[PluginKind, ...]:
    """List the kinds of data sets, in the order they are documented, what others bring last."""
    return _kinds(dataset_kinds.BUILT_IN, dataset_kinds.surveyed_datasets(), ("num_classes",))


def installed_plugins() -> tuple[InstalledPlugin, ...]:
    """List what installed packages bring for servers and workers, by door and name, with what is wrong with it."""
    problems: dict[Door, tuple[DoorProblem, ...]] = {
        Door.SPACES: declared_spaces().problems,
        Door.ALGORITHMS: algorithm_kinds.surveyed_algorithms().problems,
        Door.DATASETS: dataset_kinds.surveyed_datasets().problems,
        Door.METRICS: all_metrics().problems,
    }
    found = []
    for door, of_door in problems.items():
        messages = {(problem.name, problem.provider): problem.message for problem in of_door}
        for entry in entries(door):
            problem = messages.get((entry.name, entry.provider), "")
            found.append(InstalledPlugin(door=door, name=entry.name, provider=entry.provider, problem=problem))
    return tuple(found)


def _kinds(shipped: Sequence[Declaration], brought: Survey, facts: tuple[str, ...]) -> tuple[PluginKind, ...]:
    kinds = [
        PluginKind(
            name=declaration.name,
            title=declaration.title,
            provider=own_provider(),
            settings_schema=settings_schema(declaration),
            facts={name: getattr(declaration, name) for name in facts},
        )
        for declaration in shipped
    ]
    for found in brought.found.values():
        said: Any = found.description
        kinds.append(
            PluginKind(
                name=found.name,
                title=said["title"],
                provider=found.provider,
                settings_schema=said["settings_schema"],
                facts={name: said[name] for name in facts},
            )
        )
    return tuple(kinds)
