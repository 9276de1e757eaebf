"""Supernets as workers use them: weights loaded once, kept while used."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nas_engine.domain.search_space import SearchSpace
from nas_engine.settings.training import TrainingSpec
from nas_engine.supernet.weights import WeightStore
from server.spaces.worker import WorkerResources
from server.training.supernet import SupernetVersion, training_spec_of
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


class LoadedSupernets:
    """The supernets of one worker, the last ones kept in memory. Thread-safe."""

    def __init__(self, supernets: Supernets, resources: WorkerResources) -> None:
        self._supernets = supernets
        self._resources = resources
        self._lock = threading.Lock()
        self._loaded = lru_cache(maxsize=MAX_SUPERNETS)(self._load)

    def version(self, version_id: str) -> SupernetVersion:
        """Look up a version without its weights. Raises NotFoundError."""
        return self._supernets.get_supernet_version(version_id)

    def training_spec(self, version_id: str) -> TrainingSpec:
        """How the supernet of a version was trained. Raises NotFoundError."""
        return self._supernets.get_training(self._supernets.get_supernet_version(version_id).supernet_id).spec

    def load(self, version_id: str) -> LoadedSupernet:
        """The weights of one supernet version. Raises NotFoundError, WeightsError."""
        with self._lock:
            return self._loaded(version_id)

    def weights_file(self, sha256: str) -> Path:
        """A local file with the bytes of an artifact."""
        path = self._resources.folder / "weights" / f"{sha256}.safetensors"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.write_bytes(self._resources.artifacts.read(sha256))
            partial.replace(path)
        return path

    def _load(self, version_id: str) -> LoadedSupernet:
        version = self._supernets.get_supernet_version(version_id)
        spec = self._supernets.get_training(version.supernet_id).spec
        trained = training_spec_of(version, spec).space
        space = self._resources.spaces.space(trained.id, trained.parameters)
        weights = WeightStore.load(self.weights_file(version.weights_sha256), space.supernet_graphs())
        return LoadedSupernet(version_id, spec, space, weights.to(self._resources.device, channels_last=True))
