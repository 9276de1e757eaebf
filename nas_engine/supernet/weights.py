"""The weight store: every shared weight of a supernet by name, with running statistics held apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from nas_engine.domain.errors import WeightsError
from nas_engine.domain.layer_graph import Init, InitKind, LayerGraph, Shape, WeightRef, WeightRole
from nas_engine.supernet.norm_statistics import RunningStatistics
from nas_engine.supernet.tensor_file import encode_tensors, read_tensors, write_atomically

# Prefixes of running statistics in a file; weights stand there under their own names.
RUNNING_MEAN = "running_mean/"
RUNNING_VARIANCE = "running_variance/"


class WeightStore(Mapping[str, torch.Tensor]):
    """Leaf tensors (float32, requires_grad) by name, in a fixed order.

    Attributes:
        roles: what each weight is used for; decides weight decay.
        running: shared running statistics of the supernet.
    """

    def __init__(
        self, tensors: Mapping[str, torch.Tensor], roles: Mapping[str, WeightRole], running: RunningStatistics
    ) -> None:
        self._tensors = {name: tensor.detach().requires_grad_(True) for name, tensor in tensors.items()}
        self.roles = dict(roles)
        self.running = running

    @classmethod
    def create(cls, graphs: Iterable[LayerGraph], rng: torch.Generator) -> WeightStore:
        """Fresh weights for everything the graphs use, drawn on the CPU in order of first use.

        Args:
            graphs: e.g. ``space.supernet_graphs()``, or one DEPLOYED graph for training from scratch.
            rng: CPU generator.

        Raises:
            WeightsError: two graphs use one name for different tensors, or there is no weight at all.
        """
        graphs = tuple(graphs)
        refs = collect_weight_refs(graphs)
        tensors = {name: draw(ref.full_shape, ref.init, rng) for name, ref in refs.items()}
        roles = {name: ref.role for name, ref in refs.items()}
        return cls(tensors, roles, RunningStatistics.create(graphs))

    @classmethod
    def load(
        cls, path: Path, graphs: Iterable[LayerGraph], *, fresh: Mapping[str, torch.Tensor] | None = None
    ) -> WeightStore:
        """Weights of a file, which must hold exactly what the graphs use.

        Args:
            path: safetensors file made by `save`.
            graphs: what the weights are for.
            fresh: weights that are taken from here instead of from the file (a new head).

        Raises:
            WeightsError: the file cannot be read; a name is missing or unknown; a shape or type
                differs; a number is not finite.
        """
        stored, _ = read_tensors(path)
        return cls.from_tensors(stored, graphs, fresh=fresh, source=str(path))

    @classmethod
    def from_tensors(
        cls,
        stored: Mapping[str, torch.Tensor],
        graphs: Iterable[LayerGraph],
        *,
        fresh: Mapping[str, torch.Tensor] | None = None,
        source: str = "the given tensors",
    ) -> WeightStore:
        """As `load`, from tensors named as in `named_tensors`."""
        graphs = tuple(graphs)
        refs = collect_weight_refs(graphs)
        fresh = fresh or {}
        running = RunningStatistics.create(graphs)
        expected: dict[str, Shape] = {name: ref.full_shape for name, ref in refs.items() if name not in fresh}
        for name, (mean, _) in running.items():
            expected[RUNNING_MEAN + name] = expected[RUNNING_VARIANCE + name] = tuple(mean.shape)
        ignored = set(fresh)
        _check_exact(expected, {n: t for n, t in stored.items() if n not in ignored}, source)
        _check_exact({n: refs[n].full_shape for n in fresh if n in refs}, fresh, "the fresh weights")
        tensors = {name: (fresh[name] if name in fresh else stored[name]).clone() for name in refs}
        buffers = {n: (stored[RUNNING_MEAN + n].clone(), stored[RUNNING_VARIANCE + n].clone()) for n in running}
        return cls(tensors, {name: ref.role for name, ref in refs.items()}, RunningStatistics(buffers))

    def load_tensors(self, stored: Mapping[str, torch.Tensor], source: str) -> None:
        """Overwrite weights and running statistics in place by tensors named as in `named_tensors`.

        Raises:
            WeightsError: a name is missing or unknown, a shape or type differs, a number is not finite.
        """
        own = self.named_tensors()
        _check_exact({name: tuple(tensor.shape) for name, tensor in own.items()}, stored, source)
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(stored[name])

    def save(self, path: Path, metadata: Mapping[str, str] | None = None) -> None:
        """Write weights and running statistics atomically.

        Raises:
            WeightsError: a number is not finite; the file at `path` is left as it was.
        """
        write_atomically(path, encode_tensors(self.named_tensors(), metadata or {}))

    def named_tensors(self) -> dict[str, torch.Tensor]:
        """Everything that is stored, under the names of a file."""
        tensors = dict(self._tensors)
        for name, (mean_C, variance_C) in self.running.items():
            tensors[RUNNING_MEAN + name] = mean_C
            tensors[RUNNING_VARIANCE + name] = variance_C
        return tensors

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    @property
    def device(self) -> torch.device:
        """The torch device that holds the weights."""
        return next(iter(self._tensors.values())).device

    def to(self, device: torch.device, *, channels_last: bool = False) -> WeightStore:
        """A copy on `device`; `channels_last` lays 4-D weights out for channels_last images."""

        def moved(tensor: torch.Tensor) -> torch.Tensor:
            copy = tensor.detach().to(device, copy=True)
            return copy.contiguous(memory_format=torch.channels_last) if channels_last and copy.dim() == 4 else copy

        tensors = {name: moved(tensor) for name, tensor in self._tensors.items()}
        return WeightStore(tensors, self.roles, self.running.to(device))

    def groups(self, decayed: frozenset[WeightRole]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Weights with decay and weights without, each in store order."""
        with_decay = [tensor for name, tensor in self._tensors.items() if self.roles[name] in decayed]
        without = [tensor for name, tensor in self._tensors.items() if self.roles[name] not in decayed]
        return with_decay, without

    def num_parameters(self) -> int:
        """Trainable numbers in the whole supernet."""
        return sum(tensor.numel() for tensor in self._tensors.values())

    def arrays(self, names: Iterable[str] | None = None) -> dict[str, NDArray[np.float32]]:
        """Copies of all weights (or of those named) as numpy arrays: what the exporter reads.

        Raises:
            WeightsError: a name is unknown.
        """
        return {name: self._array(name) for name in (self._tensors if names is None else names)}

    def _array(self, name: str) -> NDArray[np.float32]:
        if name not in self._tensors:
            raise WeightsError(f"no weight {name!r}: the weights belong to another space or to other parameters")
        return cast(NDArray[np.float32], self._tensors[name].detach().cpu().contiguous().numpy().copy())


def collect_weight_refs(graphs: Iterable[LayerGraph]) -> dict[str, WeightRef]:
    """Every weight of the graphs by name, in order of first use.

    Raises:
        WeightsError: one name stands for tensors of two shapes, or the graphs hold no weight.
    """
    refs: dict[str, WeightRef] = {}
    for graph in graphs:
        for name, ref in graph.weights.items():
            known = refs.setdefault(name, ref)
            if known.full_shape != ref.full_shape:
                raise WeightsError(
                    f"weight {name!r} is {known.full_shape} in one graph and {ref.full_shape} in another"
                )
    if not refs:
        raise WeightsError("the graphs hold no weight: there is nothing to train")
    return refs


def draw(shape: Shape, init: Init, rng: torch.Generator) -> torch.Tensor:
    """Draw one freshly initialised weight."""
    tensor = torch.empty(shape)
    match init.kind:
        case InitKind.NORMAL:
            return tensor.normal_(0.0, init.value, generator=rng)
        case InitKind.UNIFORM:
            return tensor.uniform_(-init.value, init.value, generator=rng)
        case InitKind.CONSTANT:
            return tensor.fill_(init.value)


def _check_exact(expected: Mapping[str, Shape], stored: Mapping[str, torch.Tensor], source: str) -> None:
    missing, unknown = sorted(expected.keys() - stored.keys()), sorted(stored.keys() - expected.keys())
    if missing or unknown:
        raise WeightsError(
            f"{source}: {len(missing)} weights are missing (first: {missing[:3]}) and {len(unknown)} are unknown "
            f"(first: {unknown[:3]}): it belongs to another space or to other parameters"
        )
    for name, shape in expected.items():
        tensor = stored[name]
        if tuple(tensor.shape) != shape or tensor.dtype != torch.float32:
            raise WeightsError(
                f"{source}: {name!r} is {tuple(tensor.shape)} {tensor.dtype}, expected {shape} torch.float32"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{source}: {name!r} holds a non-finite number")
