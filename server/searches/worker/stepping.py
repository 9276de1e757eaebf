"""SEARCH_STEP jobs: tell what is finished, ask for more, and commit both with the search's checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.search_space import SearchSpace
from nas_engine.search.factory import create_algorithm
from nas_engine.settings.kinds.algorithms import deriving_settings
from server.candidates.spec import SearchSpec
from server.candidates.used_plugins import check_plugins
from server.jobs.job import Job, LeaseRef
from server.searches.fronts.fronts import Front, Fronts
from server.searches.steps.step import NewCandidate, SearchStepOutcome, StepInput, StepStatus
from server.searches.steps.steps import SearchSteps
from server.searches.worker.deriving.procedure import DerivationProcedure
from server.searches.worker.engine_terms import search_problem
from server.searches.worker.evaluating_procedure import EvaluatingProcedure
from server.searches.worker.final_orders import FinalOrders, final_orders
from server.searches.worker.new_candidates import describe_candidate
from server.searches.worker.procedure import Procedure, Proposal
from server.searches.worker.remeasure import noisy_best
from server.searches.worker.shift_orders import finished_shift
from server.searches.worker.step_checkpoint import StepCheckpoint, stored_document
from server.searches.worker.stopping import StopFigures
from server.searches.worker.warm_starting import start_warm
from server.spaces.catalog import SpaceCatalog

_BUDGET_USED_UP = Proposal(ended=StepStatus.COMPLETED, reason="budget used up")


class StepHandler:
    """Does SEARCH_STEP jobs. Short: evaluating and measuring are jobs of their own."""

    def __init__(self, steps: SearchSteps, fronts: Fronts, spaces: SpaceCatalog, code_version: str) -> None:
        self._steps = steps
        self._fronts = fronts
        self._spaces = spaces
        self._code_version = code_version

    def __call__(self, job: Job, lease: LeaseRef, stopped: Callable[[], bool]) -> None:
        """Do one step; a lost lease drops it without a trace."""
        given = self._steps.load(lease)
        check_plugins(given.search.plugins)
        spec = given.search.spec
        space = self._spaces.space(spec.space.id, spec.space.parameters)
        procedure = create_procedure(spec, space)
        report: dict[str, JsonValue] = {}
        document = stored_document(given)
        if document is None:
            warm = start_warm(given, procedure, space, self._fronts)
            checkpoint = StepCheckpoint(offered=warm.source_of)
            if spec.warm_start is not None:
                report["warm_start"] = warm.report()
        else:
            restore = procedure.restore_amended if given.amended else procedure.restore
            restore(document["algorithm"])
            checkpoint = StepCheckpoint.read(document)
        procedure.apply(given)
        checkpoint.shift_state = finished_shift(given) or checkpoint.shift_state
        outcome = self._outcome(given, procedure, checkpoint, report)
        if not stopped():
            self._steps.commit(lease, outcome)

    def _outcome(
        self,
        given: StepInput,
        procedure: Procedure,
        checkpoint: StepCheckpoint,
        warm_start_report: Mapping[str, JsonValue],
    ) -> SearchStepOutcome:
        search = given.search
        stopping = StopFigures.of(given, lambda: self._compared(given, with_dominated=True))
        proposal = _BUDGET_USED_UP
        if given.num_left:
            proposal = stopping.end(given) or procedure.propose(given.num_left)
        front = self._compared(given, with_dominated=given.current_accuracies is not None)
        work = procedure.order(given, proposal, front, checkpoint.shift_state) if proposal.ended is None else None
        doubts = procedure.remeasures and proposal.ended is None
        doubted = noisy_best(search, front, checkpoint.remeasured) if doubts else ()
        checkpoint.remeasured |= set(doubted)
        report = {**warm_start_report, **procedure.report(given)}
        if (stands := stopping.report(search.spec)) is not None:
            report["stop"] = stands
        final = FinalOrders()
        if proposal.ended is None:
            checkpoint.finalised = False  # it goes on after all, since a rule or its budget was amended
        if proposal.ended is StepStatus.COMPLETED:
            final = final_orders(given, front, self._fronts, procedure, checkpoint)
        if final.picked is not None:
            report["picked"] = list(final.picked)
        ended = None if final.postpone_the_end else proposal.ended
        asked = tuple(
            replace(
                self._new_candidate(given, genotype, procedure, checkpoint),
                expected_gain=proposal.expected_gain(place),
                expected_gain_reason=proposal.forecast.unknown_because,
            )
            for place, genotype in enumerate(proposal.genotypes)
        )
        return SearchStepOutcome(
            observed=tuple(finished.candidate.id for finished in given.finished),
            asked=asked,
            checkpoint=checkpoint.document(procedure.state()),
            code_version=self._code_version,
            status=ended or StepStatus.CONTINUE,
            reason=proposal.reason if ended else "",
            end_reason=proposal.end_reason if ended else None,
            generation=procedure.generation,
            num_unmet=front.num_complete - front.num_feasible if front.num_complete else None,
            front_size=len(front.points),
            hypervolume=front.hypervolume,
            # Fixed by the first generation that is told, so that hypervolumes compare.
            reference_point=search.progress.reference_point or front.reference_point,
            final_evaluations=final.final_evaluations,
            re_measure=doubted or final.re_measure,
            work=work,
            report=report,
        )

    def _compared(self, given: StepInput, *, with_dominated: bool) -> Front:
        search = given.search
        return self._fronts.of_search(
            search.id, with_dominated=with_dominated, supernet_version_id=search.supernet_version_id
        )

    def _new_candidate(
        self, given: StepInput, genotype: Genotype, procedure: Procedure, checkpoint: StepCheckpoint
    ) -> NewCandidate:
        source = checkpoint.offered.pop(genotype, None)
        provenance = procedure.provenance(genotype)
        if source is not None:
            provenance = {"operator": "warm_start", "source": source}
        return describe_candidate(self._spaces, given.search.spec, genotype, provenance)


def create_procedure(spec: SearchSpec, space: SearchSpace) -> Procedure:
    """Make the procedure of a spec, as it is before its first step.

    Raises:
        InvalidSpaceError: the space is none that this kind searches.
        PluginError: no installed package brings its algorithm, or it cannot be used.
    """
    if (settings := deriving_settings(spec.algorithm)) is not None:
        return DerivationProcedure(spec, settings, space)
    problem = search_problem(spec, space)
    return EvaluatingProcedure(create_algorithm(spec.algorithm, problem, spec.seed), problem, spec.stop)
