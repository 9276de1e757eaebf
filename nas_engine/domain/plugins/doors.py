"""What others bring: declarations found through entry points, each with the package and version it came from.

A package brings something by an entry point whose object is a light declaration (no torch)::

    [project.entry-points."hilnas.spaces"]
    tiny = "my_package:TINY"

What ships with hilnas is declared in the same values and read by the same function, `declared`, from a tuple in the
code, so that a checkout works without being installed again. Whatever is wrong with one entry point is a named problem
of that entry point and takes nothing else down; one that hangs or ends its process is found by `door_survey` first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import Any, Generic, TypeVar

from nas_engine.domain.errors import EngineError
from nas_engine.domain.text import did_you_mean

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class Door(Enum):
    """Kinds of things that others may bring, by the group of their entry points."""

    SPACES = "hilnas.spaces"
    ALGORITHMS = "hilnas.algorithms"
    METRICS = "hilnas.metrics"
    RUNTIMES = "hilnas.runtimes"
    DATASETS = "hilnas.datasets"


class PluginError(EngineError):
    """What a package brought cannot be used, or misbehaved; the message names it and its package."""


class VersionsDifferError(PluginError):
    """Work was begun with another version of a package than this process has; the message names both."""


@dataclass(frozen=True, slots=True, order=True)
class Provider:
    """Installed package, and its version, that something comes from."""

    package: str
    version: str

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """Base of what an entry point holds; each door has its own with what else must be known of its kind.

    Attributes:
        name: as documents and specs write it, and as the entry point is called.
        title: one line for people.
        implementation: where it is, `package.module:attribute`; imported only by the process that runs it.
        settings: frozen dataclass or pydantic model of its settings, every field with a default where there is a
            sensible one; None for none. Of a runtime a dataclass: agents have no pydantic.
    """

    name: str
    title: str
    implementation: str
    settings: type[Any] | None = None

    def __post_init__(self) -> None:
        if not NAME_PATTERN.fullmatch(self.name):
            raise PluginError(f"name {self.name!r}: use up to 100 letters, digits, '_', '.' and '-'")
        module, _, attribute = self.implementation.partition(":")
        if not (module and attribute):
            raise PluginError(f"implementation {self.implementation!r} of {self.name}: write package.module:attribute")

    def resolve(self) -> Any:
        """Import the implementation.

        Raises:
            PluginError: it cannot be imported, or is not there; whatever importing it raised is named.
        """
        module, _, attribute = self.implementation.partition(":")
        try:
            found: Any = import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
            return found
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit too: a package that ends its process must not end ours
            raise PluginError(f"{self.name}: {self.implementation} cannot be imported: {described(error)}") from error


D = TypeVar("D", bound=Declaration)


@dataclass(frozen=True, slots=True)
class Brought(Generic[D]):
    """A declaration, and the package and version that it came from."""

    declaration: D
    provider: Provider

    @property
    def is_built_in(self) -> bool:
        """Whether it ships with hilnas."""
        return self.provider.package == "hilnas"


@dataclass(frozen=True, slots=True)
class DoorProblem:
    """One entry point that cannot be used, and why."""

    door: Door
    name: str
    provider: Provider
    message: str

    def __str__(self) -> str:
        return f"{self.name} of {self.provider} ({self.door.value}) is left out: {self.message}"


@dataclass(frozen=True, slots=True)
class Declared(Generic[D]):
    """Everything of one door: what can be used, by name, built-in first, and what cannot."""

    door: Door
    brought: Mapping[str, Brought[D]]
    problems: tuple[DoorProblem, ...] = ()

    def get(self, name: str) -> Brought[D]:
        """Return what is called `name`.

        Raises:
            PluginError: there is none, or its package cannot be used, with the reason.
        """
        if name in self.brought:
            return self.brought[name]
        for problem in self.problems:
            if problem.name == name:
                raise PluginError(str(problem))
        known = ", ".join(self.brought)
        near = did_you_mean(name, self.brought)
        raise PluginError(f"unknown name {name!r} among {self.door.value}: known are {known}{near}")


@dataclass(frozen=True, slots=True)
class DoorEntry:
    """One installed entry point, not loaded yet."""

    door: Door
    name: str
    provider: Provider
    point: EntryPoint = field(compare=False)

    def problem(self, message: str) -> DoorProblem:
        """Return the fault of this entry point."""
        return DoorProblem(self.door, self.name, self.provider, message)


@lru_cache(maxsize=1)
def own_provider() -> Provider:
    """Package and version of what ships with hilnas."""
    try:
        return Provider("hilnas", version("hilnas"))
    except PackageNotFoundError:  # run from a checkout
        return Provider("hilnas", "0+checkout")


def entries(door: Door) -> tuple[DoorEntry, ...]:
    """List the installed entry points of a door, sorted by name and package; nothing is imported."""
    found = []
    for point in entry_points(group=door.value):
        package = Provider(point.dist.name, point.dist.version) if point.dist else Provider("unknown", "0")
        found.append(DoorEntry(door, point.name, package, point))
    return tuple(sorted(found, key=lambda entry: (entry.name, entry.provider)))


def usable_entries(door: Door, shipped: Iterable[str]) -> tuple[tuple[DoorEntry, ...], tuple[DoorProblem, ...]]:
    """Part the installed entry points of a door into those whose name is theirs alone, and problems.

    Args:
        shipped: names of what ships with hilnas; they cannot be taken.
    """
    taken, installed = frozenset(shipped), entries(door)
    usable: list[DoorEntry] = []
    problems: list[DoorProblem] = []
    for entry in installed:
        rivals = [str(e.provider) for e in installed if e.name == entry.name and e is not entry]
        if entry.name in taken:
            problems.append(entry.problem("hilnas itself has one of that name: choose another"))
        elif rivals:
            # Which of them is meant cannot be known, and a search of yesterday must not run on another today.
            problems.append(entry.problem(f"{', '.join(rivals)} brings the same name: uninstall all but one"))
        else:
            usable.append(entry)
    return tuple(usable), tuple(problems)


def declared(
    door: Door, kind: type[D], built_in: Iterable[D] = (), *, refused: Iterable[DoorProblem] = ()
) -> Declared[D]:
    """Read every declaration of a door: what ships with hilnas, then what is installed.

    Args:
        kind: type that each declaration must have.
        built_in: what ships with hilnas; its names cannot be taken by others.
        refused: entry points that are known not to be usable (`door_survey`); they are not imported.
    """
    brought = {declaration.name: Brought(declaration, own_provider()) for declaration in built_in}
    usable, problems = usable_entries(door, tuple(brought))
    known = {(problem.name, problem.provider): problem for problem in (*refused, *problems)}
    for entry in usable:
        if (entry.name, entry.provider) not in known:
            found = read_entry(entry, kind)
            if isinstance(found, DoorProblem):
                known[entry.name, entry.provider] = found
            else:
                brought[entry.name] = Brought(found, entry.provider)
    return Declared(door, brought, tuple(known.values()))


def read_entry(entry: DoorEntry, kind: type[D]) -> D | DoorProblem:
    """Import one entry point; return its declaration, or what is wrong with it."""
    try:
        found = entry.point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a package that ends its process must not end ours
        return entry.problem(f"{entry.point.value} cannot be imported: {described(error)}")
    if not isinstance(found, kind):
        return entry.problem(f"{entry.point.value} is a {type(found).__name__}: it must be a {kind.__name__}")
    if found.name != entry.name:
        return entry.problem(f"its declaration is called {found.name!r}: give both the same name")
    return found


def described(error: BaseException) -> str:
    """Write an exception in one bounded line, with its type."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
