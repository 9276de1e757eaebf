"""What each of several processes that derive a network together is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nas_engine.cost.routing_costs import read_published_layout
from nas_engine.domain.errors import InvalidSpaceError
from nas_engine.domain.search_space import SearchSpace
from nas_engine.settings.base import SpaceSpec
from nas_engine.settings.densenas import DenseNasSettings
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.training.data.source import DatasetSource, open_dataset
from server.searches.worker.deriving.run import DerivationRun
from server.spaces.catalog import SpaceCatalog
from server.training.worker.order import ProcessOrder


class DerivationOrder(ProcessOrder):
    """One derivation that several processes share.

    Attributes:
        settings, number, seed: as of `DerivationRun`.
        space: that is searched.
        dataset: what the settings' data set is on this host.
        costs, cost_unit: what networks pay for, in the published arrangement.
    """

    CHILD = "server.searches.worker.deriving.child"

    settings: DenseNasSettings
    number: int
    seed: int
    space: SpaceSpec
    dataset: DatasetSource
    costs: Any  # JSON
    cost_unit: str

    def run(self) -> DerivationRun:
        """The run, read from this host's files. Raises EngineError."""
        space = dense_space(SpaceCatalog().space(self.space.id, self.space.parameters))
        return DerivationRun(
            settings=self.settings,
            number=self.number,
            seed=self.seed,
            space=space,
            costs=read_published_layout(self.costs, space.routing, self.cost_unit),
            dataset=replace(open_dataset(self.dataset), name=self.settings.dataset),
            checkpoint=self.checkpoint,
            pixels=self.pixels,
        )


def dense_space(space: SearchSpace) -> DenseSpace:
    """The space as one of DenseNAS's. Raises InvalidSpaceError: it is none."""
    if not isinstance(space, DenseSpace):
        raise InvalidSpaceError(f"densenas searches densely connected spaces, {space.space_id!r} is none")
    return space
