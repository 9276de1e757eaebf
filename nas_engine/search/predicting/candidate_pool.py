"""Where a search that predicts looks for its next candidates: everywhere in a small space, by evolution in a large one.

In a small space every genotype that was not asked is judged. In a large one parents (the front, and what is predicted
to add most to each part of it) breed for a few rounds on the predictions. Then the best beside each part climb: their
neighbours are judged, and the neighbours of the best of those, until none is better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nas_engine.cost.prediction.encodings import Floats, Genotypes
from nas_engine.domain.architecture import Genotype
from nas_engine.search.encoding import Encoding
from nas_engine.search.ledger import CandidateLedger
from nas_engine.spaces.tables.space import TableSpace

MAX_WALKED = 50_000
"""Spaces up to this many genotypes are judged whole."""

NUM_PARENTS = 20
"""Evaluated genotypes that breed, and predicted ones of the largest gain; twice as many of the best over the front."""

NUM_NEIGHBOURS = 700
"""Genotypes one gene beside the best that are judged in one round of climbing."""

NUM_CLIMBED = 16
"""Genotypes whose neighbours those are."""

MAX_CLIMBS = 6
"""Rounds of climbing, unless one finds nothing better."""


class WholeSpace:
    """Every genotype of a small space that the cheap filter admits."""

    def __init__(self, ledger: CandidateLedger) -> None:
        space = ledger.encoding.space
        rows = space.rows if isinstance(space, TableSpace) else product(*map(range, ledger.encoding.num_choices))
        canonical = dict.fromkeys(ledger.encoding.canonical(genotype) for genotype in rows)
        self._genotypes: list[Genotype] = [g for g in canonical if ledger.check(g).feasible]
        self._place = {genotype: place for place, genotype in enumerate(self._genotypes)}
        self._rows = np.asarray(self._genotypes, dtype=np.int64).reshape(len(self._genotypes), -1)

    def left(self, ledger: CandidateLedger) -> Genotypes:
        """Those that were not asked."""
        free = np.ones(len(self._genotypes), dtype=np.bool_)
        free[[self._place[genotype] for genotype in ledger.asked if genotype in self._place]] = False
        return self._rows[free]


@dataclass(frozen=True, slots=True)
class Judge:
    """What is predicted of genotypes.

    Attributes:
        of: expected gain per genotype, and its predicted objectives (minimised).
        widen: has `of` look as far as predicted objectives reach.
        niches: part of the front, as known, that each row of predicted objectives lies beside.
        is_filtered: whether the cheap filter is asked of each genotype; a layer graph takes too long for it.
    """

    of: Callable[[Genotypes], tuple[Floats, Floats]]
    widen: Callable[[Floats], None]
    niches: Callable[[Floats], NDArray[np.int64]]
    is_filtered: bool


def evolved(
    ledger: CandidateLedger,
    parents: Sequence[Genotype],
    judge: Judge,
    num_rounds: int,
    num_children: int,
    rng: np.random.Generator,
) -> Genotypes:
    """New genotypes that evolution on predictions visits.

    Args:
        ledger: tells what is new.
        parents: evaluated genotypes that breed, best first.
        judge: what is predicted.
        num_rounds: rounds of breeding.
        num_children: genotypes per round, of which those that were seen are dropped.
        rng: of the evolution.
    """
    encoding = ledger.encoding
    seen: dict[Genotype, None] = {}
    found = np.zeros((0, len(encoding.num_choices)), dtype=np.int64)
    gains, objectives = np.zeros(0), np.zeros((0, 0))

    def visit(children: Genotypes) -> None:
        nonlocal found, gains, objectives
        fresh = []
        for genotype in encoding.canonical_children(children):
            if genotype in seen or not ledger.is_new(genotype):
                continue
            if judge.is_filtered and not ledger.check(genotype).feasible:
                continue
            seen[genotype] = None
            fresh.append(genotype)
        if not fresh:
            return
        rows = np.asarray(fresh, dtype=np.int64)
        more, points = judge.of(rows)
        found, gains = np.vstack([found, rows]), np.concatenate([gains, more])
        objectives = np.vstack([objectives, points]) if len(objectives) else points

    asked = np.asarray(parents[:NUM_PARENTS], dtype=np.int64).reshape(-1, len(encoding.num_choices))
    visit(rng.integers(encoding.num_choices, size=(2 * num_children, len(encoding.num_choices))))
    for _ in range(num_rounds):
        judge.widen(objectives)
        best = np.argsort(-gains, kind="stable")[:NUM_PARENTS]
        over_front = spread(gains, judge.niches(objectives), 2 * NUM_PARENTS)
        visit(_children(np.vstack([asked, found[np.union1d(best, over_front)]]), num_children, encoding, rng))
    worth = 0.0
    for _ in range(MAX_CLIMBS):
        judge.widen(objectives)
        best = spread(gains, judge.niches(objectives), NUM_CLIMBED)
        if float(gains[best].sum()) <= worth:
            break
        worth = float(gains[best].sum())
        visit(_neighbours(found[best], encoding, rng))
    return found


def spread(gains: Floats, niches: NDArray[np.int64], num: int) -> NDArray[np.int64]:
    """Places of up to `num` gains: the largest of every niche, largest first, then the second of every niche.

    Candidates of the largest gains alone are often alike, and the first that is chosen leaves the others nothing.
    """
    order = np.argsort(-gains, kind="stable")
    by_niche = order[np.argsort(niches[order], kind="stable")]
    _, starts, sizes = np.unique(niches[by_niche], return_index=True, return_counts=True)
    turn = np.empty(len(gains), dtype=np.int64)
    turn[by_niche] = np.arange(len(gains)) - np.repeat(starts, sizes)
    chosen: NDArray[np.int64] = np.lexsort((-gains, turn))[:num]
    return chosen


def _children(parents: Genotypes, num: int, encoding: Encoding, rng: np.random.Generator) -> Genotypes:
    """Crossed pairs and mutated copies."""
    choices = np.asarray(encoding.num_choices)
    size = (num, len(choices))
    first, second = parents[rng.integers(len(parents), size=(2, num))]
    crossed = rng.random(num) < 0.6
    children: Genotypes = np.where((rng.random(size) < 0.5) & crossed[:, None], second, first)
    num_changed = rng.poisson(0.8, num) + ~crossed
    variable = choices > 1
    chance = num_changed[:, None] / max(int(variable.sum()), 1)
    changed = (rng.random(size) < chance) & variable
    shift = 1 + (rng.random(size) * np.maximum(choices - 1, 1)).astype(np.int64)
    moved: Genotypes = np.where(changed, (children + shift) % choices, children)
    return moved


def _neighbours(genotypes: Genotypes, encoding: Encoding, rng: np.random.Generator) -> Genotypes:
    """Up to `NUM_NEIGHBOURS` genotypes that differ in one gene."""
    steps = [(gene, shift) for gene, num in enumerate(encoding.num_choices) for shift in range(1, num)]
    pairs = [(row, gene, shift) for row in range(len(genotypes)) for gene, shift in steps]
    if len(pairs) > NUM_NEIGHBOURS:
        pairs = [pairs[i] for i in np.sort(rng.permutation(len(pairs))[:NUM_NEIGHBOURS])]
    if not pairs:
        return genotypes[:0]
    rows, genes, shifts = np.asarray(pairs).T
    neighbours: Genotypes = genotypes[rows].copy()
    places = np.arange(len(rows))
    neighbours[places, genes] = (neighbours[places, genes] + shifts) % np.asarray(encoding.num_choices)[genes]
    return neighbours


def balanced(encoding: Encoding, num: int, rng: np.random.Generator) -> list[Genotype]:
    """Draw `num` genotypes in which every choice of a gene comes about as often as any other."""
    columns = [rng.permutation(np.resize(rng.permutation(choices), num)) for choices in encoding.num_choices]
    return [encoding.canonical(row) for row in np.stack(columns, axis=1).tolist()]
