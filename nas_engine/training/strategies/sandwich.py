"""The sandwich rule with in-place distillation: the largest subnet teaches random ones and the smallest.

Source: AlphaNet (Wang et al., ICML 2021, arXiv 2102.07954) and AttentiveNAS, with the reference's
order of things: the teacher's logits are those of the largest subnet with its dropout on; the students
see no labels (unless the loss asks for them) and no dropout; gradients are summed, clamped to +-1 and
followed by one update; batch normalisation uses the batch's statistics and keeps none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch

from nas_engine.domain.errors import TrainingError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.training.config import check_label_smoothing
from nas_engine.training.randomness import Stream
from nas_engine.training.strategies.losses import (
    AdaptiveAlpha,
    DistillationLoss,
    FixedAlpha,
    KullbackLeibler,
    SoftTargets,
    smoothed_cross_entropy,
)
from nas_engine.training.strategies.paths import extreme_genotypes, graph_of, uniform_sampler
from nas_engine.training.strategies.strategy import ImageBatch, Stateless, StepContext, StepOutcome
from nas_engine.training.strategies.uniform import count_correct, path_logits, strategy_settings


class DistillationKind(Enum):
    """What the students minimise."""

    ADAPTIVE_ALPHA = "adaptive-alpha"  # AlphaNet
    FIXED_ALPHA = "fixed-alpha"
    SOFT_TARGETS = "soft-targets"  # what both repositories run as "KL": no hard labels
    KULLBACK_LEIBLER = "kl"  # AlphaNet's supplementary material, Eq. 7-8, with hard labels


@dataclass(frozen=True, slots=True, kw_only=True)
class SandwichConfig:
    """Settings of sandwich training.

    Attributes:
        num_random: random subnets beside the largest and the smallest (AlphaNet: 2).
        label_smoothing: of the largest subnet's cross entropy.
        distillation: loss of all others.
        alpha_min, alpha_max, clip: of the adaptive divergence.
        alpha: of the fixed divergence, which takes `clip` too.
        temperature: of soft targets and KL.
        beta: weight of the divergence in KL; the rest is cross entropy with the labels.
    """

    num_random: int = 2
    label_smoothing: float = 0.1
    distillation: DistillationKind = DistillationKind.ADAPTIVE_ALPHA
    alpha_min: float = -1.0
    alpha_max: float = 1.0
    clip: float = 5.0
    alpha: float = 1.0
    temperature: float = 1.0
    beta: float = 0.9

    def __post_init__(self) -> None:
        check_label_smoothing(self.label_smoothing)
        if self.num_random < 0:
            raise TrainingError(f"num_random is {self.num_random}: it must be 0 or more")
        self.loss()

    def loss(self) -> DistillationLoss:
        """The students' loss.

        Raises:
            TrainingError: one of its settings is out of range.
        """
        match self.distillation:
            case DistillationKind.ADAPTIVE_ALPHA:
                return AdaptiveAlpha(alpha_min=self.alpha_min, alpha_max=self.alpha_max, clip=self.clip)
            case DistillationKind.FIXED_ALPHA:
                return FixedAlpha(alpha=self.alpha, clip=self.clip)
            case DistillationKind.SOFT_TARGETS:
                return SoftTargets(temperature=self.temperature)
            case DistillationKind.KULLBACK_LEIBLER:
                return KullbackLeibler(beta=self.beta, temperature=self.temperature)


class SandwichStrategy(Stateless):
    """`TrainingStrategy`: largest, random ..., smallest; the report is on the largest."""

    def __init__(self, space: SearchSpace, config: SandwichConfig) -> None:
        self._space = space
        self._config = config
        self._smallest, self._largest = extreme_genotypes(space)
        self._sampler = uniform_sampler(space)
        self._loss = config.loss()

    @property
    def name(self) -> str:
        """``sandwich``."""
        return "sandwich"

    def settings(self) -> JsonValue:
        """Space and config."""
        return strategy_settings(self._space, self._config)

    def step(self, batch: ImageBatch, context: StepContext) -> StepOutcome:
        """Backward passes of the largest subnet, of random ones, and of the smallest."""
        rng = context.randomness.numpy(Stream.ARCHITECTURE, context.step)
        students = [*(self._sampler(rng).genotype for _ in range(self._config.num_random)), self._smallest]
        teacher_NK, outcome = self._teach(batch, context)
        for genotype in students:
            graph = graph_of(self._space, genotype, Form.SUPERNET)
            student_NK = path_logits(graph, batch, context, dropout_rng=None)
            context.backward(self._loss(student_NK, teacher_NK, batch.labels_N))
        return outcome

    def _teach(self, batch: ImageBatch, context: StepContext) -> tuple[torch.Tensor, StepOutcome]:
        """The largest subnet learns from labels; its logits, dropout and all, are the soft targets."""
        graph = graph_of(self._space, self._largest, Form.SUPERNET)
        logits_NK = path_logits(graph, batch, context, context.dropout_rng())
        loss = smoothed_cross_entropy(logits_NK, batch.labels_N, smoothing=self._config.label_smoothing)
        context.backward(loss)
        return logits_NK.detach(), StepOutcome(loss.detach(), count_correct(logits_NK, batch.labels_N))
