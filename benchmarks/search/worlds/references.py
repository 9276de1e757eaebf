"""The best fronts: exact where a world can be walked through, else the best that long searches found.

    python -m worlds.references [FAMILY ...]      (in benchmarks/search/; writes references.json beside this file)

The frame of every world that is too large is stored; of the others it is computed when it is asked for.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path

import numpy as np

from nas_engine.search.pareto import HypervolumeReference, non_dominated
from worlds.generated import all_genotypes
from worlds.registry import FAMILIES, is_there
from worlds.world import Floats, Frame, Ints, World

FILE = Path(__file__).with_name("references.json")
MAX_WALKED = 400_000
"""Spaces up to this many genotypes are walked through."""
NUM_ROUNDS, NUM_NEIGHBOUR_ROUNDS, CHILDREN, SAMPLE, MAX_FRONT = 120, 6, 4000, 20_000, 800


@cache
def world_of(family_name: str, instance: int) -> World:
    """A world of a family; made once per process."""
    return FAMILIES[family_name].make(instance)


@cache
def frame_of(family_name: str, instance: int) -> Frame:
    """The frame of a world.

    Raises:
        KeyError: it is too large and not stored: run this module.
    """
    world = world_of(family_name, instance)
    if world.space.size <= MAX_WALKED:
        return _exact(world)
    ideal, nadir, hypervolume = json.loads(FILE.read_text())[f"{family_name}/{instance}"]
    return Frame(HypervolumeReference(tuple(ideal), tuple(nadir), 0.1), hypervolume, is_exact=False)


def _exact(world: World) -> Frame:
    points, feasible = _evaluated(world, all_genotypes(world.num_choices))
    reference = HypervolumeReference.spanning(points)
    return Frame(reference, reference.hypervolume(points[feasible]), is_exact=True)


def _evaluated(world: World, x: Ints) -> tuple[Floats, np.ndarray]:
    values = world.values_of(x)
    return world.minimised(values), world.violation(values) == 0.0


def _canonical(world: World, x: Ints) -> Ints:
    zeroed = world.space.zeroed
    return np.unique(x if zeroed is None else zeroed(x), axis=0)


def best_found(world: World, seed: int = 0) -> Frame:
    """Search long: mutated and crossed members of the front, then every neighbour of it until none is better.

    The frame spans a random sample together with the front.
    """
    rng = np.random.default_rng(seed)
    choices = world.num_choices
    front = _canonical(world, rng.integers(choices, size=(SAMPLE, len(choices))))
    sample, feasible = _evaluated(world, front)
    front = front[feasible][non_dominated(sample[feasible])]
    for round_ in range(NUM_ROUNDS):
        parents = front[rng.integers(len(front), size=(2, CHILDREN))]
        children = np.where(rng.random((CHILDREN, len(choices))) < 0.5, *parents)
        children[::2] = parents[0][::2]
        hit = rng.random(children.shape) < rng.choice([1.0, 2.0, 4.0], size=(CHILDREN, 1)) / len(choices)
        children = np.where(hit, rng.integers(choices, size=children.shape), children)
        if round_ >= NUM_ROUNDS - NUM_NEIGHBOUR_ROUNDS:
            neighbours = _neighbours(front, choices)
            children = neighbours[rng.permutation(len(neighbours))[: 5 * CHILDREN]]
        front = _merged(world, np.concatenate([front, _canonical(world, children)]))
    points, _ = _evaluated(world, front)
    reference = HypervolumeReference.spanning(np.concatenate([sample, points]))
    return Frame(reference, reference.hypervolume(points), is_exact=False)


def _neighbours(front: Ints, choices: Ints) -> Ints:
    found = []
    for gene, count in enumerate(choices):
        for value in range(count):
            changed = front.copy()
            changed[:, gene] = value
            found.append(changed)
    return np.concatenate(found)


def _merged(world: World, x: Ints) -> Ints:
    x = np.unique(x, axis=0)
    points, feasible = _evaluated(world, x)
    x, points = x[feasible], points[feasible]
    _, first = np.unique(points, axis=0, return_index=True)
    kept = first[non_dominated(points[first])]
    if len(kept) > MAX_FRONT:  # evenly along the first objective
        kept = kept[np.argsort(points[kept, 0])][np.linspace(0, len(kept) - 1, MAX_FRONT).astype(int)]
    return x[kept]


def main(names: list[str]) -> None:
    """Search the worlds that are too large, and store their frames."""
    stored = json.loads(FILE.read_text()) if FILE.is_file() else {}
    for family in (FAMILIES[name] for name in names or FAMILIES):
        for instance in range(family.num_instances) if is_there(family) else ():
            world = world_of(family.name, instance)
            if world.space.size > MAX_WALKED:
                frame = best_found(world)
                stored[f"{family.name}/{instance}"] = [
                    list(frame.reference.ideal),
                    list(frame.reference.nadir),
                    frame.hypervolume,
                ]
                print(family.name, instance, frame.hypervolume, flush=True)
                FILE.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
