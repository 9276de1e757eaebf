"""The packages that a search was started with, held against those of this worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nas_engine.domain.metrics import all_metrics
from nas_engine.domain.plugins.doors import Declared, Door, PluginError
from nas_engine.settings.algorithm_kinds import declared_algorithms
from nas_engine.settings.dataset_kinds import declared_datasets
from nas_engine.spaces.registry import declared_spaces
from server.candidates.search import Search


def check_plugins(search: Search) -> None:
    """Refuse a search of which this worker has other versions, or nothing.

    Raises:
        PluginError: names what differs, with both versions.
    """
    for used in search.plugins:
        here = _DECLARED[used.door]()
        found = here.brought.get(used.name)
        if found is not None and found.provider == used.provider:
            continue
        problem = next((problem.message for problem in here.problems if problem.name == used.name), "")
        other = f"not usable ({problem})" if problem else "not installed"
        if found is not None:
            other = f"of {found.provider}"
        raise PluginError(
            f"the server started this search with {used.name} of {used.provider} ({used.door.value}), on this worker "
            f"it is {other}: install the same version for both, start both anew, and start the search again"
        )


_DECLARED: Mapping[Door, Callable[[], Declared[Any]]] = {
    Door.SPACES: declared_spaces,
    Door.ALGORITHMS: declared_algorithms,
    Door.DATASETS: declared_datasets,
    Door.METRICS: all_metrics,
}
