"""What handlers share: images, supernets and the host's timing lock. Loaded once, kept while used."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from nas_engine.domain.search_space import SearchSpace
from nas_engine.settings.training import TrainingSpec
from nas_engine.supernet.weights import WeightStore
from server.artifacts.artifacts import Artifacts
from server.spaces.catalog import SpaceCatalog
from server.spaces.datasets import DatasetCatalog
from server.spaces.worker.images import ImageResources, Pause
from server.training.supernet import training_spec_of
from server.training.supernets import Supernets

MAX_SUPERNETS = 2


@dataclass(frozen=True, slots=True)
class LoadedSupernet:
    """Weights of one version, ready to run.

    Attributes:
        spec: how it was trained: space, data set, resolution.
        weights: on the worker's device, channels_last.
    """

    version_id: str
    spec: TrainingSpec
    space: SearchSpace
    weights: WeightStore


class Resources(ImageResources):
    """Everything handlers need besides their job. Thread-safe."""

    def __init__(
        self,
        *,
        spaces: SpaceCatalog,
        datasets: DatasetCatalog,
        supernets: Supernets,
        artifacts: Artifacts,
        folder: Path,
        device: torch.device,
        pause: Pause = nullcontext,
        host_lock: Path | None = None,
    ) -> None:
        """`folder` keeps weights and training checkpoints; `pause` is entered around every short torch step.

        `host_lock` is what `pause` takes, for processes that cannot be given a function.
        """
        super().__init__(spaces=spaces, datasets=datasets, artifacts=artifacts, device=device, pause=pause)
        self.supernets = supernets
        self.folder = folder
        self.host_lock = host_lock
        self._loading = threading.Lock()
        self._supernet = lru_cache(maxsize=MAX_SUPERNETS)(self._load_supernet)
        folder.mkdir(parents=True, exist_ok=True)

    def space(self, spec: TrainingSpec) -> SearchSpace:
        """The space a training spec names."""
        return self.spaces.space(spec.space.id, spec.space.parameters)

    def training_spec(self, version_id: str) -> TrainingSpec:
        """How the supernet of a version was trained. Raises NotFoundError."""
        return self.supernets.get(self.supernets.version(version_id).supernet_id).spec

    def supernet(self, version_id: str) -> LoadedSupernet:
        """The weights of one supernet version. Raises NotFoundError, WeightsError."""
        with self._loading:
            return self._supernet(version_id)

    def weights_file(self, sha256: str) -> Path:
        """A local file with the bytes of an artifact."""
        path = self.folder / "weights" / f"{sha256}.safetensors"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.write_bytes(self.artifacts.read(sha256))
            partial.replace(path)
        return path

    def _load_supernet(self, version_id: str) -> LoadedSupernet:
        version = self.supernets.version(version_id)
        spec = self.supernets.get(version.supernet_id).spec
        space = self.space(training_spec_of(version, spec))
        weights = WeightStore.load(self.weights_file(version.weights_sha256), space.supernet_graphs())
        return LoadedSupernet(version_id, spec, space, weights.to(self.device, channels_last=True))
