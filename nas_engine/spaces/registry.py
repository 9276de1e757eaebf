"""The search spaces by id. Adding one is a new entry in `_SPACES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from nas_engine.domain.errors import InvalidSpaceError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.search_space import SearchSpace
from nas_engine.spaces.attentive.parameters import AttentiveParameters
from nas_engine.spaces.attentive.space import AttentiveSpace
from nas_engine.spaces.densenas.parameters import DenseMbv2Parameters, DenseResNetParameters
from nas_engine.spaces.densenas.space import MBV2_ID, RESNET_ID, DenseSpace
from nas_engine.spaces.mobilenet import S1, S2, MobileNetParameters, MobileNetSpace
from nas_engine.spaces.parameters import read_parameters
from nas_engine.spaces.shufflenet import ShuffleNetParameters, ShuffleNetSpace

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class BuiltInSpace:
    """A search space that ships with the engine.

    Attributes:
        title: one line for people.
        create: builds it from parameters; absent ones take the published values.
    """

    title: str
    create: Callable[[Mapping[str, JsonValue]], SearchSpace]


def _built_in(title: str, parameters: type[P], build: Callable[[P], SearchSpace]) -> BuiltInSpace:
    return BuiltInSpace(title, lambda document: build(read_parameters(parameters, document)))


_SPACES: dict[str, BuiltInSpace] = {
    "spos": _built_in(
        "ShuffleNetV2 choice blocks (Single Path One-Shot, supernet shifting)", ShuffleNetParameters, ShuffleNetSpace
    ),
    "scarlet-s1": _built_in(
        "SCARLET-NAS S1: MobileNetV2 blocks with skips, ReLU6", MobileNetParameters, partial(MobileNetSpace, S1)
    ),
    "scarlet-s2": _built_in(
        "SCARLET-NAS S2: MobileNetV2 blocks with skips and squeeze-and-excite, h-swish",
        MobileNetParameters,
        partial(MobileNetSpace, S2),
    ),
    MBV2_ID: _built_in("DenseNAS, MobileNetV2-based densely connected blocks", DenseMbv2Parameters, DenseSpace),
    RESNET_ID: _built_in("DenseNAS, ResNet-based densely connected blocks", DenseResNetParameters, DenseSpace),
    "attentivenas": _built_in(
        "AttentiveNAS / AlphaNet elastic width, depth, kernel, expansion and resolution",
        AttentiveParameters,
        AttentiveSpace,
    ),
}


def space_title(space_id: str) -> str:
    """Title of a space, one line for people; the id itself where there is none."""
    return _SPACES[space_id].title if space_id in _SPACES else space_id


def space_ids() -> tuple[str, ...]:
    """List every registered id, in the order they are documented."""
    return tuple(_SPACES)


def create_space(space_id: str, parameters: Mapping[str, JsonValue] | None = None) -> SearchSpace:
    """Build the space with this id; absent parameters take the published values.

    Raises:
        InvalidSpaceError: unknown id, unknown parameter, or a value the space refuses.
    """
    if space_id not in _SPACES:
        raise InvalidSpaceError(f"unknown search space {space_id!r}: known are {', '.join(_SPACES)}")
    return _SPACES[space_id].create(parameters or {})
