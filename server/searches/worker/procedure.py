"""What a search's steps are made of: one protocol for searches that evaluate and for those that derive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import InfeasibleError
from nas_engine.domain.json_value import JsonValue
from nas_engine.search.algorithm import Rejection, SearchAlgorithm
from nas_engine.search.predicting.outlook import Forecast
from server.candidates.states import EndReason
from server.searches.fronts.fronts import Front
from server.searches.steps.step import LongJobOrder, StepInput, StepStatus

_NOT_PREDICTED = Forecast(None, "a search of this kind predicts no gains")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What is to be measured next, and why there is no more.

    Attributes:
        genotypes: in the order asked.
        survivors: what they will be compared with.
        ended: how the search ends; None while it goes on.
        reason: why it ends.
        end_reason: the same for programs, where that has a name.
        forecast: what each of `genotypes` is expected to add.
    """

    genotypes: tuple[Genotype, ...] = ()
    survivors: frozenset[Genotype] = frozenset()
    ended: StepStatus | None = None
    reason: str = ""
    end_reason: EndReason | None = None
    forecast: Forecast = _NOT_PREDICTED

    def expected_gain(self, place: int) -> float | None:
        """Return what the genotype at a place is expected to add; None where nothing can be said."""
        return None if self.forecast.gains is None else self.forecast.gains[place]


class Procedure(Protocol):
    """How one kind of search goes from step to step. A step calls the methods in the order they stand here."""

    def enqueue(self, genotypes: Sequence[Genotype]) -> tuple[Rejection, ...]:
        """Have these asked first (warm start). Returns those not taken, with the reason."""

    def restore(self, state: JsonValue) -> None:
        """Go on from what `state` gave at the end of the last step.

        Raises:
            SearchStateError: it is of another search, or damaged.
        """

    def restore_amended(self, state: JsonValue) -> None:
        """Go on under other constraints than those under which `state` was taken; `apply` must be given `amended`.

        Raises:
            SearchStateError: as `restore`, or a package brings the algorithm.
        """

    def apply(self, given: StepInput) -> None:
        """Learn what has become known since the last step, and what the work ended with that it ordered."""

    def propose(self, num_left: int) -> Proposal:
        """What to measure next, at most `num_left` (>= 1) candidates."""

    def order(self, given: StepInput, proposal: Proposal, front: Front, shift_state: str | None) -> LongJobOrder | None:
        """The long-running job of a proposal; `shift_state` is what the last shift of the supernet ended with."""

    def report(self, given: StepInput) -> Mapping[str, JsonValue]:
        """What it says of itself, by topic; topics replace those of earlier steps."""

    def pick(self, front: Front) -> tuple[str, ...] | None:
        """Ids of the models it would take from its last front; None for all of them."""

    def provenance(self, genotype: Genotype) -> JsonValue:
        """How a candidate came about, where that is known."""

    @property
    def remeasures(self) -> bool:
        """Whether members of the front whose latency is noisy are measured once more before they are believed."""

    @property
    def generation(self) -> int:
        """Generations completed so far."""

    def state(self) -> JsonValue:
        """Everything needed to go on in the next step."""


def ask_algorithm(algorithm: SearchAlgorithm, num_left: int, *, when_exhausted: str) -> Proposal:
    """Ask for one generation, or what the budget leaves of it; `when_exhausted` is the reason once nothing comes."""
    survivors = frozenset(algorithm.survivors)
    try:
        genotypes = tuple(algorithm.ask(min(num_left, algorithm.batch_size)))
    except InfeasibleError as error:
        return Proposal(ended=StepStatus.FAILED, reason=str(error))
    if not genotypes:
        return Proposal(ended=StepStatus.COMPLETED, reason=when_exhausted)
    return Proposal(genotypes=genotypes, survivors=survivors)
