"""Searches whose algorithm asks candidates and is told what they are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.json_value import JsonValue
from nas_engine.search.algorithm import Rejection, SearchAlgorithm
from server.searches.fronts import Front
from server.searches.steps.step import ShiftOrder, StepInput
from server.searches.worker.engine_terms import observe
from server.searches.worker.procedure import Proposal, ask_algorithm
from server.searches.worker.shift_orders import shift_order, shifting_report


class EvaluatingProcedure:
    """Any ask/tell algorithm, with shifts of the supernet between its generations where the spec wants them."""

    def __init__(self, algorithm: SearchAlgorithm) -> None:
        self._algorithm = algorithm

    def enqueue(self, genotypes: Sequence[Genotype]) -> tuple[Rejection, ...]:
        return self._algorithm.enqueue(genotypes)

    def restore(self, state: JsonValue) -> None:
        self._algorithm.load_state(state)

    def take_in(self, given: StepInput) -> None:
        observe(self._algorithm, given)

    def propose(self, num_left: int) -> Proposal:
        """Ask the next generation, or what the budget leaves of it."""
        exhausted = "the space holds no further admissible architecture"
        return ask_algorithm(self._algorithm, num_left, when_exhausted=exhausted)

    def order(self, given: StepInput, proposal: Proposal, front: Front, shift_state: str | None) -> ShiftOrder | None:
        """Order a shift of the supernet towards what is proposed, where the spec wants shifts."""
        if given.search.spec.shifting is None or not proposal.genotypes:
            return None
        return shift_order(given, front, proposal.survivors, shift_state)

    def report(self, given: StepInput) -> Mapping[str, JsonValue]:
        """Give the algorithm's own report, and what is compared in a search that shifts."""
        report = dict(self._algorithm.report())
        if given.search.spec.shifting is not None:
            report["shifting"] = shifting_report(given)
        return report

    def pick(self, front: Front) -> tuple[str, ...] | None:
        rows = [
            [o.minimized(value) for o, value in zip(front.objectives, front.values(point), strict=True)]
            for point in front.points
        ]
        chosen = self._algorithm.pick_models(rows)
        return None if chosen is None else tuple(front.points[i].id for i in sorted(chosen))

    def provenance(self, genotype: Genotype) -> JsonValue:
        """Nothing: these algorithms keep no record of parents."""
        del genotype
        return None

    @property
    def generation(self) -> int:
        return self._algorithm.generation

    def state(self) -> JsonValue:
        return self._algorithm.state()
