"""Does supernet shifting make a supernet rank architectures as training them alone does? On small images.

A SPOS supernet is trained on Fashion-MNIST-12k brought to 16x16. Architectures, half of them random and half the
survivors of a search, are each trained alone: the truth. Then the supernet is shifted by NSGA-II searches, and the
Kendall tau between its accuracies and the truth is taken before and after: over all architectures (global), inside the
best by truth (local). Networks of a few hundred training steps: this shows the machinery at work and the size of the
effect at this scale, not the paper's figures.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metric import Goal
from nas_engine.domain.metrics import MACS, TOP1
from nas_engine.domain.objective import Objective
from nas_engine.domain.search_space import Form, SearchSpace, sample_genotype
from nas_engine.domain.views.complexity import complexity
from nas_engine.search.algorithm import Observation, SearchAlgorithm, SearchProblem
from nas_engine.search.factory import create_algorithm
from nas_engine.settings.algorithms import Nsga2Settings
from nas_engine.settings.evaluation import EvaluationSettings
from nas_engine.settings.shifting import ShiftingMode, ShiftingSettings
from nas_engine.settings.strategies import StandaloneSettings, UniformSettings
from nas_engine.settings.training import AugmentationName, OptimizerSettings, TrainingSettings
from nas_engine.spaces.registry import create_space
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.data.source import DatasetSource, open_dataset
from nas_engine.training.evaluator import SupernetEvaluator
from nas_engine.training.loop import train
from nas_engine.training.randomness import Randomness, Stream
from nas_engine.training.ranking_study import RankedArchitecture, study_architecture, summarise
from nas_engine.training.strategies.paths import decoded_graph
from nas_engine.training.strategies.shifting import SupernetShifter
from nas_engine.training.strategies.uniform import UniformStrategy

CPU = torch.device("cpu")
IMAGE_SIZE = 16
SPACE: Mapping[str, JsonValue] = {
    "input_size": IMAGE_SIZE,
    "input_channels": 1,
    "num_classes": 10,
    "stem_channels": 8,
    "stem_stride": 1,
    "stage_channels": [16, 24, 32],
    "stage_repeats": [2, 3, 2],
    "tail_channels": 64,
}
OBJECTIVES = (Objective(TOP1, Goal.MAXIMIZE), Objective(MACS, Goal.MINIMIZE))
PUBLISHED_RATE = ShiftingSettings().learning_rate
STRONGER_RATE = 1e-2  # the published run makes far more updates than a run of minutes can


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table: how well one state of the supernet ranks.

    Attributes:
        global_tau, local_tau: Kendall's tau-b against networks trained alone; None where a side has no two values.
        mean_top1: of the studied architectures with these weights.
        num_versions: states the weights went through.
        seconds: of shifting, evaluation of the search included.
    """

    label: str
    global_tau: float | None
    local_tau: float | None
    mean_top1: float
    num_versions: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Bench:
    """What every row shares."""

    space: SearchSpace
    dataset: ImageDataset
    evaluation: EvaluationSettings
    seed: int

    def evaluator(self, weights: WeightStore) -> SupernetEvaluator:
        """Judges with these weights."""
        return SupernetEvaluator(self.space, weights, self.dataset, self.evaluation, CPU)

    def observe(self, genotype: Genotype, evaluator: SupernetEvaluator) -> Observation:
        """A candidate as the search is told it."""
        found = evaluator.evaluate(self.space.decode(genotype)).accuracy
        macs = complexity(decoded_graph(self.space, genotype, Form.DEPLOYED)).macs
        return Observation(genotype=genotype, objectives={TOP1: found.top1, MACS: float(macs)})

    def algorithm(self, population_size: int) -> SearchAlgorithm:
        """A new search."""
        config = Nsga2Settings(population_size=population_size)
        return create_algorithm(config, SearchProblem(space=self.space, objectives=OBJECTIVES), self.seed)


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    source = DatasetSource(image_size=IMAGE_SIZE, channels=1)
    evaluation = EvaluationSettings(num_calibration_batches=2, batch_size=256, num_validation_batches=4)
    bench = Bench(create_space("spos", SPACE), open_dataset(source), evaluation, arguments.seed)
    weights = trained(bench, arguments.supernet_steps)
    chosen = study_set(bench, weights, arguments)
    entries = truths(bench, weights, chosen, arguments.alone_steps)
    rows = [row("before shifting", bench, entries, weights, arguments.local)]
    for mode in ShiftingMode:
        for rate in (PUBLISHED_RATE, STRONGER_RATE):
            shifted, num_versions, seconds = shift(bench, weights, mode, rate, arguments)
            label = f"{mode.value}, learning rate {rate:g}"
            found = row(label, bench, entries, shifted, arguments.local)
            rows.append(replace(found, num_versions=num_versions, seconds=seconds))
    _report(rows, len(chosen), arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=24, help="architectures trained alone")
    parser.add_argument("--local", type=int, default=12, help="the best of them, for the local tau")
    parser.add_argument("--supernet-steps", type=int, default=1500)
    parser.add_argument("--alone-steps", type=int, default=250)
    parser.add_argument("--population", type=int, default=6, help="candidates per generation of a search")
    parser.add_argument("--generations", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    return parser.parse_args()


def trained(bench: Bench, num_steps: int) -> WeightStore:
    """The supernet before any shift."""
    rng = Randomness(bench.seed).torch(Stream.INITIAL_WEIGHTS, 0)
    weights = WeightStore.create(bench.space.supernet_graphs(), rng)
    config = TrainingSettings(
        iterations=num_steps,
        batch_size=64,
        seed=bench.seed,
        optimizer=OptimizerSettings(learning_rate=0.1),
        augmentation=AugmentationName.NONE,
    )
    strategy = UniformStrategy(bench.space, UniformSettings(), label_smoothing=0.1)
    return train(strategy, weights, bench.dataset, config, device=CPU).weights


def study_set(bench: Bench, weights: WeightStore, arguments: argparse.Namespace) -> list[Architecture]:
    """Half survivors of a search with these weights, half random."""
    algorithm, evaluator = bench.algorithm(arguments.networks // 2), bench.evaluator(weights)
    for _ in range(2):
        asked = algorithm.ask(algorithm.batch_size)
        algorithm.tell([bench.observe(genotype, evaluator) for genotype in asked])
    genotypes = dict.fromkeys(algorithm.survivors)
    rng = np.random.default_rng(bench.seed)
    for _ in range(100 * arguments.networks):
        if len(genotypes) == arguments.networks:
            break
        genotypes.setdefault(bench.space.canonical(sample_genotype(bench.space.genes, rng)))
    return [bench.space.decode(genotype) for genotype in genotypes]


def truths(
    bench: Bench, weights: WeightStore, chosen: Sequence[Architecture], num_steps: int
) -> list[RankedArchitecture]:
    """Each architecture judged with the shared weights, and trained alone."""
    evaluator = bench.evaluator(weights)
    config = TrainingSettings(
        iterations=num_steps,
        batch_size=64,
        seed=bench.seed,
        optimizer=OptimizerSettings(learning_rate=0.1),
        augmentation=AugmentationName.NONE,
    )
    retraining = StandaloneSettings(num_calibration_batches=8)
    found = [
        study_architecture(bench.space, one, evaluator, bench.dataset, config, retraining, device=CPU) for one in chosen
    ]
    return [entry for entry in found if entry is not None]


def shift(
    bench: Bench, weights: WeightStore, mode: ShiftingMode, rate: float, arguments: argparse.Namespace
) -> tuple[WeightStore, int, float]:
    """The weights after a search that shifts them, how many versions there were, and the time it took.

    What is compared is scored with the last version of each generation, as the service does it.
    """
    started = time.monotonic()
    settings = ShiftingSettings(mode=mode, learning_rate=rate)
    shifter = SupernetShifter(weights, bench.dataset, settings, CPU, seed=bench.seed)
    algorithm, num_versions = bench.algorithm(arguments.population), 0
    for _ in range(arguments.generations):
        asked = algorithm.ask(algorithm.batch_size)
        shifter.begin_generation(len(asked))
        for genotype in asked:
            shifter.visit(decoded_graph(bench.space, genotype, Form.SUPERNET))
        shifter.end_generation()
        num_versions += len(asked) if mode is ShiftingMode.IMMEDIATE else 1
        evaluator, survivors = bench.evaluator(shifter.weights), algorithm.survivors
        algorithm.withdraw(
            [observation.genotype for observation in algorithm.results if observation.genotype not in survivors]
        )
        algorithm.revise([bench.observe(genotype, evaluator) for genotype in survivors])
        algorithm.tell([bench.observe(genotype, evaluator) for genotype in asked])
    return shifter.weights, num_versions, time.monotonic() - started


def row(label: str, bench: Bench, entries: Sequence[RankedArchitecture], weights: WeightStore, num_local: int) -> Row:
    """How well these weights rank."""
    evaluator = bench.evaluator(weights)
    judged = [replace(e, inherited=evaluator.evaluate(e.architecture).accuracy) for e in entries]
    order = summarise(judged, num_local)
    mean = sum(entry.inherited.top1 for entry in judged) / len(judged)
    return Row(label=label, global_tau=order.overall.kendall_tau, local_tau=order.local.kendall_tau, mean_top1=mean)


def _report(rows: Sequence[Row], num_networks: int, arguments: argparse.Namespace) -> None:
    print(
        f"{num_networks} networks, local: the best {arguments.local} trained alone, seed {arguments.seed}; "
        f"by chance tau varies by {_chance(num_networks):.2f} (global) and {_chance(arguments.local):.2f} (local)"
    )
    print(f"{'supernet':32} {'global tau':>10} {'local tau':>10} {'mean top1':>10} {'versions':>9} {'seconds':>8}")
    for one in rows:
        print(
            f"{one.label:32} {_tau(one.global_tau):>10} {_tau(one.local_tau):>10} {one.mean_top1:>10.3f} "
            f"{one.num_versions:>9} {one.seconds:>8.1f}"
        )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(one) for one in rows], indent=2))


def _chance(num: int) -> float:
    """Standard deviation of Kendall's tau between unrelated rankings (Kendall 1938): what chance alone gives."""
    return math.sqrt(2 * (2 * num + 5) / (9 * num * (num - 1)))


def _tau(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
