"""DenseNAS without a server: every cost factor of a search derived by this process, or by those that torchrun started.

The same settings as a server takes; what its images are is said beside them, as of trainings without a server
(`nas_engine.training.command`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from nas_engine.cost.cost_table import read_cost_table
from nas_engine.cost.latency_table import mac_costs
from nas_engine.cost.routing_costs import RoutingCosts
from nas_engine.domain.errors import InvalidSpaceError, TrainingError
from nas_engine.domain.json_value import JsonValue
from nas_engine.search.densenas import search_architecture
from nas_engine.settings.base import SpaceSpec
from nas_engine.settings.densenas import DenseNasSettings
from nas_engine.settings.images import ImagePreparation
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.registry import create_space
from nas_engine.supernet.tensor_file import write_atomically
from nas_engine.training.command import LocalRun, joined_processes, open_images
from nas_engine.training.loop import Hooks
from nas_engine.training.processes import share_of_this_process


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDerivation:
    """A search that is derived here.

    Attributes:
        space: densely connected.
        settings: of the search.
        seed: of everything random in it.
        images: preparation of the images, where the space does not say it.
        cost_table: file of the imported table that the settings name; none of other searches.
    """

    space: SpaceSpec
    settings: DenseNasSettings
    seed: int = 0
    images: ImagePreparation = field(default_factory=ImagePreparation)
    cost_table: Path | None = None


def derive_here(wanted: LocalDerivation, run: LocalRun) -> None:
    """Derive a network for each cost factor, and write them as JSON, each once it is derived.

    Goes on from the checkpoints beside that file where there are some.

    Raises:
        EngineError: of the space, the table, the data set, the device's memory, or the training.
    """
    space = create_space(wanted.space.id, wanted.space.parameters)
    if not isinstance(space, DenseSpace):
        raise InvalidSpaceError(f"densenas searches densely connected spaces, {space.space_id!r} is none")
    costs = _costs(wanted, space)
    channels, size, _ = space.input_shapes[-1]
    dataset = open_images(wanted.images, size, channels, wanted.settings.image_form, run)
    derived: list[JsonValue] = []
    with joined_processes(run.device) as device:
        share = share_of_this_process()
        for number, factor in enumerate(wanted.settings.cost_factors):
            found = search_architecture(
                space,
                costs,
                dataset,
                wanted.settings,
                cost_factor=factor,
                seed=wanted.seed,
                device=device,
                hooks=Hooks(on_progress=run.tell),
                checkpoint=run.out.with_name(f"{run.out.name}.{number}.checkpoint"),
                share=share,
            )
            genotype = space.genotype_of(found.architecture)
            derived.append(
                {
                    "cost_factor": factor,
                    "architecture": found.architecture.choices,
                    "arch_id": found.architecture.arch_id,
                    "genotype": None if genotype is None else list(genotype),
                    "expected_cost": found.report.expected_cost,
                    "cost_unit": found.report.cost_unit,
                    "collapse": found.report.collapse.collapse.value,
                    "best_epoch": found.report.best_epoch,
                }
            )
            if share.rank == 0:
                write_atomically(run.out, (json.dumps(derived, indent=2) + "\n").encode())


def _costs(wanted: LocalDerivation, space: DenseSpace) -> RoutingCosts:
    settings = wanted.settings
    if settings.latency_table is not None:
        raise TrainingError(
            "a latency table lies on a server: without one give a cost_table, or neither, to pay with MACs"
        )
    if settings.cost_table is None:
        return mac_costs(space)
    if wanted.cost_table is None:
        raise TrainingError(f"the search pays by cost table {settings.cost_table}: give its file with --cost-table")
    try:
        content = wanted.cost_table.read_bytes()
    except OSError as error:
        raise TrainingError(f"cost table {wanted.cost_table} cannot be read: {error}") from error
    if (found := hashlib.sha256(content).hexdigest()) != settings.cost_table:
        raise TrainingError(f"{wanted.cost_table} is {found}, the search wants cost table {settings.cost_table}")
    return read_cost_table(content, space)
