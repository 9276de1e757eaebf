"""All randomness of training, as a pure function of (seed, stream, counter).

Nothing is drawn from a generator that lives across steps. So a resumed run needs no generator states,
every process of a distributed run draws the same architectures, and no stream disturbs another.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What is drawn. Values are part of a run's identity: never renumber, only add."""

    INITIAL_WEIGHTS = 0
    ORDER = 1
    ARCHITECTURE = 2
    CROP = 3
    AUGMENTATION = 4
    DROPOUT = 5
    COEFFICIENTS = 6
    VALIDATION_SPLIT = 7
    CALIBRATION = 8
    HEAD = 9
    SHIFTING = 10
    FILE_CROP = 11


@dataclass(frozen=True, slots=True)
class Randomness:
    """Generators of one run.

    Attributes:
        seed: 0 or more; the run's one seed.
    """

    seed: int

    def numpy(self, stream: Stream, counter: int, *more: int) -> np.random.Generator:
        """A numpy generator of its own for one draw, e.g. ``numpy(Stream.ARCHITECTURE, step)``."""
        return np.random.default_rng((self.seed, int(stream), counter, *more))

    def torch(self, stream: Stream, counter: int, *more: int, device: torch.device | None = None) -> torch.Generator:
        """The same for torch, on `device` (default: CPU)."""
        state = np.random.SeedSequence((self.seed, int(stream), counter, *more)).generate_state(1, np.uint64)
        generator = torch.Generator(device=device or torch.device("cpu"))
        return generator.manual_seed(int(state[0] >> np.uint64(1)))
