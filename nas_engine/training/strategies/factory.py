"""One way to make the training strategy of a supernet from its settings."""

from __future__ import annotations

from typing import assert_never

from nas_engine.domain.search_space import SearchSpace
from nas_engine.settings.strategies import (
    FairSettings,
    MacsBinnedSettings,
    SandwichSettings,
    StrategySettings,
    UniformSettings,
)
from nas_engine.training.strategies.fair import FairStrategy
from nas_engine.training.strategies.sandwich import SandwichStrategy
from nas_engine.training.strategies.strategy import TrainingStrategy
from nas_engine.training.strategies.uniform import UniformStrategy


def create_strategy(space: SearchSpace, settings: StrategySettings, *, label_smoothing: float) -> TrainingStrategy:
    """Make the strategy of `settings`.

    Raises:
        TrainingError: the strategy refuses the space.
    """
    match settings:
        case UniformSettings() | MacsBinnedSettings():
            return UniformStrategy(space, settings, label_smoothing=label_smoothing)
        case FairSettings():
            return FairStrategy(space, label_smoothing=label_smoothing)
        case SandwichSettings():
            return SandwichStrategy(space, settings, label_smoothing=label_smoothing)
        case _:
            assert_never(settings)
