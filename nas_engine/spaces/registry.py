"""The search spaces by id: those that ship with hilnas, then those that installed packages bring.

A space of the engine is one more entry of `BUILT_IN`; anybody else's is an entry point, `hilnas.spaces`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from nas_engine.domain.errors import InvalidSpaceError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.plugins.apart import is_kept_apart, process_of
from nas_engine.domain.plugins.declarations import SpaceDeclaration
from nas_engine.domain.plugins.doors import Brought, Declared, Door, DoorProblem, Provider, declared
from nas_engine.domain.plugins.guard import Guard
from nas_engine.domain.plugins.survey import surveyed_door
from nas_engine.domain.search_space import SearchSpace
from nas_engine.domain.text import did_you_mean
from nas_engine.settings.kinds.declared import read_settings, settings_schema
from nas_engine.spaces.apart import SpaceApart
from nas_engine.spaces.attentive.parameters import AttentiveParameters
from nas_engine.spaces.brought import BroughtSpace, probe
from nas_engine.spaces.densenas.parameters import DenseMbv2Parameters, DenseResNetParameters
from nas_engine.spaces.mobilenet import MobileNetParameters
from nas_engine.spaces.parameters import read_parameters
from nas_engine.spaces.shufflenet import ShuffleNetParameters


def _ships(name: str, title: str, settings: type[Any], place: str) -> SpaceDeclaration:
    return SpaceDeclaration(name=name, title=title, settings=settings, implementation=f"nas_engine.spaces.{place}")


BUILT_IN = (
    _ships(
        "spos",
        "ShuffleNetV2 choice blocks (Single Path One-Shot, supernet shifting)",
        ShuffleNetParameters,
        "shufflenet:ShuffleNetSpace",
    ),
    _ships(
        "scarlet-s1",
        "SCARLET-NAS S1: MobileNetV2 blocks with skips, ReLU6",
        MobileNetParameters,
        "mobilenet:S1.space",
    ),
    _ships(
        "scarlet-s2",
        "SCARLET-NAS S2: MobileNetV2 blocks with skips and squeeze-and-excite, h-swish",
        MobileNetParameters,
        "mobilenet:S2.space",
    ),
    _ships(
        "densenas-mbv2",
        "DenseNAS, MobileNetV2-based densely connected blocks",
        DenseMbv2Parameters,
        "densenas.space:DenseSpace",
    ),
    _ships(
        "densenas-resnet",
        "DenseNAS, ResNet-based densely connected blocks",
        DenseResNetParameters,
        "densenas.space:DenseSpace",
    ),
    _ships(
        "attentivenas",
        "AttentiveNAS / AlphaNet elastic width, depth, kernel, expansion and resolution",
        AttentiveParameters,
        "attentive.space:AttentiveSpace",
    ),
)
"""Spaces that ship with hilnas, in the order they are documented."""

BUILT_IN_IDS = tuple(declaration.name for declaration in BUILT_IN)


@cache
def declared_spaces() -> Declared[SpaceDeclaration]:
    """Every space that can be used, by id, and the packages that bring none that can.

    What installed packages bring is looked at, and tried out with its default parameters, in a process of its own
    before it is imported here; that is done once.
    """
    refused = surveyed_door(Door.SPACES, BUILT_IN_IDS).problems
    return declared(Door.SPACES, SpaceDeclaration, BUILT_IN, refused=refused)


def examine_space(declaration: SpaceDeclaration, argument: JsonValue) -> JsonValue:
    """Try a space out; called in the process that looks at packages.

    Raises:
        EngineError: it cannot be made, or answers nonsense.
    """
    del argument
    schema = settings_schema(declaration)
    probe(_make(declaration, {}), declaration.name)
    return schema


def space_title(space_id: str) -> str:
    """Title of a space, one line for people; the id itself where there is none."""
    found = declared_spaces().brought.get(space_id)
    return space_id if found is None else found.declaration.title


def space_provider(space_id: str) -> Provider | None:
    """Package that brings a space, and its version; None where there is none of that id."""
    found = declared_spaces().brought.get(space_id)
    return None if found is None else found.provider


@cache
def parameters_schema(space_id: str) -> JsonValue:
    """JSON schema of the parameters of a space; None where there is none of that id."""
    found = declared_spaces().brought.get(space_id)
    return None if found is None else settings_schema(found.declaration)


def space_ids() -> tuple[str, ...]:
    """List every id, in the order they are documented, what others bring last."""
    return tuple(declared_spaces().brought)


def space_problems() -> tuple[DoorProblem, ...]:
    """List the installed packages whose spaces cannot be used, and why."""
    return declared_spaces().problems


def create_space(space_id: str, parameters: Mapping[str, JsonValue] | None = None) -> SearchSpace:
    """Build the space with this id; absent parameters take the published values.

    Raises:
        InvalidSpaceError: unknown id, unknown parameter, or a value the space refuses.
        SettingsError: the same of a space that others bring, with every parameter that is wrong.
        PluginError: a space that others bring misbehaves.
    """
    spaces = declared_spaces()
    found = spaces.brought.get(space_id)
    if found is None:
        for problem in spaces.problems:
            if problem.name == space_id:
                raise InvalidSpaceError(f"search space {problem}")
        known = ", ".join(spaces.brought)
        near = did_you_mean(space_id, spaces.brought)
        raise InvalidSpaceError(f"unknown search space {space_id!r}: known are {known}{near}")
    given = parameters or {}
    if found.is_built_in:
        values = read_parameters(cast("type[Any]", found.declaration.settings), given)
        return cast(SearchSpace, found.declaration.resolve()(values))
    guard = _guard(found)
    if not is_kept_apart():
        return BroughtSpace(guard.call("making it", lambda: _make(found.declaration, given)), space_id, guard)
    guard.call("reading its parameters", lambda: read_settings(found.declaration, given))  # each fault in its place
    process = process_of(Door.SPACES, SpaceDeclaration, found)
    return BroughtSpace(guard.call("making it", lambda: SpaceApart(process, given)), space_id, guard)


@cache
def _guard(found: Brought[SpaceDeclaration]) -> Guard:
    return Guard(found)


def _make(declaration: SpaceDeclaration, parameters: Mapping[str, JsonValue]) -> SearchSpace:
    values = read_settings(declaration, parameters)
    make = declaration.resolve()
    return cast(SearchSpace, make() if declaration.settings is None else make(values))
