"""DenseNAS architecture parameters as one flat tensor, with an Adam that leaves dropped operators alone.

Source: Fang et al., DenseNAS (CVPR 2020), Sec. 3.2-3.4, supplementary A.1 and A.3. In the published code
unsampled alphas still move, because Adam applies weight decay and momentum to their zero gradients; the
paper wants them unchanged, and here they are: neither the value nor the moments of a dropped operator
change in a step. Then Eq. 1 re-balances the sampled ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from nas_engine.domain.errors import TrainingError
from nas_engine.spaces.densenas.routing import Routing
from nas_engine.spaces.densenas.routing_weights import OperatorSelection, Vector, rebalance

LOGITS, FIRST_MOMENT, SECOND_MOMENT, NUM_UPDATES = "logits", "first_moment", "second_moment", "num_updates"
ADAM_EPSILON = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchitectureOptimizerConfig:
    """Adam with L2 decay, as published: fixed learning rate 3e-4, betas (0.5, 0.999), decay 1e-3."""

    learning_rate: float = 3e-4
    first_beta: float = 0.5
    second_beta: float = 0.999
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise TrainingError(f"architecture learning_rate is {self.learning_rate}: it must be finite and above 0")
        for name, beta in (("first_beta", self.first_beta), ("second_beta", self.second_beta)):
            if not 0.0 <= beta < 1.0:
                raise TrainingError(f"architecture {name} is {beta}: it must lie in [0, 1)")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise TrainingError(f"architecture weight_decay is {self.weight_decay}: it must be 0 or more")


class ArchitectureParameters:
    """All logits of a routing and the state of their optimiser, on the CPU in float64.

    There are a few hundred numbers; float64 makes re-balancing exact to the last digit that matters.
    """

    def __init__(self, routing: Routing, initial: Mapping[str, Vector], config: ArchitectureOptimizerConfig) -> None:
        self._config = config
        self._slices: dict[str, slice] = {}
        start = 0
        for name, size in routing.coefficient_sizes():
            self._slices[name] = slice(start, start + size)
            start += size
        self._state = {key: torch.zeros(start, dtype=torch.float64) for key in _STATE_NAMES}
        for name, part in self._slices.items():
            self._state[LOGITS][part] = torch.from_numpy(initial[name])

    def logits(self) -> dict[str, Vector]:
        """Copies by coefficient name."""
        flat = self._state[LOGITS].numpy()
        return {name: flat[part].copy() for name, part in self._slices.items()}

    def leaf(self, device: torch.device) -> torch.Tensor:
        """The flat logits as a float32 leaf that collects gradients."""
        return self._state[LOGITS].to(device, torch.float32, copy=True).requires_grad_(True)

    def coefficients(
        self, leaf: torch.Tensor, selection: OperatorSelection, beta_temperature: float
    ) -> dict[str, torch.Tensor]:
        """Normalised weights by name: softmax over the sampled operators, 0 for dropped ones."""
        weights: dict[str, torch.Tensor] = {}
        for name, part in self._slices.items():
            values = leaf[part]
            if name.startswith("beta."):
                weights[name] = torch.softmax(values / beta_temperature, dim=0)
                continue
            kept = selection.get(name)
            if kept is None or len(kept) == len(values):
                weights[name] = torch.softmax(values, dim=0)
            else:
                index = torch.tensor(kept, device=leaf.device)
                weights[name] = torch.zeros_like(values).index_add(0, index, torch.softmax(values[index], dim=0))
        return weights

    def update(self, gradient: torch.Tensor, selection: OperatorSelection) -> None:
        """One Adam step of the betas and the sampled alphas, then Eq. 1 on every sampled layer.

        Raises:
            TrainingError: the gradient holds a non-finite number.
        """
        if not bool(torch.isfinite(gradient).all()):
            raise TrainingError("the architecture gradient is not finite: lower the learning rate or the cost factor")
        before = self.logits()
        self._adam(gradient.detach().to("cpu", torch.float64), self._mask(selection))
        flat = self._state[LOGITS].numpy()
        for name, part in self._slices.items():
            if not name.startswith("beta."):
                kept = selection.get(name, tuple(range(part.stop - part.start)))
                flat[part] = rebalance(before[name], flat[part].copy(), kept)

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """Everything a resumed run needs."""
        return {key: tensor.clone() for key, tensor in self._state.items()}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over what `tensors` gave.

        Raises:
            TrainingError: a part is missing, of another length, or not finite.
        """
        for key, own in self._state.items():
            found = tensors.get(key)
            if found is None or found.shape != own.shape or not bool(torch.isfinite(found).all()):
                raise TrainingError(f"checkpoint: architecture parameters lack a finite {key} of {len(own)} values")
            own.copy_(found)

    def _mask(self, selection: OperatorSelection) -> torch.Tensor:
        mask = torch.zeros(len(self._state[LOGITS]), dtype=torch.bool)
        for name, part in self._slices.items():
            if name in selection:
                mask[part.start + np.asarray(selection[name])] = True
            else:
                mask[part] = True
        return mask

    def _adam(self, gradient: torch.Tensor, mask: torch.Tensor) -> None:
        """Adam on the masked elements; each counts its own updates, for the bias corrections."""
        config, state = self._config, self._state
        values, first, second, counts = (state[key][mask] for key in _STATE_NAMES)
        counts = counts + 1
        decayed = gradient[mask] + config.weight_decay * values
        first = config.first_beta * first + (1 - config.first_beta) * decayed
        second = config.second_beta * second + (1 - config.second_beta) * decayed**2
        mean = first / (1 - config.first_beta**counts)
        deviation = torch.sqrt(second / (1 - config.second_beta**counts)) + ADAM_EPSILON
        updated = (values - config.learning_rate * mean / deviation, first, second, counts)
        for key, part in zip(_STATE_NAMES, updated, strict=True):
            state[key][mask] = part


_STATE_NAMES = (LOGITS, FIRST_MOMENT, SECOND_MOMENT, NUM_UPDATES)
