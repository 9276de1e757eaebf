"""What a training asks of a device's memory, before it starts: bytes an image, micro-batches, does it fit. No torch.

What a backward pass keeps is counted from the layer graph (`nas_engine.domain.views.training_memory`); weights,
gradients and the optimiser's state are as large as the supernet. What libraries take for themselves is allowed for, not
counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.errors import DeviceMemoryError, TrainingError
from nas_engine.domain.layer_graph import LayerGraph, num_elements
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.domain.views.training_memory import FLOAT_BYTES, Trained, training_memory
from nas_engine.settings.densenas import DenseNasSettings
from nas_engine.settings.strategies import SandwichSettings
from nas_engine.settings.training import NetworkSpec, OptimizerKind, Precision, TrainingSettings, TrainingSpec
from nas_engine.spaces.densenas.routing_weights import sample_operators
from nas_engine.spaces.densenas.space import DenseSpace

GIB = 2**30
RESERVED_BYTES = int(1.5 * GIB)
"""For the device's context and the libraries' own (ours)."""

WORKSPACE_SHARE = 0.1
"""Of what is counted, for workspaces of convolutions and what allocation wastes (ours)."""

NUM_DRAWS = 6  # of operators of a densely connected supernet; the largest of them is planned with
_STATE = {OptimizerKind.SGD: 1, OptimizerKind.ADAMW: 2}


@dataclass(frozen=True, slots=True)
class StepMemory:
    """What the passes of one step need.

    Attributes:
        image_bytes: kept for one image between the forward and the backward pass of the largest pass, float32.
        num_weights: of the supernet, or of the network.
    """

    image_bytes: int
    num_weights: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """How a training lies in a device's memory.

    Attributes:
        batch_size: images of a step, of all processes together.
        num_processes: each with a device of its own.
        micro_batch: images of one pass.
        num_passes: micro-batches of a process in one step.
        image_bytes: kept for one image.
        fixed_bytes: weights, gradients and the optimiser's state.
        total_bytes: of a process at its worst, with what libraries take.
        memory_bytes: of the device.
        largest_micro_batch: the largest that divides a process's part of the batch and fits; 0 where no image does.
    """

    batch_size: int
    num_processes: int
    micro_batch: int
    num_passes: int
    image_bytes: int
    fixed_bytes: int
    total_bytes: int
    memory_bytes: int
    largest_micro_batch: int

    @property
    def fits(self) -> bool:
        """Whether it can run."""
        return self.total_bytes <= self.memory_bytes

    def require(self) -> None:
        """Raise DeviceMemoryError where it does not fit, with the numbers and what would."""
        if self.fits:
            return
        what = (
            f"micro_batch {self.largest_micro_batch} would fit, with batch statistics over as many images"
            if self.largest_micro_batch
            else "not even one image at a time fits: take a smaller resolution or space, or a larger device"
        )
        raise DeviceMemoryError(
            f"{self.micro_batch} images at {self.image_bytes / 2**20:.1f} MiB each, {self.fixed_bytes / GIB:.2f} GiB "
            f"for weights and what libraries take make {self.total_bytes / GIB:.1f} GiB; the device has "
            f"{self.memory_bytes / GIB:.1f} GiB: {what}"
        )


def plan_training(
    settings: TrainingSettings, step: StepMemory, memory_bytes: int, *, num_processes: int = 1, is_mixed: bool = False
) -> TrainingPlan:
    """Plan a training over devices of `memory_bytes` each.

    Args:
        settings: its micro-batch is what is planned with; `auto`: the largest that fits; none: the whole part of a
            process.
        step: what its passes need.
        num_processes: each with a device of its own.
        is_mixed: whether passes run in 16 bits, which halves what is kept.

    Raises:
        TrainingError: the batch does not divide over the processes.
    """
    if settings.batch_size % num_processes:
        raise TrainingError(f"batch_size {settings.batch_size} does not divide over {num_processes} processes")
    part = settings.batch_size // num_processes
    image_bytes = (
        step.image_bytes // 2 if is_mixed and settings.precision is not Precision.FLOAT32 else step.image_bytes
    )
    fixed_bytes = step.num_weights * FLOAT_BYTES * (2 + _STATE[settings.optimizer.kind])

    def total(num_images: int) -> int:
        return int((num_images * image_bytes + fixed_bytes) * (1 + WORKSPACE_SHARE)) + RESERVED_BYTES

    fitting = [size for size in range(1, part + 1) if part % size == 0 and total(size) <= memory_bytes]
    largest = max(fitting, default=0)
    micro_batch = largest or 1 if settings.micro_batch == "auto" else settings.micro_batch or part
    if part % micro_batch:
        raise TrainingError(f"micro_batch {micro_batch} does not divide the {part} images of a process")
    return TrainingPlan(
        batch_size=settings.batch_size,
        num_processes=num_processes,
        micro_batch=micro_batch,
        num_passes=part // micro_batch,
        image_bytes=image_bytes,
        fixed_bytes=fixed_bytes,
        total_bytes=total(micro_batch),
        memory_bytes=memory_bytes,
        largest_micro_batch=largest,
    )


def training_step_memory(spec: TrainingSpec | NetworkSpec, space: SearchSpace) -> StepMemory:
    """What a step of a supernet's training, or of one network's, needs.

    Raises:
        TrainingError: the space is a table of results, or the spec names no architecture.
    """
    if isinstance(spec, NetworkSpec):
        if spec.strategy.architecture is None:
            raise TrainingError("which architecture? The spec of a network names one")
        return network_step_memory(_graph(space, space.parse(spec.strategy.architecture), Form.DEPLOYED))
    genotype = _largest(space) if isinstance(spec.strategy, SandwichSettings) else _heaviest_path(space)
    memory = training_memory(_graph(space, space.decode(genotype), Form.SUPERNET))
    return StepMemory(memory.peak_bytes, _num_weights(space.supernet_graphs()))


def network_step_memory(graph: LayerGraph) -> StepMemory:
    """What a step of training one network needs."""
    return StepMemory(training_memory(graph).peak_bytes, _num_weights([graph]))


def search_step_memory(settings: DenseNasSettings, space: DenseSpace) -> StepMemory:
    """What the larger of both kinds of steps of a differentiable search needs, over a few draws of operators."""
    rng = np.random.default_rng(0)
    kinds = (
        (Trained.WEIGHTS, settings.operators_per_weight_step),
        (Trained.COEFFICIENTS, settings.operators_per_architecture_step),
    )
    image_bytes = 0
    for trained, num_operators in kinds:
        for _ in range(NUM_DRAWS):
            selection = sample_operators(space.routing, rng, num_operators=num_operators)
            memory = training_memory(space.supernet_graph(selection), trained)
            image_bytes = max(image_bytes, memory.peak_bytes)
    return StepMemory(image_bytes, _num_weights(space.supernet_graphs()))


def _graph(space: SearchSpace, architecture: Architecture, form: Form) -> LayerGraph:
    graph = space.graph(architecture, form)
    if graph is None:
        raise TrainingError(f"space {space.space_id} is a table of results: it has no networks to train")
    return graph


def _num_weights(graphs: Iterable[LayerGraph]) -> int:
    shapes = {name: ref.full_shape for graph in graphs for name, ref in graph.weights.items()}
    return sum(num_elements(shape) for shape in shapes.values())


def _largest(space: SearchSpace) -> Genotype:
    """The last choice of every gene, as the sandwich rule trains it."""
    return space.canonical(tuple(gene.num_choices - 1 for gene in space.genes))


def _heaviest_path(space: SearchSpace) -> Genotype:
    """The choice of each gene that keeps most beside first choices: what blocks keep adds up."""
    first = tuple(0 for _ in space.genes)
    heaviest = list(first)
    for place, gene in enumerate(space.genes):
        kept = []
        for choice in range(gene.num_choices):
            genotype = space.canonical((*first[:place], choice, *first[place + 1 :]))
            kept.append(training_memory(_graph(space, space.decode(genotype), Form.SUPERNET)).saved_bytes)
        heaviest[place] = int(np.argmax(kept))
    return space.canonical(tuple(heaviest))
