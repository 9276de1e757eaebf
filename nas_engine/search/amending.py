"""Algorithms that go on under other constraints than they began with."""

from __future__ import annotations

from collections.abc import Sequence

from nas_engine.domain.errors import SearchStateError
from nas_engine.domain.json_value import JsonValue
from nas_engine.search.algorithm import Observation, SearchAlgorithm
from nas_engine.search.base import BaseSearchAlgorithm


def load_amended_state(algorithm: SearchAlgorithm, state: JsonValue) -> None:
    """Resume an algorithm, made for the constraints as they are now, from its state under those before.

    Raises:
        SearchStateError: a package brings it, so that it cannot be told; or as `SearchAlgorithm.load_state`.
    """
    _ours(algorithm).load_amended_state(state)


def reconsider(algorithm: SearchAlgorithm, results: Sequence[Observation]) -> None:
    """Revise told candidates by the constraints as they are now, and choose what to go on with anew.

    Raises:
        SearchStateError: a package brings it; or as `SearchAlgorithm.revise`.
    """
    _ours(algorithm).reconsider(results)


def _ours(algorithm: SearchAlgorithm) -> BaseSearchAlgorithm:
    if not isinstance(algorithm, BaseSearchAlgorithm):
        raise SearchStateError("an algorithm that a package brings does not take other constraints: clone the search")
    return algorithm
