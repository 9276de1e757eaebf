"""DenseNAS architecture parameters as one flat tensor, with an Adam that leaves dropped operators alone.

Source: Fang et al., DenseNAS (CVPR 2020), Sec. 3.2-3.4, supplementary A.1 and A.3. In the published code
unsampled alphas still move, because Adam applies weight decay and momentum to their zero gradients; the
paper wants them unchanged, and here they are: neither the value nor the moments of a dropped operator
change in a step. Then Eq. 1 re-balances the sampled ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from nas_engine.domain.errors import TrainingError
from nas_engine.spaces.densenas.routing import Routing
from nas_engine.spaces.densenas.routing_weights import OperatorSelection, Vector, rebalance

LOGITS, FIRST_MOMENT, SECOND_MOMENT, NUM_UPDATES = "logits", "first_moment", "second_moment", "num_updates"
ADAM_EPSILON = 1e-8
FIRST_BETA, SECOND_BETA = 0.5, 0.999  # as published


class ArchitectureParameters:
    """All logits of a routing and the state of their optimiser, on the CPU in float64.

    There are a few hundred numbers; float64 makes re-balancing exact to the last digit that matters.
    """

    def __init__(
        self, routing: Routing, initial: Mapping[str, Vector], *, learning_rate: float, weight_decay: float
    ) -> None:
        self._learning_rate = learning_rate
        self._weight_decay = weight_decay
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
        return self.logits_in(self._state[LOGITS])

    def logits_in(self, flat: torch.Tensor) -> dict[str, Vector]:
        """Copies by coefficient name of flat logits, such as `tensors` gave."""
        values = flat.numpy()
        return {name: values[part].copy() for name, part in self._slices.items()}

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
        state = self._state
        values, first, second, counts = (state[key][mask] for key in _STATE_NAMES)
        counts = counts + 1
        decayed = gradient[mask] + self._weight_decay * values
        first = FIRST_BETA * first + (1 - FIRST_BETA) * decayed
        second = SECOND_BETA * second + (1 - SECOND_BETA) * decayed**2
        mean = first / (1 - FIRST_BETA**counts)
        deviation = torch.sqrt(second / (1 - SECOND_BETA**counts)) + ADAM_EPSILON
        updated = (values - self._learning_rate * mean / deviation, first, second, counts)
        for key, part in zip(_STATE_NAMES, updated, strict=True):
            state[key][mask] = part


_STATE_NAMES = (LOGITS, FIRST_MOMENT, SECOND_MOMENT, NUM_UPDATES)
