"""What specs may name, and who brings it, on the wire."""

from __future__ import annotations

from nas_engine.domain.metric import Goal, MetricSource
from nas_engine.domain.plugins.declarations import SearchedSpaces
from server.core.http.resources import Json, Resource


class ProvidedResource(Resource):
    """Something that specs may name, with the package that brings it."""

    name: str
    """Name that specs give it by."""

    title: str
    """Title for people, one line, from its declaration."""

    package: str
    """Installed package that brings it; `hilnas` for what ships with the server."""

    version: str
    """Version of that package, as it is installed on the server."""

    settings_schema: dict[str, Json]
    """JSON schema of its settings, from its declaration: what forms and commands ask for."""


class AlgorithmResource(ProvidedResource):
    """A search algorithm; a search spec names it as `algorithm.kind`, with its settings beside."""

    max_objectives: int | None
    """Largest number of objectives it serves; null where its declaration sets no limit."""

    shifts: bool
    """Whether the supernet may be shifted during its searches."""

    spaces: SearchedSpaces = SearchedSpaces.ANY
    """Spaces that it searches: any; those with networks, so no table of results; or densely connected ones."""


class DatasetKindResource(ProvidedResource):
    """A kind of data set, which entries of the operator's data set file name."""

    num_classes: int | None
    """Number of classes of its images; null where it differs from data set to data set."""


class MetricResource(ProvidedResource):
    """A metric that candidates are judged by; objectives, constraints, filters and orders name it."""

    label: str = ""
    """What pages call it; its name where its declaration gives nothing else."""

    unit: str
    """Unit of its values; empty for plain numbers."""

    goal: Goal
    """Direction in which values are better, unless a search says otherwise."""

    source: MetricSource
    """Where its values come from: the layer graph, an evaluation by a worker, or a measurement by a device."""

    searched: bool
    """Whether objectives and constraints may name it; others are reported at the end of a search alone."""

    minimum: float | None
    """Smallest value that it can have; null where there is no bound."""

    maximum: float | None
    """Largest value that it can have; null where there is no bound."""


class PluginResource(Resource):
    """Something that an installed package brings."""

    door: str
    """Group of the entry point, such as `hilnas.spaces`."""

    name: str
    """Name of the entry point, which specs give it by."""

    package: str
    """Installed package that brings it."""

    version: str
    """Version of that package, as it is installed on the server."""

    problem: str | None
    """Reason why it cannot be used; null where it can."""
