"""What of a training other packages bring: its space and its data set."""

from __future__ import annotations

from nas_engine.domain.plugins.doors import Door
from nas_engine.settings.base import SpaceSpec
from server.candidates.search import UsedPlugin
from server.candidates.used_plugins import from_packages
from server.spaces.catalog import SpaceCatalog
from server.spaces.datasets import DatasetCatalog


def plugins_of(
    spaces: SpaceCatalog, datasets: DatasetCatalog, space: SpaceSpec, dataset: str
) -> tuple[UsedPlugin, ...]:
    """Name what packages other than hilnas bring to a training that was checked."""
    used = [(Door.SPACES, space.id, spaces.describe(space.id, space.parameters).provider)]
    images = datasets.describe(dataset)
    if images is not None:
        used.append((Door.DATASETS, images.kind, images.provider))
    return from_packages(used)
