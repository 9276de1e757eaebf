"""How fast a candidate is evaluated: BN calibration and validation of SPOS sub-networks, beside plain torch modules.

    python benchmarks/search/evaluation.py [--size 224 --batch 64] [--architectures 5] [--data FOLDER] [--steps 150]

Ours is the evaluator as a search worker uses it. The peer is the plain `nn.Module` of the same sub-network
(`plain_shufflenet.py`) under `inference_mode`, once in NCHW and once in channels_last memory: the same decoded and
normalised images in memory, the same batches, the same cores. All three evaluate an architecture one after the other,
in an order that turns round from architecture to architecture; an architecture of its own warms everybody up. Ratios
are medians over the architectures. Beside them stands how many images are answered otherwise: right here and wrong
there, or the other way round.

The product's defaults decide what is looked at: 20 calibration batches, and every one of 5,000 validation images. With
`--share 0.25` both are cut to a quarter. Without `--data` the images are noise and the weights as they are drawn: that
serves for speed alone. With it (an image folder `train/<class>/...`, `test/<class>/...` such as CIFAR-10) the supernet
is trained for `--steps` updates first; `--weights FILE` keeps it for the next run, of any size.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from plain_shufflenet import PlainShuffleNet

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.search_space import sample_genotype
from nas_engine.settings.evaluation import EvaluationSettings
from nas_engine.settings.strategies import UniformSettings
from nas_engine.settings.training import AugmentationName, OptimizerSettings, TrainingSettings
from nas_engine.spaces.shufflenet import ShuffleNetParameters, ShuffleNetSpace
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.data.augmentation import NO_AUGMENTATION
from nas_engine.training.data.dataset import ArraySplit, ImageDataset, Split, make_dataset
from nas_engine.training.data.source import DatasetSource, open_dataset
from nas_engine.training.data.stream import CalibrationBatches, PlainBatches, TrainingStream
from nas_engine.training.evaluator import CALIBRATION_SEED, SupernetEvaluator
from nas_engine.training.loop import train
from nas_engine.training.randomness import Randomness, Stream
from nas_engine.training.strategies.uniform import UniformStrategy

CPU = torch.device("cpu")
NUM_CLASSES = 10
NUM_VALIDATION = 5000
OURS, NCHW, CHANNELS_LAST = "evaluator", "module, NCHW", "module, channels_last"


@dataclass(frozen=True, slots=True)
class Found:
    """One evaluation: its time, and whether each image was answered right, (N,)."""

    seconds: float
    right: np.ndarray


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    stem_stride = arguments.stem_stride or (1 if arguments.size <= 64 else 2)
    parameters = ShuffleNetParameters(num_classes=NUM_CLASSES, input_size=arguments.size, stem_stride=stem_stride)
    space = ShuffleNetSpace(parameters)
    settings = EvaluationSettings(batch_size=arguments.batch)
    settings = settings.model_copy(
        update={"num_calibration_batches": max(1, round(arguments.share * settings.num_calibration_batches))}
    )
    dataset = _dataset(arguments, settings)
    weights = _weights(space, arguments)
    contestants = _contestants(space, parameters, weights, dataset, settings)
    rng = np.random.default_rng(arguments.seed)
    rows: dict[str, list[Found]] = {name: [] for name in contestants}
    for number in range(arguments.architectures + 1):
        genotype = space.canonical(sample_genotype(space.genes, rng))
        names = list(contestants)
        for name in names if number % 2 else reversed(names):
            found = contestants[name](genotype)
            if number:
                rows[name].append(found)
    print(
        f"SPOS at {arguments.size} pixels (stem stride {stem_stride}), batch {arguments.batch}, "
        f"{settings.num_calibration_batches} calibration batches, {len(dataset.validation)} validation images, "
        f"{arguments.architectures} architectures, {arguments.threads} threads"
    )
    _report(rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=32, help="height and width of the images (default 32)")
    parser.add_argument("--batch", type=int, default=128, help="images per batch (default 128)")
    parser.add_argument("--architectures", type=int, default=5, help="evaluated by each, beside the first (default 5)")
    parser.add_argument("--share", type=float, default=1.0, help="of the images that the product looks at (default 1)")
    parser.add_argument("--stem-stride", type=int, help="of the space; default 1 up to 64 pixels, else 2")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="an image folder")
    parser.add_argument("--steps", type=int, default=150, help="updates of the supernet, with --data (default 150)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="read from here, or written after training")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _dataset(arguments: argparse.Namespace, settings: EvaluationSettings) -> ImageDataset:
    """Images in memory, as many as are looked at."""
    num_train = settings.num_calibration_batches * settings.batch_size
    num_validation = max(1, round(arguments.share * NUM_VALIDATION))
    if arguments.data is None:
        return _noise(arguments.size, num_train, num_validation, arguments.seed)
    found = open_dataset(DatasetSource(kind="folder", path=str(arguments.data), image_size=arguments.size))
    return replace(
        found,
        train=_decoded(found.train, num_train),
        validation=_decoded(found.validation, num_validation),
        test=_decoded(found.test, NUM_CLASSES),
    )


def _decoded(split: Split, count: int) -> ArraySplit:
    """Images in memory, drawn evenly: splits are sorted by class."""
    count = min(count, len(split))
    indices = np.arange(count, dtype=np.int64) * len(split) // count
    return ArraySplit(split.load(indices), split.labels[indices])


def _noise(size: int, num_train: int, num_validation: int, seed: int) -> ImageDataset:
    rng = np.random.default_rng(seed)

    def split(count: int) -> ArraySplit:
        pixels = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
        return ArraySplit(pixels, np.arange(count, dtype=np.int64) % NUM_CLASSES)

    classes = tuple(str(number) for number in range(NUM_CLASSES))
    held_out = num_validation / (num_train + num_validation)
    return make_dataset("noise", split(num_train + num_validation), split(NUM_CLASSES), classes,
                        validation_fraction=held_out, seed=seed)  # fmt: skip


def _weights(space: ShuffleNetSpace, arguments: argparse.Namespace) -> WeightStore:
    if arguments.weights is not None and arguments.weights.exists():
        return WeightStore.load(arguments.weights, space.supernet_graphs())
    rng = Randomness(arguments.seed).torch(Stream.INITIAL_WEIGHTS, 0)
    weights = WeightStore.create(space.supernet_graphs(), rng)
    if arguments.data is None:
        return weights
    source = DatasetSource(kind="folder", path=str(arguments.data), image_size=arguments.size)
    settings = TrainingSettings(
        iterations=arguments.steps,
        batch_size=64,
        seed=arguments.seed,
        optimizer=OptimizerSettings(learning_rate=0.1),
        augmentation=AugmentationName.NONE,
    )
    found = open_dataset(source)
    dataset = replace(found, train=_decoded(found.train, 64 * arguments.steps))
    weights = train(UniformStrategy(space, UniformSettings()), weights, dataset, settings, device=CPU).weights
    if arguments.weights is not None:
        weights.save(arguments.weights)
    return weights


def _contestants(
    space: ShuffleNetSpace,
    parameters: ShuffleNetParameters,
    weights: WeightStore,
    dataset: ImageDataset,
    settings: EvaluationSettings,
) -> Mapping[str, Callable[[Genotype], Found]]:
    evaluator = SupernetEvaluator(space, weights, dataset, settings, CPU)
    stream = TrainingStream(
        dataset,
        batch_size=settings.batch_size,
        augmentation=NO_AUGMENTATION,
        randomness=Randomness(CALIBRATION_SEED),
        device=CPU,
    )
    calibration = list(CalibrationBatches(stream, settings.num_calibration_batches))
    held_out = [
        (batch.images_NCHW, batch.labels_N)
        for batch in PlainBatches(
            dataset.validation, dataset.normalisation, batch_size=settings.held_out_batch_size, device=CPU
        )
    ]

    def ours(genotype: Genotype) -> Found:
        started = time.perf_counter()
        found = evaluator.evaluate(space.decode(genotype)).accuracy
        seconds = time.perf_counter() - started
        assert found.answers is not None
        right = np.unpackbits(np.frombuffer(found.answers.bits, np.uint8), count=found.num_images)
        return Found(seconds, right.astype(np.bool_))

    def peer(memory_format: torch.memory_format) -> Callable[[Genotype], Found]:
        images = [x_NCHW.contiguous(memory_format=memory_format) for x_NCHW in calibration]
        labelled = [(x_NCHW.contiguous(memory_format=memory_format), labels_N) for x_NCHW, labels_N in held_out]

        def evaluated(genotype: Genotype) -> Found:
            module = PlainShuffleNet(parameters, genotype, weights).to(memory_format=memory_format)
            started = time.perf_counter()
            right = module.evaluated(images, labelled).numpy()
            return Found(time.perf_counter() - started, right)

        return evaluated

    return {OURS: ours, NCHW: peer(torch.contiguous_format), CHANNELS_LAST: peer(torch.channels_last)}


def _report(rows: Mapping[str, Sequence[Found]]) -> None:
    ours = rows[OURS]
    print(f"{'':24}{'s per architecture':>20}{'times ours':>12}  answered otherwise, image by image")
    for name, found in rows.items():
        seconds = statistics.median(one.seconds for one in found)
        ratio = statistics.median(peer.seconds / own.seconds for peer, own in zip(found, ours, strict=True))
        otherwise = [int((peer.right != own.right).sum()) for peer, own in zip(found, ours, strict=True)]
        accuracy = statistics.mean(float(one.right.mean()) for one in found)
        print(f"{name:24}{seconds:20.3f}{ratio:12.2f}  {otherwise} (mean accuracy {accuracy:.4f})")


if __name__ == "__main__":
    main()
