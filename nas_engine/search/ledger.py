"""Which genotypes were asked, which are admissible, and where new ones come from when an algorithm runs dry."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import product

import numpy as np

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import InfeasibleError, InvalidGenotypeError
from nas_engine.domain.uncertainty import value_text
from nas_engine.search.algorithm import CheapCheck, CheapFilter, Rejection
from nas_engine.search.encoding import Encoding

MAX_ENUMERATED = 20_000
"""Spaces up to this many genotypes are walked through completely before they are called exhausted or infeasible."""

DRAWS_PER_CANDIDATE = 64
"""Random draws spent on one immigrant before the search for it turns to repairing the best draw."""

REPAIR_SWEEPS = 6
"""Passes over all genes spent on making the least violating draw admissible."""

REPORT_DRAWS = 200
"""Random draws behind the range that an infeasibility report gives."""


class CandidateLedger:
    """Every genotype of one search is proposed through here, so none is asked twice and none violates the filter."""

    def __init__(self, encoding: Encoding, cheap_filter: CheapFilter) -> None:
        self.encoding = encoding
        self._filter = cheap_filter
        self.asked: dict[Genotype, int] = {}
        self.queue: deque[Genotype] = deque()
        self._reserved: set[Genotype] = set()

    def check(self, genotype: Genotype) -> CheapCheck:
        """What the cheap filter says about a canonical genotype."""
        return self._filter(genotype)

    def is_new(self, genotype: Genotype) -> bool:
        """Neither asked, nor waiting to be, nor reserved for the batch under construction."""
        return genotype not in self.asked and genotype not in self._reserved

    def admit(self, genotype: Genotype) -> bool:
        """Reserve a canonical genotype for the batch under construction if it is new and admissible."""
        if not self.is_new(genotype) or not self.check(genotype).feasible:
            return False
        self._reserved.add(genotype)
        return True

    def admit_all(self, genotypes: Sequence[Genotype], num: int) -> list[Genotype]:
        """Reserve the first `num` of `genotypes` that are new and admissible."""
        admitted: list[Genotype] = []
        for genotype in genotypes:
            if len(admitted) >= num:
                break
            if self.admit(genotype):
                admitted.append(genotype)
        return admitted

    def restart_batch(self) -> None:
        """Forget reservations that were not committed; queued genotypes stay reserved."""
        self._reserved = set(self.queue)

    def commit(self, batch: Sequence[Genotype]) -> None:
        """Record a batch as asked."""
        for genotype in batch:
            self.asked[genotype] = len(self.asked)
        self.restart_batch()

    def enqueue(self, genotypes: Sequence[Genotype]) -> tuple[Rejection, ...]:
        """Put genotypes in front of whatever the algorithm proposes next; returns those not taken, with the reason."""
        rejections: list[Rejection] = []
        for genotype in genotypes:
            try:
                canonical = self.encoding.canonical(genotype)
            except InvalidGenotypeError as error:
                rejections.append(Rejection(tuple(genotype), str(error)))
                continue
            if not self.is_new(canonical):
                rejections.append(Rejection(tuple(genotype), "already asked or queued in this search"))
            elif violations := self.check(canonical).violations:
                amounts = ", ".join(
                    f"{name} by {value_text(amount, 'fraction', digits=3)}" for name, amount in violations.items()
                )
                rejections.append(Rejection(tuple(genotype), f"violates {amounts}"))
            else:
                self.queue.append(canonical)
                self._reserved.add(canonical)
        return tuple(rejections)

    def take_queued(self, num: int) -> list[Genotype]:
        """Take up to `num` genotypes from the queue."""
        return [self.queue.popleft() for _ in range(min(num, len(self.queue)))]

    def immigrants(self, num: int, rng: np.random.Generator) -> list[Genotype]:
        """Reserve up to `num` random new admissible genotypes; fewer when that is all that is found.

        Bounded: random draws, then repair of the least violating draw, then (small spaces) a walk through all.
        """
        found: list[Genotype] = []
        while len(found) < num:
            genotype = self._immigrant(rng)
            if genotype is None:
                found.extend(self._remaining(num - len(found), rng))
                break
            found.append(genotype)
        return found

    def _immigrant(self, rng: np.random.Generator) -> Genotype | None:
        nearest: Genotype | None = None
        nearest_violation = np.inf
        for _ in range(DRAWS_PER_CANDIDATE):
            genotype = self.encoding.random(rng)
            if not self.is_new(genotype):
                continue
            violation = self.check(genotype).total_violation
            if violation == 0.0:
                self._reserved.add(genotype)
                return genotype
            if violation < nearest_violation:
                nearest, nearest_violation = genotype, violation
        if nearest is None or not self.encoding.variable:
            return None
        return self._repaired(nearest, nearest_violation, rng)

    def _repaired(self, start: Genotype, violation: float, rng: np.random.Generator) -> Genotype | None:
        """Descend the total violation gene by gene; finds the narrow feasible corner that random draws miss.

        Feasible genotypes that were asked before are walked through, so that their neighbours are reached.
        """
        current, best = start, violation
        for _ in range(REPAIR_SWEEPS):
            for position in rng.permutation(np.asarray(self.encoding.variable)):
                for value in rng.permutation(self.encoding.num_choices[position]):
                    candidate = self.encoding.canonical([*current[:position], int(value), *current[position + 1 :]])
                    if candidate == current:
                        continue
                    candidate_violation = self.check(candidate).total_violation
                    if candidate_violation == 0.0 and self.is_new(candidate):
                        self._reserved.add(candidate)
                        return candidate
                    if candidate_violation <= best:
                        current = candidate
                        best = candidate_violation or best
        return None

    def _remaining(self, num: int, rng: np.random.Generator) -> list[Genotype]:
        if self.encoding.space.size > MAX_ENUMERATED:
            return []
        canonicals = (self.encoding.canonical(g) for g in product(*(range(n) for n in self.encoding.num_choices)))
        every = dict.fromkeys(canonicals)  # once
        left = [genotype for genotype in every if self.is_new(genotype) and self.check(genotype).feasible]
        chosen = [left[i] for i in rng.permutation(len(left))[:num]]
        self._reserved.update(chosen)
        return chosen

    def infeasible(self, rng: np.random.Generator) -> InfeasibleError:
        """The error for a space in which nothing admissible was found, with the range that was seen."""
        violated: dict[str, float] = {}
        values: dict[str, list[float]] = {}
        for _ in range(REPORT_DRAWS):
            check = self.check(self.encoding.random(rng))
            for name, amount in check.violations.items():
                violated[name] = min(violated.get(name, np.inf), amount)
            for metric, value in check.values.items():
                values.setdefault(metric.name, []).append(value)
        nearest = "; ".join(
            f"{name} missed by {value_text(amount, 'fraction', digits=3)} at best" for name, amount in violated.items()
        )
        ranges = "; ".join(
            f"{name} {value_text(min(seen))} to {value_text(max(seen))}" for name, seen in values.items()
        )
        return InfeasibleError(
            f"no architecture of space {self.encoding.space.space_id!r} satisfies the cheap constraints after bounded "
            f"tries: {nearest or 'every one found was asked before'}. Seen in {REPORT_DRAWS} random draws: "
            f"{ranges or 'no metric values'}. Relax the constraint or choose another space"
        )
