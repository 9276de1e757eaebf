"""Supernet shifting: the search itself moves the shared weights towards the architectures it samples.

Source: supernet shifting (arXiv 2403.11380 and its supplementary material: learning rate 1e-4, 640
samples to compute the loss) and its released code. Text and code disagree, so there are two modes:
ACCUMULATE is the paper's (losses accumulate, the supernet is updated once at the end of a generation),
IMMEDIATE is the code's (20 SGD steps of 150 images on each candidate, before it is evaluated).

Ours: 640 is read as images per candidate; gradients are averaged over the candidates; label smoothing
uses the true number of classes (the code divides by 1000 whatever the data set); candidates are
evaluated after BN recalibration, which makes their accuracy independent of their order.
Everything drawn is a function of (seed, generation, candidate), so a generation can be recomputed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812

from nas_engine.domain.errors import TrainingError, WeightsError
from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.domain.layer_graph import LayerGraph, Linear, weight_refs
from nas_engine.domain.search_space import SearchSpace
from nas_engine.settings.shifting import ShiftingMode
from nas_engine.supernet.execute import BATCH, Norm, Running, forward
from nas_engine.supernet.resolution import fit_resolution
from nas_engine.supernet.tensor_file import encode_tensors, read_tensors, write_atomically
from nas_engine.supernet.weights import WeightStore, collect_weight_refs, draw
from nas_engine.training.checkpoint import OPTIMIZER, optimizer_tensors, restore_optimizer
from nas_engine.training.config import OptimizerConfig, check_label_smoothing
from nas_engine.training.data.augmentation import NO_AUGMENTATION, Augmentation
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.data.stream import TrainingStream
from nas_engine.training.documents import to_document
from nas_engine.training.optimization import clip_gradients, make_optimizer
from nas_engine.training.randomness import Randomness, Stream

HEADER = "hilnas.shifting"
Pause = Callable[[], AbstractContextManager[None]]
SHIFTING_OPTIMIZER = OptimizerConfig(learning_rate=1e-4, momentum=0.9, weight_decay=4e-5)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftingConfig:
    """Settings of supernet shifting.

    Attributes:
        images_per_candidate: images of a candidate's accumulated loss (ACCUMULATE).
        steps_per_candidate: SGD steps on a candidate (IMMEDIATE).
        batch_size: images per forward pass.
        optimizer: constant learning rate; its momentum lives across generations.
        running_statistics: also move the supernet's shared running statistics, as the code does
            (its accuracies are taken with them); ours are taken after recalibration.
    """

    mode: ShiftingMode = ShiftingMode.ACCUMULATE
    images_per_candidate: int = 640
    steps_per_candidate: int = 20
    batch_size: int = 128
    label_smoothing: float = 0.1
    optimizer: OptimizerConfig = SHIFTING_OPTIMIZER
    augmentation: Augmentation = NO_AUGMENTATION
    running_statistics: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_label_smoothing(self.label_smoothing)
        for name in ("images_per_candidate", "steps_per_candidate", "batch_size"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is {getattr(self, name)}: it must be 1 or more")
        if self.mode is ShiftingMode.ACCUMULATE and self.images_per_candidate % self.batch_size:
            raise TrainingError(
                f"images_per_candidate {self.images_per_candidate} is no multiple of batch_size {self.batch_size}"
            )


class SupernetShifter:
    """Shifts one supernet while a search goes on.

    For each generation: `begin_generation`, then `visit` each candidate before it is evaluated, then
    `end_generation`. `version` counts the generations that are finished; accuracies of different
    versions must not be compared (with IMMEDIATE, not even within a generation).
    """

    def __init__(
        self, weights: WeightStore, dataset: ImageDataset, config: ShiftingConfig, device: torch.device
    ) -> None:
        """`weights` are copied to `device`; only training images are used."""
        self.weights = weights.to(device, channels_last=True)
        self.version = 0
        self._config = config
        self._optimizer = make_optimizer(self.weights, config.optimizer)
        self._fingerprint = dataset.fingerprint
        self._stream = TrainingStream(
            dataset,
            batch_size=config.batch_size,
            augmentation=config.augmentation,
            randomness=Randomness(config.seed),
            device=device,
        )
        self._num_candidates: int | None = None
        self._visited = 0

    def begin_generation(self, num_candidates: int) -> None:
        """Start with no gradients; `num_candidates` will be visited.

        Raises:
            TrainingError: the generation before was not ended, or there is no candidate.
        """
        if self._num_candidates is not None:
            raise TrainingError("a generation is under way: end it before the next one begins")
        if num_candidates < 1:
            raise TrainingError(f"num_candidates is {num_candidates}: a generation has at least one")
        self._num_candidates, self._visited = num_candidates, 0
        self._optimizer.zero_grad(set_to_none=True)

    def visit(self, graph: LayerGraph, pause: Pause = nullcontext) -> float:
        """Compute one candidate's training loss (ACCUMULATE: weights stay; IMMEDIATE: they are trained).

        Args:
            graph: SUPERNET form.
            pause: entered around every batch.

        Returns:
            Mean loss over the images used.

        Raises:
            TrainingError: no generation is under way, all its candidates were visited, or the loss is
                not finite.
        """
        if self._num_candidates is None or self._visited >= self._num_candidates:
            raise TrainingError("no further candidate is expected: begin a generation that counts this one")
        match self._config.mode:
            case ShiftingMode.ACCUMULATE:
                loss = self._accumulate(graph, self._num_candidates, pause)
            case ShiftingMode.IMMEDIATE:
                loss = self._train(graph, pause)
        self._visited += 1
        return loss

    def end_generation(self) -> int:
        """Apply what was accumulated, in exactly one update, and return the new version.

        Raises:
            TrainingError: no generation is under way, or candidates are missing.
        """
        if self._num_candidates is None or self._visited != self._num_candidates:
            raise TrainingError(f"{self._visited} of {self._num_candidates} candidates were visited: visit the others")
        if self._config.mode is ShiftingMode.ACCUMULATE:
            clip_gradients(self.weights, self._config.optimizer)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
        self._num_candidates = None
        self.version += 1
        return self.version

    def abandon_generation(self) -> None:
        """Forget a generation that was cut off. IMMEDIATE has changed weights by then: load the last version."""
        self._num_candidates = None
        self._optimizer.zero_grad(set_to_none=True)

    def save(self, path: Path) -> None:
        """Write weights, optimiser and version atomically: one version of the supernet.

        Raises:
            TrainingError: a generation is under way.
            WeightsError: a number is not finite.
        """
        if self._num_candidates is not None:
            raise TrainingError("a generation is under way: only whole versions are saved")
        tensors = {**self.weights.named_tensors(), **optimizer_tensors(self._optimizer, self.weights)}
        document = canonical_json({"version": self.version, "identity": self._identity()})
        write_atomically(path, encode_tensors(tensors, {HEADER: document}))

    def load(self, path: Path) -> None:
        """Go on from a saved version.

        Raises:
            TrainingError: the file is of other settings or data, or cannot be read.
        """
        try:
            tensors, metadata = read_tensors(path)
            document = json.loads(metadata[HEADER])
            version, identity = int(document["version"]), str(document["identity"])
        except (WeightsError, KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"{path} is no version of a shifted supernet ({error})") from error
        if identity != self._identity():
            raise TrainingError(f"{path} was shifted with other settings or data: give those it was made with")
        self.abandon_generation()
        self.weights.load_tensors({n: t for n, t in tensors.items() if not n.startswith(OPTIMIZER)}, str(path))
        self._optimizer.state.clear()
        buffers = {n.removeprefix(OPTIMIZER): t for n, t in tensors.items() if n.startswith(OPTIMIZER)}
        restore_optimizer(self._optimizer, self.weights, buffers)
        self.version = version

    def _accumulate(self, graph: LayerGraph, num_candidates: int, pause: Pause) -> float:
        num_batches = self._config.images_per_candidate // self._config.batch_size
        total = 0.0
        for number in range(num_batches):
            with pause():
                total += self._backward(graph, number, scale=1.0 / (num_batches * num_candidates)) / num_batches
        return total

    def _train(self, graph: LayerGraph, pause: Pause) -> float:
        steps = self._config.steps_per_candidate
        total = 0.0
        for number in range(steps):
            with pause():
                self._optimizer.zero_grad(set_to_none=True)
                total += self._backward(graph, number, scale=1.0)
                clip_gradients(self.weights, self._config.optimizer)
                self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return total / steps

    def _backward(self, graph: LayerGraph, number: int, scale: float) -> float:
        """Gradients of one batch's loss times `scale`; the batch is this candidate's `number`-th."""
        rng = Randomness(self._config.seed).numpy(Stream.SHIFTING, self.version, self._visited, number)
        batch = self._stream.batch(int(rng.integers(2**31)))
        norm: Norm = Running(self.weights.running, update=True) if self._config.running_statistics else BATCH
        logits_NK = forward(fit_resolution(batch.images_NCHW, graph), graph, weights=self.weights, norm=norm)
        loss = F.cross_entropy(logits_NK, batch.labels_N, label_smoothing=self._config.label_smoothing)
        if not bool(torch.isfinite(loss)):
            raise TrainingError(
                f"the loss of candidate {self._visited} in version {self.version} is {float(loss.detach())}"
            )
        torch.autograd.backward(loss * scale)
        return float(loss.detach())

    def _identity(self) -> str:
        shapes: JsonValue = [[name, list(tensor.shape)] for name, tensor in self.weights.items()]
        document = canonical_json([to_document(self._config), self._fingerprint, shapes])
        return hashlib.sha256(document.encode()).hexdigest()


def transfer_to(space: SearchSpace, stored: Mapping[str, torch.Tensor], rng: torch.Generator) -> WeightStore:
    """A supernet's weights for a data set with other classes: all kept but the head, which is drawn anew.

    The head is then trained by the search itself. Source: supernet shifting, "the last classifier
    layer is unset".

    Args:
        space: the same space with the new number of classes.
        stored: weights and running statistics of the old supernet, by file name.
        rng: CPU generator of the new head.

    Raises:
        WeightsError: anything but the head differs.
    """
    graphs = tuple(space.supernet_graphs())
    return WeightStore.from_tensors(stored, graphs, fresh=fresh_head(graphs, rng), source="the supernet to transfer")


def fresh_head(graphs: Iterable[LayerGraph], rng: torch.Generator) -> dict[str, torch.Tensor]:
    """Newly drawn weights of the linear layers that give the graphs' outputs."""
    graphs = tuple(graphs)
    heads = [graph.nodes[graph.output] for graph in graphs]
    names = {ref.name for head in heads if isinstance(head, Linear) for ref in weight_refs(head)}
    if not names:
        raise WeightsError("the graphs do not end in a linear layer: there is no head to replace")
    refs = collect_weight_refs(graphs)
    return {name: draw(ref.full_shape, ref.init, rng) for name, ref in refs.items() if name in names}
