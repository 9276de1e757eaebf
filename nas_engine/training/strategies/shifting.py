"""Supernet shifting: the search itself moves the shared weights towards the architectures it samples.

Source: supernet shifting (arXiv 2403.11380 and its supplementary material: learning rate 1e-4, 640
samples to compute the loss) and its released code. Text and code disagree, so there are two modes:
ACCUMULATE is the paper's (losses accumulate, the supernet is updated once at the end of a generation),
IMMEDIATE is the code's (20 SGD steps of 150 images on each candidate, before it is evaluated).

Images are augmented and dropout acts as in the training of the supernet ("the same setting as SPOS").

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
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812

from nas_engine.domain.errors import TrainingError, WeightsError
from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.domain.layer_graph import LayerGraph, Linear, weight_refs
from nas_engine.domain.search_space import SearchSpace
from nas_engine.settings.shifting import ShiftingMode, ShiftingSettings
from nas_engine.settings.training import AugmentationName, OptimizerSettings, Precision, Schedule, TrainingSpec
from nas_engine.supernet.execute import BATCH, Norm, Running, forward
from nas_engine.supernet.resolution import fit_resolution
from nas_engine.supernet.tensor_file import encode_tensors, read_tensors, write_atomically
from nas_engine.supernet.weights import WeightStore, collect_weight_refs, draw
from nas_engine.training.checkpoint import OPTIMIZER, optimizer_tensors, restore_optimizer
from nas_engine.training.data.augmentation import AUGMENTATIONS
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.data.stream import TrainingStream
from nas_engine.training.identity import augmentation_document, optimizer_document
from nas_engine.training.optimization import Arithmetic, clip_gradients, make_optimizer
from nas_engine.training.randomness import Randomness, Stream

HEADER = "hilnas.shifting"
Pause = Callable[[], AbstractContextManager[None]]


class SupernetShifter:
    """Shifts one supernet while a search goes on.

    For each generation: `begin_generation`, then `visit` each candidate before it is evaluated, then
    `end_generation`. `version` counts the generations that are finished; accuracies of different
    versions must not be compared (with IMMEDIATE, not even within a generation).
    """

    def __init__(
        self,
        weights: WeightStore,
        dataset: ImageDataset,
        settings: ShiftingSettings,
        device: torch.device,
        *,
        seed: int,
        trained_as: TrainingSpec | None = None,
    ) -> None:
        """`weights` are copied to `device`; only training images are used, drawn with `seed`.

        `trained_as` says how the supernet was trained: by which augmentation, and whether single paths had dropout.
        """
        self.weights = weights.to(device, channels_last=True)
        self.version = 0
        self._settings = settings
        self._seed = seed
        self._update_rule = OptimizerSettings(
            learning_rate=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            schedule=Schedule.CONSTANT,
        )
        self._optimizer = make_optimizer(self.weights, self._update_rule)
        self._arithmetic = Arithmetic(settings.precision, device)
        # In the sandwich rule the largest subnet alone has dropout.
        self._dropout = settings.dropout and trained_as is not None and not trained_as.strategy.TRAINS_LARGEST
        trained_with = AugmentationName.NONE if trained_as is None else trained_as.augmentation
        self._fingerprint = dataset.fingerprint
        self._stream = TrainingStream(
            dataset,
            batch_size=settings.batch_size,
            augmentation=AUGMENTATIONS[settings.augmentation or trained_with],
            randomness=Randomness(seed),
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
        match self._settings.mode:
            case ShiftingMode.ACCUMULATE:
                num_batches = self._settings.images_per_candidate // self._settings.batch_size
                scale, loss = 1.0 / (num_batches * self._num_candidates), 0.0
                for number in range(num_batches):
                    with pause():
                        loss += self._backward(graph, number, scale=scale) / num_batches
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
        if self._settings.mode is ShiftingMode.ACCUMULATE:
            self._update()
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
        document = canonical_json({"version": self.version, "identity": self.identity()})
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
        if identity != self.identity():
            raise TrainingError(f"{path} was shifted with other settings or data: give those it was made with")
        self.abandon_generation()
        self.weights.load_tensors({n: t for n, t in tensors.items() if not n.startswith(OPTIMIZER)}, str(path))
        self._optimizer.state.clear()
        buffers = {n.removeprefix(OPTIMIZER): t for n, t in tensors.items() if n.startswith(OPTIMIZER)}
        restore_optimizer(self._optimizer, self.weights, buffers)
        self.version = version

    def _train(self, graph: LayerGraph, pause: Pause) -> float:
        steps = self._settings.steps_per_candidate
        total = 0.0
        for number in range(steps):
            with pause():
                self._optimizer.zero_grad(set_to_none=True)
                total += self._backward(graph, number, scale=1.0)
                self._update()
        self._optimizer.zero_grad(set_to_none=True)
        return total / steps

    def _update(self) -> None:
        self._arithmetic.unscale(self._optimizer)
        clip_gradients(self.weights, self._update_rule)
        self._arithmetic.update(self._optimizer)

    def _backward(self, graph: LayerGraph, number: int, scale: float) -> float:
        """Gradients of one batch's loss times `scale`; the batch is this candidate's `number`-th."""
        randomness, place = Randomness(self._seed), (self.version, self._visited, number)
        batch = self._stream.batch(int(randomness.numpy(Stream.SHIFTING, *place).integers(2**31)))
        masks = randomness.torch(Stream.DROPOUT, *place, device=self.weights.device) if self._dropout else None
        norm: Norm = Running(self.weights.running, update=True) if self._settings.running_statistics else BATCH
        x_NCHW = fit_resolution(batch.images_NCHW, graph)
        with self._arithmetic.autocast():
            logits_NK = forward(x_NCHW, graph, weights=self.weights, norm=norm, training=masks is not None, rng=masks)
        loss = F.cross_entropy(logits_NK.float(), batch.labels_N, label_smoothing=self._settings.label_smoothing)
        if not bool(torch.isfinite(loss)):
            raise TrainingError(
                f"the loss of candidate {self._visited} in version {self.version} is {float(loss.detach())}"
            )
        self._arithmetic.backward(loss * scale)
        return float(loss.detach())

    def identity(self) -> str:
        """Digest of everything that must be the same for a saved version to be gone on from."""
        shapes: JsonValue = [[name, list(tensor.shape)] for name, tensor in self.weights.items()]
        settings = self._settings
        # The document of the first release.
        config: JsonValue = {
            "mode": settings.mode.value,
            "images_per_candidate": settings.images_per_candidate,
            "steps_per_candidate": settings.steps_per_candidate,
            "batch_size": settings.batch_size,
            "label_smoothing": settings.label_smoothing,
            "optimizer": optimizer_document(self._update_rule),
            # What the training of the supernet decides is the same for all versions of a search.
            "augmentation": augmentation_document(AUGMENTATIONS[settings.augmentation or AugmentationName.NONE]),
            "running_statistics": settings.running_statistics,
            "seed": self._seed,
            **({} if settings.dropout else {"dropout": False}),
            **({} if settings.precision is Precision.FLOAT32 else {"precision": settings.precision.value}),
        }
        document = canonical_json([config, self._fingerprint, shapes])
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
