"""Searches whose algorithm asks candidates and is told what they are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.json_value import JsonValue
from nas_engine.search.algorithm import Rejection, SearchAlgorithm, SearchProblem
from nas_engine.search.amending import load_amended_state
from nas_engine.search.predicting.outlook import Outlook
from nas_engine.settings.stopping import PlateauSettings, StopSettings
from server.candidates.states import EndReason
from server.searches.fronts.fronts import Front
from server.searches.steps.step import ShiftOrder, StepInput, StepStatus
from server.searches.worker.engine_terms import observe
from server.searches.worker.procedure import Proposal, ask_algorithm
from server.searches.worker.shift_orders import shift_order, shifting_report


class EvaluatingProcedure:
    """Any ask/tell algorithm, with shifts of the supernet between its generations where the spec wants them."""

    def __init__(self, algorithm: SearchAlgorithm, problem: SearchProblem, stop: StopSettings) -> None:
        self._algorithm = algorithm
        self._problem = problem
        self._stop = stop
        self._reference_point: tuple[float, ...] | None = None
        self._expected: Mapping[Genotype, float] = {}
        self._gains: JsonValue = None

    def enqueue(self, genotypes: Sequence[Genotype]) -> tuple[Rejection, ...]:
        return self._algorithm.enqueue(genotypes)

    def restore(self, state: JsonValue) -> None:
        self._algorithm.load_state(state)

    def restore_amended(self, state: JsonValue) -> None:
        load_amended_state(self._algorithm, state)

    def apply(self, given: StepInput) -> None:
        observe(self._algorithm, given)
        self._reference_point = given.search.progress.reference_point
        self._expected = given.expected_gains

    def propose(self, num_left: int) -> Proposal:
        """Ask the next generation, or what the budget leaves of it, and say what it is expected to add.

        Where the stop rule holds nothing is asked, and the algorithm is as if it had not been: what is measured again
        before the end may show that the rule does not hold after all.
        """
        rule = self._stop.plateau or PlateauSettings()
        before = None if self._stop.plateau is None else self._algorithm.state()
        exhausted = "the space holds no further admissible architecture"
        proposal = ask_algorithm(self._algorithm, num_left, when_exhausted=exhausted)
        if not proposal.genotypes:
            return proposal
        results, own = self._algorithm.results, self._algorithm.predictors()
        outlook = Outlook(self._problem, results, predictors=own, reference_point=self._reference_point)
        proposal = replace(proposal, forecast=outlook.forecast(proposal.genotypes))
        last = outlook.last_share(rule.num_candidates)
        following = outlook.next_share(proposal.forecast, rule.num_candidates, self._expected)
        self._gains = {"num_candidates": rule.num_candidates, "last_share": last, "next_share": following}
        if before is None or not rule.is_reached(len(results), last, following):
            return proposal
        self._algorithm.load_state(before)
        return Proposal(
            ended=StepStatus.COMPLETED, reason=rule.sentence(last, following, num_left), end_reason=EndReason.PLATEAU
        )

    def order(self, given: StepInput, proposal: Proposal, front: Front, shift_state: str | None) -> ShiftOrder | None:
        """Order a shift of the supernet towards what is proposed, where the spec wants shifts."""
        if given.search.spec.shifting is None or not proposal.genotypes:
            return None
        return shift_order(given, front, proposal.survivors, shift_state)

    def report(self, given: StepInput) -> Mapping[str, JsonValue]:
        """Give the algorithm's own report, and what is compared in a search that shifts."""
        report = dict(self._algorithm.report())
        if self._gains is not None:
            report["gains"] = self._gains
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
    def remeasures(self) -> bool:
        return self._algorithm.remeasures

    @property
    def generation(self) -> int:
        return self._algorithm.generation

    def state(self) -> JsonValue:
        return self._algorithm.state()
