"""How fast a supernet trains: steps of ours beside those of plain torch modules, on the same prepared batches.

    python benchmarks/search/training_step.py [--size 224 --batch 32] [--steps 12] [--threads 2]

Ours is what the training loop does for a step: strategy, gradients, optimiser. The peer is the same supernet as an
`nn.Module` (`plain_shufflenet.py`), once in NCHW and once in channels_last memory, with the same optimiser (SGD with
momentum and weight decay), batches and paths. `uniform` trains one path a step; `sandwich` the largest path on labels,
then two random ones and the smallest on its logits. All three make a step one after the other, in an order that turns
round from step to step; the first steps warm everybody up. Ratios are medians over the steps. `loop` is the training
loop with its data (drawing, normalising, counting, reporting): its time beyond the strategies' and optimiser's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from plain_shufflenet import PlainSupernet

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.search_space import SearchSpace
from nas_engine.settings.strategies import DistillationKind, SandwichSettings, StrategySettings, UniformSettings
from nas_engine.settings.training import AugmentationName, OptimizerSettings, TrainingSettings
from nas_engine.spaces.shufflenet import ShuffleNetParameters, ShuffleNetSpace
from nas_engine.supernet.execute import BATCH
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.data.dataset import ArraySplit, make_dataset
from nas_engine.training.loop import train
from nas_engine.training.optimization import make_optimizer
from nas_engine.training.randomness import Randomness, Stream
from nas_engine.training.strategies.factory import create_strategy
from nas_engine.training.strategies.paths import extreme_genotypes, uniform_sampler
from nas_engine.training.strategies.strategy import ImageBatch, Stateless, StepContext, StepOutcome, TrainingStrategy

CPU = torch.device("cpu")
NUM_CLASSES = 10
SMOOTHING = 0.1
WARM_UP = 2
OPTIMIZER = OptimizerSettings(learning_rate=0.01)
OURS, NCHW, CHANNELS_LAST = "hilnas", "module, NCHW", "module, channels_last"
SANDWICH = SandwichSettings(num_random=2, distillation=DistillationKind.KULLBACK_LEIBLER)
Step = Callable[[int], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=32, help="height and width of the images (default 32)")
    parser.add_argument("--batch", type=int, default=128, help="images per step (default 128)")
    parser.add_argument("--steps", type=int, default=12, help="steps that count (default 12)")
    parser.add_argument("--stem-stride", type=int, help="of the space; default 1 up to 64 pixels, else 2")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    stem_stride = arguments.stem_stride or (1 if arguments.size <= 64 else 2)
    parameters = ShuffleNetParameters(num_classes=NUM_CLASSES, input_size=arguments.size, stem_stride=stem_stride)
    space = ShuffleNetSpace(parameters)
    print(
        f"SPOS at {arguments.size} pixels (stem stride {stem_stride}), batch {arguments.batch}, "
        f"{arguments.steps} steps, {arguments.threads} threads"
    )
    batch = ImageBatch(
        torch.randn(arguments.batch, 3, arguments.size, arguments.size), torch.arange(arguments.batch) % NUM_CLASSES
    )
    print(f"{'':10}{'who':24}{'ms a step':>10}{'ratio':>8}")
    for name, settings in (("uniform", UniformSettings()), ("sandwich", SANDWICH)):
        contestants = {OURS: _ours(space, settings, batch)}
        for who, memory in ((NCHW, torch.contiguous_format), (CHANNELS_LAST, torch.channels_last)):
            contestants[who] = _peer(space, parameters, settings, batch, memory)
        times = _timed(contestants, arguments.steps)
        for who, seconds in times.items():
            ratio = statistics.median(peer / own for peer, own in zip(seconds, times[OURS], strict=True))
            print(f"{name:10}{who:24}{1e3 * statistics.median(seconds):10.0f}{ratio:8.2f}")
    _loop(space, arguments.batch, arguments.size, arguments.steps)


def _timed(contestants: dict[str, Step], num_steps: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {who: [] for who in contestants}
    names = list(contestants)
    for number in range(WARM_UP + num_steps):
        turned = number % len(names)
        for who in names[turned:] + names[:turned]:
            started_s = time.perf_counter()
            contestants[who](number)
            if number >= WARM_UP:
                times[who].append(time.perf_counter() - started_s)
    return times


def _ours(space: SearchSpace, settings: StrategySettings, batch: ImageBatch) -> Step:
    randomness = Randomness(0)
    weights = WeightStore.create(space.supernet_graphs(), randomness.torch(Stream.INITIAL_WEIGHTS, 0))
    weights = weights.to(CPU, channels_last=True)
    strategy = create_strategy(space, settings, label_smoothing=SMOOTHING)
    optimizer = make_optimizer(weights, OPTIMIZER)
    prepared = ImageBatch(batch.images_NCHW.contiguous(memory_format=torch.channels_last), batch.labels_N)

    def step(number: int) -> None:
        optimizer.zero_grad(set_to_none=True)
        context = StepContext(
            step=number, num_steps=1000, part=0, first=True, weights=weights, randomness=randomness,
            norm=BATCH, autocast=nullcontext, backward=torch.Tensor.backward,
        )  # fmt: skip
        strategy.step(prepared, context)
        optimizer.step()

    return step


def _peer(
    space: SearchSpace,
    parameters: ShuffleNetParameters,
    settings: StrategySettings,
    batch: ImageBatch,
    memory: torch.memory_format,
) -> Step:
    module = PlainSupernet(parameters).to(memory_format=memory)
    images_NCHW = batch.images_NCHW.contiguous(memory_format=memory)
    optimizer = torch.optim.SGD(
        module.parameters(), OPTIMIZER.learning_rate, OPTIMIZER.momentum, weight_decay=OPTIMIZER.weight_decay
    )
    sampler, randomness = uniform_sampler(space), Randomness(0)
    smallest, largest = extreme_genotypes(space)

    def on_labels(genotype: Genotype) -> torch.Tensor:
        logits_NK: torch.Tensor = module(images_NCHW, genotype)
        F.cross_entropy(logits_NK, batch.labels_N, label_smoothing=SMOOTHING).backward()
        return logits_NK.detach()

    def step(number: int) -> None:
        optimizer.zero_grad(set_to_none=True)
        rng = randomness.numpy(Stream.ARCHITECTURE, number)
        if isinstance(settings, SandwichSettings):
            drawn = [sampler(rng).genotype for _ in range(settings.num_random)]
            teacher_NK = on_labels(largest).softmax(1)
            for genotype in (*drawn, smallest):
                student_NK = module(images_NCHW, genotype).log_softmax(1)
                F.kl_div(student_NK, teacher_NK, reduction="batchmean").backward()
        else:
            on_labels(sampler(rng).genotype)
        optimizer.step()

    return step


class _Clocked(Stateless):
    """A strategy that says how long its steps took."""

    def __init__(self, strategy: TrainingStrategy) -> None:
        self._strategy, self.seconds = strategy, list[float]()

    @property
    def name(self) -> str:
        return self._strategy.name

    def settings(self) -> JsonValue:
        return self._strategy.settings()

    def step(self, batch: ImageBatch, context: StepContext) -> StepOutcome:
        started_s = time.perf_counter()
        outcome = self._strategy.step(batch, context)
        self.seconds.append(time.perf_counter() - started_s)
        return outcome


def _loop(space: SearchSpace, batch_size: int, size: int, num_steps: int) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20 * batch_size, size, size, 3), dtype=np.uint8)
    split = ArraySplit(pixels, np.arange(len(pixels), dtype=np.int64) % NUM_CLASSES)
    classes = tuple(str(number) for number in range(NUM_CLASSES))
    dataset = make_dataset("noise", split, split, classes, validation_fraction=0.1, seed=0)
    weights = WeightStore.create(space.supernet_graphs(), Randomness(0).torch(Stream.INITIAL_WEIGHTS, 0))
    strategy = _Clocked(create_strategy(space, UniformSettings(), label_smoothing=SMOOTHING))
    settings = TrainingSettings(
        iterations=WARM_UP + num_steps, batch_size=batch_size, optimizer=OPTIMIZER, augmentation=AugmentationName.LIGHT
    )
    started_s = time.perf_counter()
    train(strategy, weights, dataset, settings, device=CPU)
    seconds = time.perf_counter() - started_s
    own: Sequence[float] = strategy.seconds
    print(f"{'loop':10}{'beyond its steps':24}{1e3 * (seconds - sum(own)) / len(own):10.1f}"
          f"{(seconds - sum(own)) / sum(own):8.1%}  (optimiser, data, start and end)")  # fmt: skip


if __name__ == "__main__":
    main()
