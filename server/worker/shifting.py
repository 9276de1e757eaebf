"""Supernet shifting inside a search: each generation moves the weights before its candidates are scored.

Weights and optimiser are artifacts named by the search's checkpoint, so they are committed with the generation or not
at all: after a crash the generation is computed again from the same state, to the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import InvalidArchitectureError, SearchStateError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.supernet.tensor_file import read_tensors
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.config import OptimizerConfig
from nas_engine.training.randomness import Randomness, Stream
from nas_engine.training.shifting import ShiftingConfig, ShiftingMode, SupernetShifter, transfer_to
from server.service.algorithm_spec import ShiftingSpec
from server.service.values.search import Search
from server.service.values.step import ShiftedWeights
from server.worker.resources import Resources

SAFETENSORS = "application/vnd.safetensors"


@dataclass(frozen=True, slots=True)
class Shift:
    """One generation's shift.

    Attributes:
        weights: to be committed as a version.
        state_sha256: artifact that the next generation goes on from: weights, optimiser, version number.
        report: for the search's progress.
    """

    weights: ShiftedWeights
    state_sha256: str
    report: dict[str, JsonValue]


class Shifting:
    """Shifts supernets for search steps."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def shift(
        self,
        search: Search,
        genotypes: Sequence[Genotype],
        state_sha256: str | None,
        stopped: Callable[[], bool],
    ) -> Shift | None:
        """Shift towards a generation's candidates, in the order asked; None where stopped.

        Raises:
            SearchStateError: the search does not shift, or has no supernet version.
            TrainingError: a loss is not finite.
        """
        spec = search.spec
        if spec.shifting is None or search.supernet_version_id is None:
            raise SearchStateError(f"search {search.id} has no supernet to shift")
        space = self._resources.spaces.space(spec.space.id, spec.space.parameters)
        shifter = self._shifter(search, spec.shifting, space, state_sha256)
        losses: list[JsonValue] = []
        shifter.begin_generation(len(genotypes))
        for genotype in genotypes:
            if stopped():
                return None
            with self._resources.pause():
                losses.append(shifter.visit(_graph(space, genotype)))
        number = shifter.end_generation()
        statistics: dict[str, JsonValue] = {
            "mode": spec.shifting.mode,
            "shift": number,
            "losses": losses,
            "space": {"id": spec.space.id, "parameters": dict(spec.space.parameters)},
        }
        folder = self._folder(search)
        weights = self._stored(folder / "weights.safetensors", shifter.weights.save)
        state = self._stored(folder / "state.safetensors", shifter.save)
        mean = sum(float(str(loss)) for loss in losses) / len(losses)
        return Shift(
            ShiftedWeights(weights_sha256=weights, statistics=statistics), state, {"shift": number, "loss": mean}
        )

    def _shifter(
        self, search: Search, wanted: ShiftingSpec, space: SearchSpace, state_sha256: str | None
    ) -> SupernetShifter:
        assert search.supernet_version_id is not None
        training = self._resources.training_spec(search.supernet_version_id)
        dataset = self._resources.dataset(search.spec.dataset or training.dataset, space, training.resolution)
        config = ShiftingConfig(
            mode=ShiftingMode(wanted.mode),
            images_per_candidate=wanted.images_per_candidate,
            steps_per_candidate=wanted.steps_per_candidate,
            batch_size=wanted.batch_size,
            label_smoothing=wanted.label_smoothing,
            optimizer=OptimizerConfig(
                learning_rate=wanted.learning_rate, momentum=wanted.momentum, weight_decay=wanted.weight_decay
            ),
            seed=search.spec.seed,
        )
        shifter = SupernetShifter(self._weights(search, wanted, space), dataset, config, self._resources.device)
        if state_sha256 is not None:
            shifter.load(self._resources.weights_file(state_sha256))
        return shifter

    def _weights(self, search: Search, wanted: ShiftingSpec, space: SearchSpace) -> WeightStore:
        """The supernet's weights as the search found them; the classifier drawn anew where that is wanted."""
        assert search.supernet_version_id is not None
        version = self._resources.supernets.version(search.supernet_version_id)
        path = self._resources.weights_file(version.weights_sha256)
        if wanted.new_head and version.search_id != search.id:
            rng = Randomness(search.spec.seed).torch(Stream.INITIAL_WEIGHTS, 0)
            return transfer_to(space, read_tensors(path)[0], rng)
        return WeightStore.load(path, space.supernet_graphs())

    def _folder(self, search: Search) -> Path:
        folder = self._resources.folder / "shifting" / search.id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _stored(self, path: Path, save: Callable[[Path], None]) -> str:
        save(path)
        try:
            with path.open("rb") as source:
                return self._resources.artifacts.put(source, SAFETENSORS).sha256
        finally:
            path.unlink(missing_ok=True)


def _graph(space: SearchSpace, genotype: Genotype) -> LayerGraph:
    graph = space.graph(space.decode(genotype), Form.SUPERNET)
    if graph is None:
        raise InvalidArchitectureError(f"space {space.space_id!r} is a table of results: there is nothing to shift")
    return graph
