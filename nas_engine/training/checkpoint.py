"""Checkpoints: one safetensors file, replaced atomically. No pickle.

The file holds the weights and running statistics under their own names, the optimiser's buffers under
``optimizer/KEY/WEIGHT``, the strategy's tensors under ``strategy/NAME``, and a JSON document in its
header. Generators need no state: see randomness.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import torch

from nas_engine.domain.errors import TrainingError, WeightsError
from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.supernet.tensor_file import encode_tensors, read_tensors, write_atomically
from nas_engine.supernet.weights import WeightStore

HEADER = "hilnas.checkpoint"
VERSION = 1
MAX_HEADER_BYTES = 100 * 2**20  # as safetensors itself allows
OPTIMIZER, STRATEGY = "optimizer/", "strategy/"


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Progress at one step: the means since the point before.

    Attributes:
        step: updates made so far.
        loss: finite.
        top1: share of correct predictions on the (augmented) training batches.
    """

    step: int
    loss: float
    top1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything a run needs to go on.

    Attributes:
        step: updates made.
        identity: digest of what may not change between the parts of a run (config, data, strategy).
        curve: progress so far.
        pending: sums since the last curve point: loss, correct predictions, images, steps.
        tensors: weights, running statistics, optimiser and strategy tensors, by file name.
        strategy_state: the strategy's JSON state.
        scaler: state of the mixed-precision loss scaler; empty without one.
    """

    step: int
    identity: str
    curve: tuple[CurvePoint, ...]
    pending: tuple[float, ...]
    tensors: Mapping[str, torch.Tensor]
    strategy_state: JsonValue
    scaler: Mapping[str, float]

    def save(self, path: Path) -> None:
        """Write atomically.

        Raises:
            WeightsError: a number is not finite; the file at `path` stays as it was.
        """
        document: JsonValue = {
            "version": VERSION,
            "step": self.step,
            "identity": self.identity,
            "curve": [[point.step, point.loss, point.top1] for point in self.curve],
            "pending": list(self.pending),
            "strategy_state": self.strategy_state,
            "scaler": dict(self.scaler),
        }
        write_atomically(path, encode_tensors(self.tensors, {HEADER: canonical_json(document)}))

    @classmethod
    def load(cls, path: Path, identity: str) -> Checkpoint:
        """Read a checkpoint of the very same run.

        Raises:
            TrainingError: it is damaged, of another version, or of another run.
        """
        try:
            tensors, metadata = read_tensors(path)
            document = json.loads(metadata[HEADER])
            if document["version"] != VERSION:
                raise TrainingError(f"{path} is a checkpoint of version {document['version']}, this program reads 1")
            checkpoint = cls(
                step=int(document["step"]),
                identity=str(document["identity"]),
                curve=tuple(CurvePoint(int(s), float(loss), float(top1)) for s, loss, top1 in document["curve"]),
                pending=tuple(float(value) for value in document["pending"]),
                tensors=tensors,
                strategy_state=cast(JsonValue, document["strategy_state"]),
                scaler={str(name): float(value) for name, value in document["scaler"].items()},
            )
        except WeightsError as error:
            raise TrainingError(f"checkpoint cannot be read: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(
                f"{path} is no checkpoint of a training run ({error!r}): delete it to start anew"
            ) from error
        if checkpoint.identity != identity:
            raise TrainingError(
                f"{path} belongs to a run with other settings, data or strategy: delete it to start anew, "
                "or give the settings it was made with"
            )
        return checkpoint

    def part(self, prefix: str) -> dict[str, torch.Tensor]:
        """Tensors under a prefix, without it."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}

    def weights(self) -> dict[str, torch.Tensor]:
        """Weights and running statistics, as `WeightStore.from_tensors` reads them."""
        return {name: t for name, t in self.tensors.items() if not name.startswith((OPTIMIZER, STRATEGY))}


def optimizer_tensors(optimizer: torch.optim.Optimizer, weights: WeightStore) -> dict[str, torch.Tensor]:
    """The optimiser's buffers by file name; weights that were never updated have none."""
    found: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        for key, value in optimizer.state.get(weight, {}).items():
            if isinstance(value, torch.Tensor):
                found[f"{OPTIMIZER}{key}/{name}"] = value
    return found


def restore_optimizer(
    optimizer: torch.optim.Optimizer, weights: WeightStore, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Give the optimiser the buffers of a checkpoint (names without the ``optimizer/`` prefix).

    Raises:
        TrainingError: a buffer belongs to no weight, or has another shape.
    """
    for joined, stored in tensors.items():
        key, _, name = joined.partition("/")
        if name not in weights or (stored.dim() and stored.shape != weights[name].shape):
            raise TrainingError(f"checkpoint: optimiser buffer {joined!r} fits no weight of this supernet")
        weight = weights[name]
        value = stored if stored.dim() == 0 else torch.empty_like(weight).copy_(stored)
        optimizer.state[weight][key] = value.detach().clone() if stored.dim() == 0 else value.detach()


def step_in(source: BinaryIO) -> int:
    """The step of the checkpoint in an open file, from its header alone; leaves the file at its beginning.

    Raises:
        TrainingError: it is no checkpoint.
    """
    try:
        size_bytes = int.from_bytes(source.read(8), "little")
        if not 0 < size_bytes <= MAX_HEADER_BYTES:
            raise ValueError(f"header of {size_bytes} bytes")
        header = json.loads(source.read(size_bytes))
        step = int(json.loads(header["__metadata__"][HEADER])["step"])
    except (KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"no checkpoint of a training run ({error!r}): delete it to start anew") from error
    source.seek(0)
    return step
