"""SEARCH_STEP jobs: tell what is finished, ask for more, and commit both with the algorithm's checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import InfeasibleError, SearchStateError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.objective import Metric
from nas_engine.search.algorithm import SearchAlgorithm
from nas_engine.settings.densenas import DenseNasSettings
from server.candidates.spec import SearchSpec
from server.jobs.job import Job, LeaseRef
from server.searches.fronts import Front, Fronts
from server.searches.steps.step import LongJobOrder, NewCandidate, SearchStepOutcome, StepInput, StepStatus
from server.searches.steps.steps import SearchSteps
from server.searches.worker.algorithms import algorithm_of
from server.searches.worker.densenas import DenseNasSearch, densenas_algorithm, derive_order, take_derived
from server.searches.worker.remeasuring import candidates_to_remeasure
from server.searches.worker.shifting_steps import shift_order, shift_state, shifting_report, take_in
from server.searches.worker.step_reports import derivation_report, picked_models, predictor_report, provenance_of
from server.searches.worker.warm_starting import start_warm
from server.spaces.catalog import SpaceCatalog

CHECKPOINT_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the algorithm proposed, and why it proposed no more."""

    genotypes: tuple[Genotype, ...] = ()
    ended: StepStatus | None = None
    reason: str = ""


@dataclass(slots=True)
class _StepCheckpoint:
    """What a search remembers from step to step beside its algorithm.

    Attributes:
        final_evaluations_ordered: whether its front has been sent to be classified on test images.
        offered: where genotypes of a warm start that were not asked yet came from.
        report: topics of this step, for the search's progress.
        confirmed: candidates that were measured once more before the end.
        shift_state: artifact that supernet shifting goes on from; None before the first shift.
    """

    final_evaluations_ordered: bool
    offered: dict[Genotype, str]
    report: dict[str, JsonValue]
    confirmed: set[str] = field(default_factory=set)
    shift_state: str | None = None

    def document(self) -> dict[str, JsonValue]:
        """Its part of the checkpoint."""
        offered: list[JsonValue] = [[list(genotype), source] for genotype, source in self.offered.items()]
        confirmed: list[JsonValue] = [*sorted(self.confirmed)]
        return {
            "finalised": self.final_evaluations_ordered,
            "offered": offered,
            "confirmed": confirmed,
            "shift_state": self.shift_state,
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> _StepCheckpoint:
        """From a checkpoint; `offered` and `confirmed` are absent from those of earlier versions."""
        offered = {tuple(genotype): str(source) for genotype, source in document.get("offered", [])}
        confirmed, shift_state = set(document.get("confirmed", [])), document.get("shift_state")
        return cls(bool(document["finalised"]), offered, {}, confirmed, shift_state)


class StepHandler:
    """Does SEARCH_STEP jobs. Short: evaluating and measuring are jobs of their own."""

    def __init__(
        self,
        steps: SearchSteps,
        fronts: Fronts,
        spaces: SpaceCatalog,
        code_version: str,
    ) -> None:
        self._steps = steps
        self._fronts = fronts
        self._spaces = spaces
        self._code_version = code_version

    def __call__(self, job: Job, lease: LeaseRef, stopped: Callable[[], bool]) -> None:
        """Do one step; a lost lease drops it without a trace."""
        given = self._steps.load(lease)
        algorithm, memory = self._restore(given)
        take_in(given, algorithm)
        take_derived(given, algorithm)
        outcome = self._outcome(given, algorithm, memory)
        if not stopped():
            self._steps.commit(lease, outcome)

    def _restore(self, given: StepInput) -> tuple[SearchAlgorithm, _StepCheckpoint]:
        spec = given.search.spec
        space = self._spaces.space(spec.space.id, spec.space.parameters)
        algorithm: SearchAlgorithm
        if isinstance(spec.algorithm, DenseNasSettings):
            algorithm = densenas_algorithm(given.search, spec.algorithm, space)
        else:
            algorithm = algorithm_of(spec, space)
        if given.checkpoint is None:
            warm = start_warm(given, algorithm, space, self._fronts)
            report = {} if spec.warm_start is None else {"warm_start": warm.report()}
            return algorithm, _StepCheckpoint(False, warm.source_of, report)
        document = given.checkpoint.payload
        if not isinstance(document, dict) or document.get("schema_version") != CHECKPOINT_SCHEMA:
            raise SearchStateError(f"checkpoint {given.checkpoint.seq} of {given.search.id} is not of this version")
        algorithm.load_state(cast(JsonValue, document["algorithm"]))
        return algorithm, _StepCheckpoint.of(document)

    def _outcome(self, given: StepInput, algorithm: SearchAlgorithm, memory: _StepCheckpoint) -> SearchStepOutcome:
        survivors = frozenset(algorithm.survivors)
        asked = self._ask(given, algorithm)
        front = self._fronts.of_search(
            given.search.id,
            with_dominated=given.comparable is not None,
            supernet_version_id=given.search.supernet_version_id,
        )
        report = {**memory.report, **predictor_report(algorithm), **derivation_report(algorithm)}
        work: LongJobOrder | None = None
        if asked.ended is None:
            work = derive_order(algorithm, given.num_left - len(asked.genotypes))
        if given.search.spec.shifting is not None:
            report["shifting"] = shifting_report(given)
            memory.shift_state = shift_state(given) or memory.shift_state
            if asked.genotypes:
                work = shift_order(given, front, survivors, memory.shift_state)
        final_evaluations: tuple[str, ...] = ()
        re_measure: tuple[str, ...] = ()
        if asked.ended is StepStatus.COMPLETED:
            re_measure = candidates_to_remeasure(given.search, front, self._fronts, memory.confirmed)
            memory.confirmed |= set(re_measure)
        if asked.ended is StepStatus.COMPLETED and not re_measure and not memory.final_evaluations_ordered:
            picked = picked_models(front)
            if picked is not None:
                report["picked"] = list(picked)
            if given.search.supernet_version_id is not None:
                final_evaluations = tuple(point.id for point in front.points) if picked is None else picked
                memory.final_evaluations_ordered = True
        ended = None if final_evaluations or re_measure else asked.ended
        new = tuple(self._candidate(given.search.spec, genotype, memory, algorithm) for genotype in asked.genotypes)
        return SearchStepOutcome(
            told=tuple(finished.candidate.id for finished in given.finished),
            asked=new,
            checkpoint={
                "schema_version": CHECKPOINT_SCHEMA,
                "algorithm": algorithm.state(),
                **memory.document(),
            },
            code_version=self._code_version,
            status=ended or StepStatus.CONTINUE,
            reason=asked.reason if ended else "",
            generation=algorithm.generation,
            front_size=len(front.points),
            hypervolume=front.hypervolume,
            reference_point=_fixed_reference(given, front),
            final_evaluations=final_evaluations,
            re_measure=re_measure,
            work=work,
            report=report,
        )

    def _ask(self, given: StepInput, algorithm: SearchAlgorithm) -> _Asked:
        if given.num_left == 0:
            return _Asked(ended=StepStatus.COMPLETED, reason="budget used up")
        if isinstance(algorithm, DenseNasSearch) and algorithm.has_nothing_to_ask:
            return _Asked()
        try:
            genotypes = tuple(algorithm.ask(min(given.num_left, algorithm.batch_size)))
        except InfeasibleError as error:
            return _Asked(ended=StepStatus.FAILED, reason=str(error))
        if not genotypes and isinstance(algorithm, DenseNasSearch):
            return _Asked(ended=StepStatus.COMPLETED, reason="the search of every cost factor is done")
        if not genotypes:
            return _Asked(ended=StepStatus.COMPLETED, reason="the space holds no further admissible architecture")
        return _Asked(genotypes)

    def _candidate(
        self, spec: SearchSpec, genotype: Genotype, memory: _StepCheckpoint, algorithm: SearchAlgorithm
    ) -> NewCandidate:
        record = self._spaces.decode(spec.space.id, spec.space.parameters, genotype)
        key = None
        if spec.device is not None and Metric.LATENCY_US in spec.metrics():
            key = self._spaces.latency_key(record.architecture, dtype=spec.device.dtype_value, batch=spec.device.batch)
        source = memory.offered.pop(genotype, None)
        provenance = provenance_of(algorithm, genotype)
        if source is not None:
            provenance = {"operator": "warm_start", "source": source}
        known = self._spaces.known_values(spec.space.id, spec.space.parameters, genotype)
        return NewCandidate(genotype=genotype, record=record, latency_key=key, known=known, provenance=provenance)


def _fixed_reference(given: StepInput, front: Front) -> tuple[float, ...] | None:
    """The reference point, fixed by the first generation that is told, so that hypervolumes compare."""
    return given.search.progress.reference_point or front.reference_point
