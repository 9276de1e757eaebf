"""What a training asks of a device's memory, before it starts: bytes an image, micro-batches, does it fit. No torch.

What a backward pass keeps is counted from the layer graph (`nas_engine.domain.views.training_memory`); weights,
gradients and the optimiser's state are as large as the supernet. Where the images of one pass, over which batch
normalisation takes its statistics, do not fit, the fewest blocks that make them fit are computed again. What libraries
take for themselves is allowed for, not counted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.errors import DeviceMemoryError, TrainingError
from nas_engine.domain.layer_graph import LayerGraph, num_elements
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.domain.views.training_memory import FLOAT_BYTES, Trained, training_memory
from nas_engine.settings.densenas import DenseNasSettings
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
class Pass:
    """One forward and backward pass: its graph, and what it makes gradients of."""

    graph: LayerGraph
    trained: Trained = Trained.WEIGHTS


@dataclass(frozen=True, slots=True)
class StepMemory:
    """What the passes of one step need.

    Attributes:
        image_bytes: kept for one image between the forward and the backward pass of the largest pass, float32.
        num_weights: of the supernet, or of the network.
        passes: what they execute; without any, no block can be chosen to be computed again.
    """

    image_bytes: int
    num_weights: int
    passes: tuple[Pass, ...] = field(default=(), repr=False)

    def image_bytes_with(self, recomputed: Collection[str]) -> int:
        """`image_bytes` where the backward pass computes these blocks again."""
        if not recomputed:
            return self.image_bytes
        return max(training_memory(one.graph, one.trained, recomputed=recomputed).peak_bytes for one in self.passes)

    def blocks(self) -> tuple[str, ...]:
        """Blocks by what computing each of them again would free, most first."""
        freed: dict[str, int] = {}
        for one in self.passes:
            kept = training_memory(one.graph, one.trained).saved_bytes
            for block in {node.block for node in one.graph.nodes[1:]}:
                left = training_memory(one.graph, one.trained, recomputed=(block,)).saved_bytes
                freed[block] = max(freed.get(block, 0), kept - left)
        return tuple(sorted((block for block in freed if freed[block] > 0), key=lambda block: (-freed[block], block)))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """How a training lies in a device's memory.

    Attributes:
        batch_size: images of a step, of all processes together.
        num_processes: each with a device of its own.
        micro_batch: images of one pass.
        num_passes: micro-batches of a process in one step.
        image_bytes: kept for one image, with these blocks computed again.
        fixed_bytes: weights, gradients and the optimiser's state.
        total_bytes: of a process at its worst, with what libraries take.
        memory_bytes: of the device.
        largest_micro_batch: the largest that divides a process's part of the batch and fits without computing anything
            again; 0 where no image does.
        recomputed: blocks that the backward pass computes again, so that the images of one pass fit.
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
    recomputed: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether it can run."""
        return self.total_bytes <= self.memory_bytes

    def require(self) -> None:
        """Raise DeviceMemoryError where it does not fit, with the numbers and what would."""
        if self.fits:
            return
        again = ", with all blocks that it helps computed again" if self.recomputed else ""
        what = (
            f"micro_batch {self.largest_micro_batch} would fit, with batch statistics over as many images"
            if self.largest_micro_batch
            else "not even one image at a time fits: take a smaller resolution or space, or a larger device"
        )
        kept = f"{self.micro_batch} images at {self.image_bytes / 2**20:.1f} MiB each{again}"
        raise DeviceMemoryError(
            f"{kept}, {self.fixed_bytes / GIB:.2f} GiB for weights and what libraries take make "
            f"{self.total_bytes / GIB:.1f} GiB; the device has {self.memory_bytes / GIB:.1f} GiB: {what}"
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
    halved = 2 if is_mixed and settings.precision is not Precision.FLOAT32 else 1
    fixed_bytes = step.num_weights * FLOAT_BYTES * (2 + _STATE[settings.optimizer.kind])

    def total(num_images: int, recomputed: Collection[str] = ()) -> int:
        kept = num_images * step.image_bytes_with(recomputed) // halved
        return int((kept + fixed_bytes) * (1 + WORKSPACE_SHARE)) + RESERVED_BYTES

    fitting = [size for size in range(1, part + 1) if part % size == 0 and total(size) <= memory_bytes]
    largest = max(fitting, default=0)
    micro_batch = largest or 1 if settings.micro_batch == "auto" else settings.micro_batch or part
    if part % micro_batch:
        raise TrainingError(f"micro_batch {micro_batch} does not divide the {part} images of a process")
    recomputed: tuple[str, ...] = ()
    if total(micro_batch) > memory_bytes:
        blocks = step.blocks()
        numbers = range(1, len(blocks) + 1)  # the more blocks the less is kept, since the largest comes first
        fewest = bisect_left(numbers, True, key=lambda number: total(micro_batch, blocks[:number]) <= memory_bytes)
        recomputed = blocks[: fewest + 1]
    return TrainingPlan(
        batch_size=settings.batch_size,
        num_processes=num_processes,
        micro_batch=micro_batch,
        num_passes=part // micro_batch,
        image_bytes=step.image_bytes_with(recomputed) // halved,
        fixed_bytes=fixed_bytes,
        total_bytes=total(micro_batch, recomputed),
        memory_bytes=memory_bytes,
        largest_micro_batch=largest,
        recomputed=recomputed,
    )


def training_step_memory(spec: TrainingSpec | NetworkSpec, space: SearchSpace) -> StepMemory:
    """What a step of a supernet's training, or of one network's, needs.

    Raises:
        TrainingError: the space is a table of results, or the spec names no architecture.
    """
    if isinstance(spec, NetworkSpec):
        if spec.architecture is None:
            raise TrainingError("which architecture? The spec of a network names one")
        return network_step_memory(_graph(space, space.parse(spec.architecture), Form.DEPLOYED))
    # The sandwich rule trains the last choice of every gene.
    largest = space.canonical(tuple(gene.num_choices - 1 for gene in space.genes))
    genotype = largest if spec.strategy.TRAINS_LARGEST else _heaviest_path(space)
    graph = _graph(space, space.decode(genotype), Form.SUPERNET)
    return StepMemory(training_memory(graph).peak_bytes, _num_weights(space.supernet_graphs()), (Pass(graph),))


def network_step_memory(graph: LayerGraph) -> StepMemory:
    """What a step of training one network needs."""
    return StepMemory(training_memory(graph).peak_bytes, _num_weights([graph]), (Pass(graph),))


def search_step_memory(settings: DenseNasSettings, space: DenseSpace) -> StepMemory:
    """What the larger of both kinds of steps of a differentiable search needs, over a few draws of operators."""
    rng = np.random.default_rng(0)
    kinds = (
        (Trained.WEIGHTS, settings.operators_per_weight_step),
        (Trained.COEFFICIENTS, settings.operators_per_architecture_step),
    )
    passes = [
        Pass(space.supernet_graph(sample_operators(space.routing, rng, num_operators=num_operators)), trained)
        for trained, num_operators in kinds
        for _ in range(NUM_DRAWS)
    ]
    kept = [training_memory(one.graph, one.trained).peak_bytes for one in passes]
    # What is computed again is chosen for the worst draw of each kind: all draws have the same blocks.
    worst = [max(range(start, start + NUM_DRAWS), key=kept.__getitem__) for start in range(0, len(passes), NUM_DRAWS)]
    return StepMemory(max(kept), _num_weights(space.supernet_graphs()), tuple(passes[index] for index in worst))


def _graph(space: SearchSpace, architecture: Architecture, form: Form) -> LayerGraph:
    graph = space.graph(architecture, form)
    if graph is None:
        raise TrainingError(f"space {space.space_id} is a table of results: it has no networks to train")
    return graph


def _num_weights(graphs: Iterable[LayerGraph]) -> int:
    shapes = {name: ref.full_shape for graph in graphs for name, ref in graph.weights.items()}
    return sum(num_elements(shape) for shape in shapes.values())


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
