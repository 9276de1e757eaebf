"""What of a search or a training other packages bring: in words, and held against what this process has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nas_engine.domain.metrics import all_metrics
from nas_engine.domain.plugins.doors import Declared, Door, Provider, VersionsDifferError, own_provider
from nas_engine.settings.kinds.algorithms import declared_algorithms
from nas_engine.settings.kinds.datasets import declared_datasets
from nas_engine.spaces.registry import declared_spaces
from server.candidates.search import UsedPlugin


def from_packages(used: Sequence[tuple[Door, str, Provider | None]]) -> tuple[UsedPlugin, ...]:
    """Those that do not ship with hilnas, each once."""
    return tuple(
        UsedPlugin(door=door, name=name, provider=provider)
        for door, name, provider in dict.fromkeys(used)
        if provider is not None and provider != own_provider()
    )


def in_words(used: Sequence[UsedPlugin]) -> str:
    """Name each with its package, version and door; empty where there are none."""
    return ", ".join(f"{one.name} of {one.provider} ({one.door.value})" for one in used)


def check_plugins(used: Sequence[UsedPlugin], work: str = "search") -> None:
    """Refuse work of which this worker has other versions, or nothing.

    Args:
        work: what the server started with them.

    Raises:
        VersionsDifferError: names what differs, with both versions.
    """
    for one in used:
        here = _DECLARED[one.door]()
        found = here.brought.get(one.name)
        if found is not None and found.provider == one.provider:
            continue
        problem = next((problem.message for problem in here.problems if problem.name == one.name), "")
        other = f"not usable ({problem})" if problem else "not installed"
        if found is not None:
            other = f"of {found.provider}"
        raise VersionsDifferError(
            f"the server started this {work} with {one.name} of {one.provider} ({one.door.value}), on this worker "
            f"it is {other}: install the same version for both, start both anew, and start the {work} again"
        )


_DECLARED: Mapping[Door, Callable[[], Declared[Any]]] = {
    Door.SPACES: declared_spaces,
    Door.ALGORITHMS: declared_algorithms,
    Door.DATASETS: declared_datasets,
    Door.METRICS: all_metrics,
}
