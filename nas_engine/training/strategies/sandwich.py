"""The sandwich rule with in-place distillation: the largest subnet teaches random ones and the smallest.

Source: AlphaNet (Wang et al., ICML 2021, arXiv 2102.07954) and AttentiveNAS, with the reference's
order of things: the teacher's logits are those of the largest subnet with its dropout on; the students
see no labels (unless the loss asks for them) and no dropout; gradients are summed, clamped to +-1 and
followed by one update; batch normalisation uses the batch's statistics and keeps none.
"""

from __future__ import annotations

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.settings.strategies import DistillationKind, SandwichSettings
from nas_engine.training.identity import strategy_document
from nas_engine.training.randomness import Stream
from nas_engine.training.strategies.losses import (
    AdaptiveAlpha,
    DistillationLoss,
    FixedAlpha,
    KullbackLeibler,
    SoftTargets,
    smoothed_cross_entropy,
)
from nas_engine.training.strategies.paths import decoded_graph, extreme_genotypes, uniform_sampler
from nas_engine.training.strategies.strategy import ImageBatch, Stateless, StepContext, StepOutcome
from nas_engine.training.strategies.uniform import count_correct, path_logits


def students_loss(settings: SandwichSettings) -> DistillationLoss:
    """Loss of all subnets but the largest."""
    match settings.distillation:
        case DistillationKind.ADAPTIVE_ALPHA:
            return AdaptiveAlpha(alpha_min=settings.alpha_min, alpha_max=settings.alpha_max, clip=settings.clip)
        case DistillationKind.FIXED_ALPHA:
            return FixedAlpha(alpha=settings.alpha, clip=settings.clip)
        case DistillationKind.SOFT_TARGETS:
            return SoftTargets(temperature=settings.temperature)
        case DistillationKind.KULLBACK_LEIBLER:
            return KullbackLeibler(beta=settings.beta, temperature=settings.temperature)


class SandwichStrategy(Stateless):
    """`TrainingStrategy`: largest, random ..., smallest; the report is on the largest."""

    def __init__(self, space: SearchSpace, settings: SandwichSettings, *, label_smoothing: float) -> None:
        self._space = space
        self._settings = settings
        self._label_smoothing = label_smoothing
        self._smallest, self._largest = extreme_genotypes(space)
        self._sampler = uniform_sampler(space)
        self._loss = students_loss(settings)

    @property
    def name(self) -> str:
        return "sandwich"

    def settings(self) -> JsonValue:
        """Space, losses and smoothing, in the form of the first release."""
        config = self._settings.model_dump(mode="json", exclude={"kind"})
        return strategy_document(self._space, {**config, "label_smoothing": self._label_smoothing})

    def step(self, batch: ImageBatch, context: StepContext) -> StepOutcome:
        """Backward passes of the largest subnet, of random ones, and of the smallest."""
        rng = context.randomness.numpy(Stream.ARCHITECTURE, context.step)
        students = [*(self._sampler(rng).genotype for _ in range(self._settings.num_random)), self._smallest]
        # The largest subnet learns from labels; its logits, dropout and all, are the soft targets.
        graph = decoded_graph(self._space, self._largest, Form.SUPERNET)
        logits_NK = path_logits(graph, batch, context, context.dropout_rng())
        loss = smoothed_cross_entropy(logits_NK, batch.labels_N, smoothing=self._label_smoothing)
        context.backward(loss)
        teacher_NK = logits_NK.detach()
        outcome = StepOutcome(loss.detach(), count_correct(logits_NK, batch.labels_N))
        for genotype in students:
            graph = decoded_graph(self._space, genotype, Form.SUPERNET)
            student_NK = path_logits(graph, batch, context, dropout_rng=None)
            context.backward(self._loss(student_NK, teacher_NK, batch.labels_N))
        return outcome
