"""The search spaces by id. Adding one is a new entry in `_FACTORIES` and in `_TITLES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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

Factory = Callable[[Mapping[str, JsonValue]], SearchSpace]


def _spos(parameters: Mapping[str, JsonValue]) -> SearchSpace:
    return ShuffleNetSpace(read_parameters(ShuffleNetParameters, parameters))


def _scarlet_s1(parameters: Mapping[str, JsonValue]) -> SearchSpace:
    return MobileNetSpace(S1, read_parameters(MobileNetParameters, parameters))


def _scarlet_s2(parameters: Mapping[str, JsonValue]) -> SearchSpace:
    return MobileNetSpace(S2, read_parameters(MobileNetParameters, parameters))


def _densenas_mbv2(parameters: Mapping[str, JsonValue]) -> SearchSpace:
    return DenseSpace(read_parameters(DenseMbv2Parameters, parameters))


def _densenas_resnet(parameters: Mapping[str, JsonValue]) -> SearchSpace:
    return DenseSpace(read_parameters(DenseResNetParameters, parameters))


def _attentivenas(parameters: Mapping[str, JsonValue]) -> SearchSpace:
    return AttentiveSpace(read_parameters(AttentiveParameters, parameters))


_FACTORIES: dict[str, Factory] = {
    "spos": _spos,
    "scarlet-s1": _scarlet_s1,
    "scarlet-s2": _scarlet_s2,
    MBV2_ID: _densenas_mbv2,
    RESNET_ID: _densenas_resnet,
    "attentivenas": _attentivenas,
}


_TITLES: dict[str, str] = {
    "spos": "ShuffleNetV2 choice blocks (Single Path One-Shot, supernet shifting)",
    "scarlet-s1": "SCARLET-NAS S1: MobileNetV2 blocks with skips, ReLU6",
    "scarlet-s2": "SCARLET-NAS S2: MobileNetV2 blocks with skips and squeeze-and-excite, h-swish",
    MBV2_ID: "DenseNAS, MobileNetV2-based densely connected blocks",
    RESNET_ID: "DenseNAS, ResNet-based densely connected blocks",
    "attentivenas": "AttentiveNAS / AlphaNet elastic width, depth, kernel, expansion and resolution",
}


def space_title(space_id: str) -> str:
    """One line for people; the id itself where there is none."""
    return _TITLES.get(space_id, space_id)


def space_ids() -> tuple[str, ...]:
    """Every registered id, in the order they are documented."""
    return tuple(_FACTORIES)


def create_space(space_id: str, parameters: Mapping[str, JsonValue] | None = None) -> SearchSpace:
    """The space with this id; absent parameters take the published values.

    Raises:
        InvalidSpaceError: unknown id, unknown parameter, or a value the space refuses.
    """
    if space_id not in _FACTORIES:
        raise InvalidSpaceError(f"unknown search space {space_id!r}: known are {', '.join(_FACTORIES)}")
    return _FACTORIES[space_id](parameters or {})
