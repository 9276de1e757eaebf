"""A recipe: everything that decides a supernet training or a retraining, as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Union, cast

from nas_engine.domain.errors import TrainingError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.search_space import SearchSpace
from nas_engine.spaces.registry import create_space
from nas_engine.training.config import TrainConfig
from nas_engine.training.documents import from_document, to_document
from nas_engine.training.strategies.fair import FairConfig, FairStrategy
from nas_engine.training.strategies.retrain import RetrainConfig
from nas_engine.training.strategies.sandwich import SandwichConfig, SandwichStrategy
from nas_engine.training.strategies.strategy import TrainingStrategy
from nas_engine.training.strategies.uniform import UniformConfig, UniformStrategy

StrategyConfig = Union[UniformConfig, FairConfig, SandwichConfig, RetrainConfig]


class StrategyKind(Enum):
    """Ways of training whose config is part of a recipe."""

    UNIFORM = "uniform"
    FAIR = "fair"
    SANDWICH = "sandwich"
    RETRAIN = "retrain"

    @property
    def config_type(self) -> type[StrategyConfig]:
        """The config that goes with it."""
        return _CONFIGS[self]


_CONFIGS: dict[StrategyKind, type[StrategyConfig]] = {
    StrategyKind.UNIFORM: UniformConfig,
    StrategyKind.FAIR: FairConfig,
    StrategyKind.SANDWICH: SandwichConfig,
    StrategyKind.RETRAIN: RetrainConfig,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePreparation:
    """How images of any data set are prepared for the recipe.

    Attributes:
        image_size, channels: None keeps the data set's.
        centre_crop: share of the shorter side that evaluation keeps (ImageNet: 0.875).
        validation_fraction: held out of the training images.
    """

    image_size: int | None = None
    channels: int | None = None
    centre_crop: float = 1.0
    validation_fraction: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way to train.

    Attributes:
        name: stable.
        source: where the numbers come from, and which of them are ours.
        space_id, space_parameters: absent parameters take the published values.
        strategy: its type decides what is done.
    """

    name: str
    source: str
    space_id: str
    space_parameters: Mapping[str, JsonValue] = field(default_factory=dict)
    images: ImagePreparation = field(default_factory=ImagePreparation)
    train: TrainConfig
    strategy: StrategyConfig

    @property
    def kind(self) -> StrategyKind:
        """What is done."""
        return next(kind for kind in StrategyKind if isinstance(self.strategy, kind.config_type))

    def space(self) -> SearchSpace:
        """The space.

        Raises:
            InvalidSpaceError: it does not exist, or refuses its parameters.
        """
        return create_space(self.space_id, self.space_parameters)

    def to_json(self) -> JsonValue:
        """The document; `from_json` reads it."""
        return {
            "name": self.name,
            "source": self.source,
            "space_id": self.space_id,
            "space_parameters": dict(self.space_parameters),
            "images": to_document(self.images),
            "train": to_document(self.train),
            "strategy": {"kind": self.kind.value, "config": to_document(self.strategy)},
        }

    @classmethod
    def from_json(cls, document: JsonValue) -> Recipe:
        """Read a document.

        Raises:
            TrainingError: a key is unknown, missing, or holds what its setting refuses.
        """
        required = {"name", "source", "space_id", "train", "strategy"}
        if not isinstance(document, Mapping) or required - set(document):
            raise TrainingError(f"a recipe is an object with {', '.join(sorted(required))}")
        unknown = set(document) - required - {"space_parameters", "images"}
        if unknown:
            raise TrainingError(f"the recipe has the unknown key {sorted(unknown)[0]!r}")
        strategy = document["strategy"]
        if not isinstance(strategy, Mapping) or set(strategy) - {"kind", "config"} or "kind" not in strategy:
            raise TrainingError("the recipe's strategy is an object with kind and config")
        try:
            kind = StrategyKind(strategy["kind"])
        except ValueError:
            known = ", ".join(k.value for k in StrategyKind)
            raise TrainingError(f"unknown strategy {strategy['kind']!r}: known are {known}") from None
        return cls(
            name=str(document["name"]),
            source=str(document["source"]),
            space_id=str(document["space_id"]),
            space_parameters=cast(Mapping[str, JsonValue], document.get("space_parameters", {})),
            images=from_document(ImagePreparation, document.get("images", {}), "images"),
            train=from_document(TrainConfig, document["train"], "train"),
            strategy=from_document(kind.config_type, strategy.get("config", {}), "strategy.config"),
        )


def make_strategy(space: SearchSpace, config: StrategyConfig) -> TrainingStrategy:
    """The supernet training strategy of a config.

    Raises:
        TrainingError: the config is for retraining one architecture, or the strategy refuses the space.
    """
    match config:
        case UniformConfig():
            return UniformStrategy(space, config)
        case FairConfig():
            return FairStrategy(space, config)
        case SandwichConfig():
            return SandwichStrategy(space, config)
        case RetrainConfig():
            raise TrainingError("a retraining recipe trains one architecture, not a supernet: give the architecture")
