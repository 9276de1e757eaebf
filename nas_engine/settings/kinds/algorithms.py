"""The search algorithms by name, shipped with hilnas or brought by others, and the field of a spec that takes them.

What ships is typed: its settings stand in the schema of a search spec. What others bring is taken as it is given, and
is checked by its own declaration where a search is launched (`algorithm_faults`) and where it is made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Union, cast

from pydantic import ConfigDict, Field, ValidatorFunctionWrapHandler, WrapSerializer, WrapValidator, model_validator

from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.domain.plugins.declarations import AlgorithmDeclaration, AlgorithmForm, SearchedSpaces
from nas_engine.domain.plugins.door_survey import Survey, called_in_process
from nas_engine.domain.plugins.doors import Declaration, Declared, Door, PluginError, declared, entries
from nas_engine.domain.plugins.survey import surveyed_door
from nas_engine.domain.text import did_you_mean
from nas_engine.settings.algorithms import (
    BinnedEvolutionSettings,
    Nsga2Settings,
    PredictorAssistedSettings,
    RandomSearchSettings,
    ScarletNsga2Settings,
    SposEvolutionSettings,
)
from nas_engine.settings.base import CheckpointedSettings, Identifier, ProposingSettings
from nas_engine.settings.densenas import DenseNasSettings
from nas_engine.settings.kinds.declared import SettingsError, read_settings, settings_schema


def _ships(
    settings: type[ProposingSettings],
    implementation: str,
    form: AlgorithmForm = AlgorithmForm.ASK_TELL,
    spaces: SearchedSpaces = SearchedSpaces.ANY,
) -> AlgorithmDeclaration:
    title = (settings.__doc__ or "").partition("\n")[0].rstrip(".:")
    return AlgorithmDeclaration(
        name=settings.model_fields["kind"].default,
        title=title,
        implementation=implementation,
        settings=settings,
        shifts=not settings.NO_SHIFTING,
        form=form,
        spaces=spaces,
    )


_SEARCH = "nas_engine.search.algorithms"
BUILT_IN = (
    _ships(Nsga2Settings, f"{_SEARCH}.nsga2:Nsga2"),
    _ships(RandomSearchSettings, f"{_SEARCH}.random_search:RandomSearch"),
    _ships(ScarletNsga2Settings, f"{_SEARCH}.scarlet:ScarletNsga2"),
    _ships(SposEvolutionSettings, f"{_SEARCH}.spos_evolution:SposEvolution"),
    _ships(BinnedEvolutionSettings, f"{_SEARCH}.binned_evolution:BinnedEvolution"),
    _ships(PredictorAssistedSettings, f"{_SEARCH}.predictor_assisted:PredictorAssistedSearch"),
    _ships(
        DenseNasSettings,
        "nas_engine.search.densenas:search_architecture",
        AlgorithmForm.DERIVATION,
        SearchedSpaces.DENSE,
    ),
)
"""Algorithms that ship with hilnas, in the order they are documented."""

BUILT_IN_NAMES = tuple(declaration.name for declaration in BUILT_IN)


class BroughtAlgorithmSettings(CheckpointedSettings):
    """Settings of an algorithm that a package brings, as they were given; its declaration says what they may be."""

    model_config = ConfigDict(extra="allow")

    NO_SHIFTING = ""

    kind: Identifier
    """Name of the algorithm; `GET /api/v1/algorithms` lists them with the JSON schemas of their settings."""

    @model_validator(mode="after")
    def _is_json(self) -> BroughtAlgorithmSettings:
        canonical_json(self.given())
        return self

    def given(self) -> dict[str, JsonValue]:
        """Return the settings alone, without the name of the algorithm."""
        return dict(self.model_extra or {})


def _taken(value: Any, of_shipped: ValidatorFunctionWrapHandler) -> Any:
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    if isinstance(value, BroughtAlgorithmSettings) or (isinstance(kind, str) and kind not in BUILT_IN_NAMES):
        return BroughtAlgorithmSettings.model_validate(value)
    return of_shipped(value)


def _written(value, of_shipped, info):  # type: ignore[no-untyped-def]  # an annotation would become the schema
    return value.model_dump(mode=info.mode) if isinstance(value, BroughtAlgorithmSettings) else of_shipped(value)


if TYPE_CHECKING:
    AlgorithmSettings = ProposingSettings
else:
    AlgorithmSettings = Annotated[
        Union[tuple(declaration.settings for declaration in BUILT_IN)],
        Field(discriminator="kind"),
        WrapValidator(_taken),
        WrapSerializer(_written),
    ]
"""Settings of any algorithm: one of those that ship, told by their `kind`, or one that a package brings."""


@cache
def surveyed_algorithms() -> Survey:
    """What the installed packages bring, each described by a document; none of them is imported here."""
    return surveyed_door(Door.ALGORITHMS, BUILT_IN_NAMES)


@cache
def declared_algorithms() -> Declared[AlgorithmDeclaration]:
    """Every algorithm that can be used, by name. For workers: declarations of others are imported."""
    return declared(Door.ALGORITHMS, AlgorithmDeclaration, BUILT_IN, refused=surveyed_algorithms().problems)


def describe_algorithm(declaration: Declaration, argument: JsonValue) -> JsonValue:
    """Describe what a package declares, for lists and forms.

    Raises:
        PluginError, pydantic errors: it is none that searches can be run with.
    """
    del argument
    if not isinstance(declaration, AlgorithmDeclaration) or declaration.form is not AlgorithmForm.ASK_TELL:
        raise TypeError(f"{declaration.name} is none that asks and is told: only such algorithms can be brought")
    return {
        "title": declaration.title,
        "settings_schema": settings_schema(declaration),
        "max_objectives": declaration.max_objectives,
        "shifts": declaration.shifts,
        "spaces": declaration.spaces.value,
    }


def searched_spaces(kind: str) -> SearchedSpaces:
    """Which spaces an algorithm searches; any where no package that is installed brings it."""
    for declaration in BUILT_IN:
        if declaration.name == kind:
            return declaration.spaces
    found = surveyed_algorithms().found.get(kind)
    return SearchedSpaces.ANY if found is None else SearchedSpaces(cast("dict[str, str]", found.description)["spaces"])


def deriving_settings(settings: ProposingSettings) -> DenseNasSettings | None:
    """Settings of an algorithm that derives architectures from a training; None of one that asks and is told."""
    deriving = {declaration.name for declaration in BUILT_IN if declaration.form is AlgorithmForm.DERIVATION}
    return cast("DenseNasSettings", settings) if settings.kind in deriving else None


def check_brought(settings: ProposingSettings) -> None:
    """Refuse the settings of an algorithm that neither ships nor is brought by a package.

    Raises:
        PluginError: says which are known.
    """
    if settings.kind not in BUILT_IN_NAMES and settings.kind not in (entry.name for entry in entries(Door.ALGORITHMS)):
        known = (*BUILT_IN_NAMES, *surveyed_algorithms().found)
        near = did_you_mean(settings.kind, known)
        raise PluginError(f"unknown algorithm {settings.kind!r}: known are {', '.join(known)}{near}")


def algorithm_faults(
    settings: ProposingSettings, objectives: Sequence[str], *, shifting: bool
) -> tuple[tuple[str, str], ...]:
    """Find what is wrong with the settings of an algorithm that a package brings: (JSON pointer in the spec, message).

    Its own declaration is asked, in a process of its own: nothing of it is imported here. Equal questions are answered
    from memory. Those of algorithms that ship were checked when the spec was read.

    Raises:
        PluginError: no package brings it, or the one that does cannot be used.
    """
    check_brought(settings)
    if not isinstance(settings, BroughtAlgorithmSettings):
        return ()
    return _faults(settings.kind, canonical_json(settings.given()), tuple(objectives), shifting)


@lru_cache(maxsize=256)
def _faults(kind: str, given: str, objectives: tuple[str, ...], shifting: bool) -> tuple[tuple[str, str], ...]:
    argument: JsonValue = {"given": given, "objectives": list(objectives), "shifting": shifting}
    answer = called_in_process(
        Door.ALGORITHMS, AlgorithmDeclaration, f"{__name__}:faults_of", kind, argument, shipped=BUILT_IN_NAMES
    )
    return tuple((str(pointer), str(message)) for pointer, message in cast("list[list[str]]", answer))


def faults_of(declaration: AlgorithmDeclaration, argument: dict[str, Any]) -> JsonValue:
    """Answer `algorithm_faults`; called in the process that looks at packages."""
    objectives, faults = argument["objectives"], []
    try:
        settings = read_settings(declaration, json.loads(argument["given"]))
        if hasattr(settings, "check_metrics"):
            settings.check_metrics(objectives, frozenset(objectives))
    except SettingsError as error:
        faults += [["".join(f"/{part}" for part in ("algorithm", *path)), message] for path, message in error.faults]
    except ValueError as error:
        faults.append(["/algorithm", str(error)])
    most = declaration.max_objectives
    if most is not None and len(objectives) > most:
        message = f"{declaration.name} serves {most} objectives at most, these are {len(objectives)}"
        faults.append(["/objectives", f"{message}: bound the others as constraints"])
    if argument["shifting"] and not declaration.shifts:
        faults.append(["/shifting", f"shifting does not go with {declaration.name}: its package does not say so"])
    return cast("JsonValue", faults)
