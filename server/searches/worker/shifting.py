"""SHIFT jobs: a generation moves the supernet's weights, and its candidates are scored with what comes of it.

Weights and optimiser are artifacts; the search's checkpoint and the job's payload name those a shift starts from, and
they are committed with the versions or not at all: after a crash the generation is computed again, to the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from nas_engine.domain.errors import SearchStateError
from nas_engine.domain.host.scratch import scratch_folder
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.search_space import SearchSpace
from nas_engine.settings.shifting import ShiftingMode, ShiftingSettings
from nas_engine.settings.training import TrainingSpec
from nas_engine.supernet.tensor_file import read_tensors
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.randomness import Randomness, Stream
from nas_engine.training.strategies.shifting import SupernetShifter, transfer_to
from server.candidates.candidate import HeldOutAccuracy
from server.candidates.spec import SearchSpec
from server.candidates.used_plugins import check_plugins
from server.jobs.job import Job, LeaseRef
from server.searches.steps.shifts import ShiftedVersion, ShiftInput, ShiftOutcome, Shifts
from server.spaces.worker import WorkerResources
from server.training.worker.accuracies import Accuracies, supernet_graph
from server.training.worker.supernets import LoadedSupernets

SAFETENSORS = "application/vnd.safetensors"


class ShiftHandler:
    """Does SHIFT jobs, one candidate after another."""

    def __init__(
        self, shifts: Shifts, resources: WorkerResources, supernets: LoadedSupernets, accuracies: Accuracies
    ) -> None:
        self._shifts = shifts
        self._resources = resources
        self._supernets = supernets
        self._accuracies = accuracies

    def __call__(self, job: Job, lease: LeaseRef, stopped: Callable[[], bool]) -> None:
        """Shift one generation; returns early and without a trace once stopped."""
        given = self._shifts.load(lease)
        outcome = self._shift(given, stopped, lambda progress: self._shifts.report(lease, progress))
        if outcome is not None and not stopped():
            self._shifts.commit(lease, given.payload, outcome)

    def _shift(
        self, given: ShiftInput, stopped: Callable[[], bool], report: Callable[[Mapping[str, JsonValue]], None]
    ) -> ShiftOutcome | None:
        check_plugins(given.search.plugins)
        spec = given.search.spec
        wanted = spec.shifting
        if wanted is None:
            raise SearchStateError(f"search {given.search.id} shifts no supernet")
        space = self._resources.spaces.space(spec.space.id, spec.space.parameters)
        training = self._supernets.training_spec(given.payload.supernet_version_id)
        shifter = self._shifter(given, wanted, space, training)
        shifter.begin_generation(len(given.architectures))
        losses: list[float] = []
        versions: list[ShiftedVersion] = []
        for place, architecture in enumerate(given.architectures):
            if stopped():
                return None
            losses.append(shifter.visit(supernet_graph(space, architecture), self._resources.pause))
            progress: dict[str, JsonValue] = {
                "candidate_id": given.payload.candidate_ids[place],
                "done": place + 1,
                "total": len(given.architectures),
                "loss": losses[-1],
            }
            if wanted.mode is ShiftingMode.IMMEDIATE:
                found = self._accuracies.evaluate(
                    architecture,
                    space,
                    shifter.weights,  # as they are right now
                    spec=spec,
                    training=training,
                    split="validation",
                    stopped=stopped,
                )
                if found is None:
                    return None
                taken = found.accuracy
                statistics = _statistics(spec, shifter.version + 1, losses[-1:]) | {"place": place + 1}
                stored = self._stored(shifter.weights.save)
                accuracy = HeldOutAccuracy(top1=taken.top1, num_images=taken.num_images)
                versions.append(
                    ShiftedVersion(
                        weights_sha256=stored, statistics=statistics, accuracy=accuracy, answers=taken.answers
                    )
                )
                progress["top1"] = taken.top1
            report(progress)
        number = shifter.end_generation()
        if wanted.mode is ShiftingMode.ACCUMULATE:
            statistics = _statistics(spec, number, losses)
            versions.append(ShiftedVersion(weights_sha256=self._stored(shifter.weights.save), statistics=statistics))
        summary: dict[str, JsonValue] = {
            "shift": number,
            "loss": sum(losses) / len(losses),
            "num_versions": len(versions),
        }
        return ShiftOutcome(versions=tuple(versions), state_sha256=self._stored(shifter.save), report=summary)

    def _shifter(
        self, given: ShiftInput, wanted: ShiftingSettings, space: SearchSpace, training: TrainingSpec
    ) -> SupernetShifter:
        spec = given.search.spec
        name = spec.dataset or training.dataset
        dataset = self._resources.dataset(name, space, training.resolution, training.image_form)
        weights = self._weights(given, wanted, space)
        shifter = SupernetShifter(weights, dataset, wanted, self._resources.device, seed=spec.seed, trained_as=training)
        if given.payload.state_sha256 is not None:
            with self._own_file() as path:  # read once: not worth a place among the weights that are kept
                path.write_bytes(self._resources.artifacts.read(given.payload.state_sha256))
                shifter.load(path)
        return shifter

    def _weights(self, given: ShiftInput, wanted: ShiftingSettings, space: SearchSpace) -> WeightStore:
        """The supernet's weights as the shift finds them; the classifier drawn anew where that is wanted."""
        version = self._supernets.version(given.payload.supernet_version_id)
        path = self._supernets.weights_file(version.weights_sha256)
        if wanted.new_head and version.search_id != given.search.id:
            rng = Randomness(given.search.spec.seed).torch(Stream.INITIAL_WEIGHTS, 0)
            return transfer_to(space, read_tensors(path)[0], rng)
        return WeightStore.load(path, space.supernet_graphs())

    def _stored(self, save: Callable[[Path], None]) -> str:
        """Digest of the artifact that `save` writes."""
        with self._own_file() as path:
            save(path)
            with path.open("rb") as source:
                return self._resources.artifacts.put(source, SAFETENSORS).sha256

    @contextmanager
    def _own_file(self) -> Iterator[Path]:
        """A path that nobody else writes to: a worker that lost this job may be at it still."""
        folder = self._resources.folder / "shifting"
        folder.mkdir(exist_ok=True)
        with scratch_folder("state-", folder) as own:
            yield own / "state.safetensors"


def _statistics(spec: SearchSpec, number: int, losses: list[float]) -> dict[str, JsonValue]:
    return {
        "mode": None if spec.shifting is None else spec.shifting.mode.value,
        "shift": number,
        "losses": list(losses),
        "space": {"id": spec.space.id, "parameters": dict(spec.space.parameters)},
    }
