"""What every algorithm shares: ask/tell bookkeeping, its checks, and the checkpoint around the algorithm's own part.

An algorithm derives from `BaseSearchAlgorithm` and says how it proposes and what it learns; that nothing is asked
twice, told twice, or told half, is settled here once.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING

import numpy as np

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import SearchStateError
from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.domain.metric import Metric
from nas_engine.search import state_codec as codec
from nas_engine.search.algorithm import Observation, Rejection, SearchProblem
from nas_engine.search.archive import EvaluatedArchive
from nas_engine.search.encoding import Encoding
from nas_engine.search.ledger import CandidateLedger

if TYPE_CHECKING:
    from nas_engine.cost.prediction.predictor import MetricPredictor

SCHEMA_VERSION = 1


class BaseSearchAlgorithm(ABC):
    """Base of the algorithms; satisfies `SearchAlgorithm`."""

    def __init__(self, problem: SearchProblem, identity: JsonValue, seed: int) -> None:
        """Start a search.

        Args:
            problem: what is searched.
            identity: the algorithm's name and settings as a document; a checkpoint of other settings is refused.
            seed: of the algorithm's own generator; equal seeds and results give equal searches.
        """
        self.problem = problem
        self.encoding = Encoding.of(problem.space)
        self.ledger = CandidateLedger(self.encoding, problem.cheap_filter)
        self.archive = EvaluatedArchive(problem)
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._algorithm_identity = identity
        self._exhausted = False
        self._generation = 0
        self._withdrawn: set[Genotype] = set()

    @property
    @abstractmethod
    def batch_size(self) -> int:
        """How many candidates complete the current generation; >= 1."""

    @abstractmethod
    def _propose(self, num: int) -> list[Genotype]:
        """Up to `num` genotypes, each reserved through the ledger; fewer only when no more are found."""

    @abstractmethod
    def _absorb(self, results: Sequence[Observation]) -> None:
        """Learn new results (already in the archive), in the order asked."""

    def _absorb_revision(self, results: Sequence[Observation]) -> None:
        """Learn changed values of known results; algorithms that read the archive afresh need nothing."""
        del results

    def _absorb_withdrawal(self, genotypes: Set[Genotype]) -> None:
        """Drop candidates that are in the archive no more; algorithms that read it afresh need nothing."""
        del genotypes

    def _choose_anew(self, told: Sequence[Observation]) -> None:
        """Choose what to go on with from everything told; algorithms that read the archive afresh need nothing."""
        del told

    def _own_state(self) -> Mapping[str, JsonValue]:
        """State beyond the ledger, the archive and the generator."""
        return {}

    def _load_own_state(self, state: Mapping[str, JsonValue]) -> None:
        """Inverse of `_own_state`; ledger, archive and generator are restored by then."""
        del state

    @property
    def generation(self) -> int:
        """Generations completed so far."""
        return self._generation

    @property
    def exhausted(self) -> bool:
        """True once no further admissible genotype was found."""
        return self._exhausted

    @property
    def num_asked(self) -> int:
        """Candidates asked so far."""
        return len(self.ledger.asked)

    @property
    def pending(self) -> tuple[Genotype, ...]:
        """Asked and not yet told, in the order asked."""
        return tuple(g for g in self.ledger.asked if g not in self.archive and g not in self._withdrawn)

    @property
    def num_observed(self) -> int:
        """Candidates told so far, withdrawn or not."""
        return len(self.archive) + len(self._withdrawn)

    @property
    def results(self) -> tuple[Observation, ...]:
        """Every result told and not withdrawn, in the order told."""
        return self.archive.results

    @property
    def survivors(self) -> tuple[Genotype, ...]:
        """Observed candidates that what is asked next is compared with."""
        return ()

    @property
    def remeasures(self) -> bool:
        """Whether noisy members of the front are measured once more. See `SearchAlgorithm.remeasures`."""
        return False

    def predictors(self) -> Mapping[Metric, MetricPredictor] | None:
        """What it predicts with; None where it has nothing. See `SearchAlgorithm.predictors`."""
        return None

    def front(self) -> tuple[Observation, ...]:
        """The feasible non-dominated results of the whole search."""
        return self.archive.front()

    def report(self) -> Mapping[str, JsonValue]:
        """What the algorithm says of itself, by topic."""
        return {}

    def pick_models(self, front: Sequence[Sequence[float]]) -> tuple[int, ...] | None:
        """Which models of a front it would take; None for all of them. See `SearchAlgorithm.pick_models`."""
        del front
        return None

    def enqueue(self, genotypes: Sequence[Genotype]) -> tuple[Rejection, ...]:
        """Have these asked first; returns those not taken, with the reason."""
        return self.ledger.enqueue(genotypes)

    def ask(self, num: int) -> list[Genotype]:
        """At most `num` new canonical genotypes; [] only when exhausted. See `SearchAlgorithm.ask`."""
        if num < 1:
            raise SearchStateError(f"ask({num}): ask for at least one candidate")
        if self._exhausted and not self.ledger.queue:
            return []
        try:
            batch = self.ledger.take_queued(num)
            if len(batch) < num and not self._exhausted:
                batch.extend(self._propose(num - len(batch)))
            self.ledger.commit(batch)
        finally:
            self.ledger.restart_batch()
        if not batch:
            if not self.ledger.asked:
                raise self.ledger.infeasible(self._rng)
            self._exhausted = True
        return batch

    def tell(self, results: Sequence[Observation]) -> None:
        """Learn the results of asked candidates; all or nothing. See `SearchAlgorithm.tell`."""
        for observation in results:
            if observation.genotype not in self.ledger.asked:
                raise SearchStateError(
                    f"candidate {observation.genotype} was never asked in this search: tell what ask gave"
                )
            if observation.genotype in self.archive or observation.genotype in self._withdrawn:
                raise SearchStateError(
                    f"candidate {observation.genotype} was told before: use revise to change its values"
                )
        in_order = self._checked(results)
        for observation in in_order:
            self.archive.add(observation)
        if in_order:
            self._absorb(in_order)

    def revise(self, results: Sequence[Observation]) -> None:
        """Replace the values of told candidates; all or nothing."""
        for observation in results:
            if observation.genotype not in self.archive:
                raise SearchStateError(f"candidate {observation.genotype} was not told yet: tell it before revising it")
        in_order = self._checked(results)
        for observation in in_order:
            self.archive.add(observation)
        if in_order:
            self._absorb_revision(in_order)

    def withdraw(self, genotypes: Sequence[Genotype]) -> None:
        """Compare these told candidates with nothing any more; all or nothing. See `SearchAlgorithm.withdraw`."""
        for genotype in genotypes:
            if genotype not in self.archive:
                raise SearchStateError(f"candidate {genotype} was not told, or was withdrawn before")
        gone = set(genotypes)
        for genotype in gone:
            self.archive.remove(genotype)
        self._withdrawn |= gone
        if gone:
            self._absorb_withdrawal(gone)

    def reconsider(self, results: Sequence[Observation]) -> None:
        """Go on under other constraints: revise told candidates by them, and choose from everything told anew.

        Args:
            results: of told candidates, with what each violates now; all or nothing, as `revise`.
        """
        self.revise(results)
        self._choose_anew(self.archive.results)

    def _checked(self, results: Sequence[Observation]) -> list[Observation]:
        """`results` in the order asked, each complete, each candidate once."""
        if len({observation.genotype for observation in results}) != len(results):
            raise SearchStateError("one call holds two results of the same candidate: give one each")
        for observation in results:
            self.problem.check_complete(observation)
        return sorted(results, key=lambda observation: self.ledger.asked[observation.genotype])

    def _identity(self, constraints: JsonValue = None) -> str:
        """What a checkpoint must agree in with the algorithm that loads it; `constraints` in place of the problem's."""
        problem = self.problem
        own: JsonValue = [[c.metric.name, c.minimum, c.maximum] for c in problem.constraints]
        return canonical_json(
            {
                "settings": self._algorithm_identity,
                "space": problem.space.space_id,
                "parameters": dict(problem.space.parameters),
                "num_choices": list(self.encoding.num_choices),
                "objectives": [[o.name, o.goal.value, o.weight] for o in problem.objectives],
                "constraints": own if constraints is None else constraints,
            }
        )

    def state(self) -> JsonValue:
        """The checkpoint: plain JSON."""
        withdrawn: JsonValue = [list(genotype) for genotype in sorted(self._withdrawn)]
        return {
            "schema_version": SCHEMA_VERSION,
            "identity": self._identity(),
            "rng": codec.encode_rng(self._rng),
            "asked": [list(genotype) for genotype in self.ledger.asked],
            "queue": [list(genotype) for genotype in self.ledger.queue],
            "results": [codec.encode_observation(observation) for observation in self.archive.results],
            "exhausted": self._exhausted,
            "generation": self._generation,
            "own": self._own_state(),
            **({"withdrawn": withdrawn} if withdrawn else {}),
        }

    def load_state(self, state: JsonValue) -> None:
        """Resume exactly. See `SearchAlgorithm.load_state`."""
        self._load(state, amended=False)

    def load_amended_state(self, state: JsonValue) -> None:
        """Resume from the state of a search whose constraints were others; `reconsider` belongs behind it.

        What waits in the queue and may not be asked any more is dropped; a space that was exhausted is tried again.

        Raises:
            SearchStateError: another algorithm, space, objectives or settings, another schema, or a damaged document.
        """
        self._load(state, amended=True)

    def _load(self, state: JsonValue, *, amended: bool) -> None:
        document = codec.as_mapping(state, "state")
        version = codec.field_of(document, "schema_version")
        if version != SCHEMA_VERSION:
            raise SearchStateError(f"checkpoint has schema version {version}, this program reads {SCHEMA_VERSION}")
        identity = codec.field_of(document, "identity")
        if identity != (self._identity(_constraints_of(identity)) if amended else self._identity()):
            raise SearchStateError(
                "checkpoint belongs to another search: algorithm, settings, space, objectives and constraints must be "
                f"equal. Checkpoint: {document['identity']}; this search: {self._identity()}"
            )
        choices = self.encoding.num_choices
        ledger = CandidateLedger(self.encoding, self.problem.cheap_filter)
        ledger.commit(codec.decode_genotypes(codec.field_of(document, "asked"), "asked", choices))
        queue = codec.decode_genotypes(codec.field_of(document, "queue"), "queue", choices)
        ledger.queue.extend(g for g in queue if not amended or ledger.check(g).feasible)
        ledger.restart_batch()
        archive = EvaluatedArchive(self.problem)
        for item in codec.as_sequence(codec.field_of(document, "results"), "results"):
            observation = codec.decode_observation(item, choices, self.problem.observed_metrics)
            if observation.genotype not in ledger.asked or observation.genotype in archive:
                raise SearchStateError(f"checkpoint: result of {observation.genotype} was not asked, or is there twice")
            archive.add(observation)
        # Absent from checkpoints of earlier versions, which withdrew nothing.
        withdrawn = set(codec.decode_genotypes(document.get("withdrawn", []), "withdrawn", choices))
        if not withdrawn <= ledger.asked.keys() or any(genotype in archive for genotype in withdrawn):
            raise SearchStateError("checkpoint: a candidate was withdrawn that was not asked, or has a result still")
        rng = codec.decode_rng(codec.field_of(document, "rng"))
        generation = codec.as_int(codec.field_of(document, "generation"), "generation")
        self.ledger, self.archive, self._rng = ledger, archive, rng
        self._exhausted = bool(codec.field_of(document, "exhausted")) and not amended
        self._generation = generation
        self._withdrawn = withdrawn
        self._load_own_state(codec.as_mapping(codec.field_of(document, "own"), "own"))


def _constraints_of(identity: JsonValue) -> JsonValue:
    """The constraints that the identity in a checkpoint names; [] where it is none."""
    try:
        document = json.loads(identity) if isinstance(identity, str) else None
    except ValueError:
        document = None
    constraints: JsonValue = document.get("constraints", []) if isinstance(document, dict) else []
    return constraints
