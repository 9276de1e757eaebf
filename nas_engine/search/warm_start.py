"""Warm start: known architectures are evaluated first, and whatever is not accepted is reported with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import EngineError
from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.domain.search_space import SearchSpace
from nas_engine.search.algorithm import Rejection


class TakesFirstCandidates(Protocol):
    """A search, as far as its warm start needs it."""

    def enqueue(self, genotypes: Sequence[Genotype]) -> tuple[Rejection, ...]:
        """Have these asked first. Returns those not taken, with the reason."""


@dataclass(frozen=True, slots=True)
class WarmStartRejection:
    """One offered document that was not taken.

    Attributes:
        document: canonical JSON of what was offered.
        reason: why not.
    """

    document: str
    reason: str


@dataclass(frozen=True, slots=True)
class WarmStartReport:
    """Outcome of a warm start.

    Attributes:
        accepted: genotypes that will be asked first, in order.
        rejected: the others.
    """

    accepted: tuple[Genotype, ...]
    rejected: tuple[WarmStartRejection, ...]


def warm_start(search: TakesFirstCandidates, space: SearchSpace, documents: Sequence[JsonValue]) -> WarmStartReport:
    """Queue architectures (published names, genotypes, or the space's own form) as the first candidates of a search.

    Results of another search over the same space, or of the measurement database, are passed as their genotypes:
    what was measured before under the same keys is then reused instead of measured again.
    """
    accepted: list[Genotype] = []
    rejected: list[WarmStartRejection] = []
    for document in documents:
        try:
            genotype = space.genotype_of(space.parse(document))
        except EngineError as error:
            rejected.append(WarmStartRejection(canonical_json(document), str(error)))
            continue
        if genotype is None:
            reason = "lies outside the choices of this search space: it can be evaluated alone, not searched from"
            rejected.append(WarmStartRejection(canonical_json(document), reason))
            continue
        refused = search.enqueue([genotype])
        if refused:
            rejected.append(WarmStartRejection(canonical_json(document), refused[0].reason))
        else:
            accepted.append(genotype)
    return WarmStartReport(tuple(accepted), tuple(rejected))
