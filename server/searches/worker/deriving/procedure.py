"""DenseNAS: each candidate is what one differentiable search derives, a job of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import InvalidSpaceError, SearchStateError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.search_space import SearchSpace
from nas_engine.search import state_codec as codec
from nas_engine.search.algorithm import Observation, Rejection, SearchProblem
from nas_engine.search.amending import load_amended_state
from nas_engine.search.base import BaseSearchAlgorithm
from nas_engine.settings.densenas import DenseNasSettings
from nas_engine.spaces.densenas.space import DenseSpace
from server.candidates.spec import SearchSpec
from server.jobs.states import JobKind
from server.searches.fronts.fronts import Front
from server.searches.steps.step import DeriveOrder, StepInput
from server.searches.worker.engine_terms import observe, search_problem
from server.searches.worker.procedure import Proposal, ask_algorithm


class DerivedNetworks(BaseSearchAlgorithm):
    """The networks derived so far, one per cost factor in order; one that was derived before is not asked again."""

    def __init__(self, problem: SearchProblem, settings: DenseNasSettings, seed: int) -> None:
        super().__init__(problem, settings.identity(), seed)
        self._kind, self._num_factors = settings.kind, len(settings.cost_factors)
        self._waiting: Genotype | None = None
        self.derived: list[JsonValue] = []

    @property
    def batch_size(self) -> int:
        """Each derivation is a step of its own."""
        return 1

    @property
    def next_number(self) -> int | None:
        """Cost factor whose search is to be run next; None once all are done."""
        return len(self.derived) if len(self.derived) < self._num_factors else None

    @property
    def awaits_derivation(self) -> bool:
        """Whether a derivation must come first."""
        return self._waiting is None and self.next_number is not None

    def report(self) -> Mapping[str, JsonValue]:
        """What each cost factor gave, and whether that search collapsed."""
        return {"derived": list(self.derived)}

    def take(self, result: JsonValue) -> None:
        """Take in what the search of the next cost factor derived.

        Raises:
            SearchStateError: it is no derivation, or of another cost factor.
        """
        if not isinstance(result, dict) or result.get("number") != self.next_number:
            raise SearchStateError(f"{result!r} is no derivation of cost factor {self.next_number}")
        said: dict[str, JsonValue] = {key: value for key, value in result.items() if key not in ("number", "genotype")}
        match result.get("genotype"):
            case list(genes):
                genotype = self.problem.space.canonical([int(str(gene)) for gene in genes])
            case other:
                raise SearchStateError(f"a derivation gave {other!r}, which is no genotype")
        is_new = self.ledger.is_new(genotype) and self.ledger.check(genotype).feasible
        self.derived.append({**said, "genotype": list(genotype), "new": is_new})
        self._waiting = genotype if is_new else None

    def provenance(self, genotype: Genotype) -> JsonValue:
        """What is known of the derivation that gave a genotype."""
        for entry in self.derived:
            if isinstance(entry, dict) and entry["genotype"] == list(genotype) and entry["new"]:
                kept = {key: value for key, value in entry.items() if key not in ("genotype", "new")}
                return {"operator": self._kind, **kept}
        return None

    def _propose(self, num: int) -> list[Genotype]:
        waiting, self._waiting = self._waiting, None
        return [waiting][:num] if waiting is not None and self.ledger.admit(waiting) else []

    def _absorb(self, results: Sequence[Observation]) -> None:
        self._generation += len(results)

    def _own_state(self) -> Mapping[str, JsonValue]:
        # Waits only where a stop rule held and what is measured again before the end may show that it does not.
        waiting: JsonValue = None if self._waiting is None else list(self._waiting)
        return {"derived": list(self.derived), **({} if waiting is None else {"waiting": waiting})}

    def _load_own_state(self, state: Mapping[str, JsonValue]) -> None:
        match state.get("derived"):
            case list(derived):
                self.derived = derived
            case other:
                raise SearchStateError(f"checkpoint: {other!r} is no list of derived architectures")
        waiting = state.get("waiting")
        self._waiting = None if waiting is None else codec.decode_genotype(waiting, self.encoding.num_choices)


class DerivationProcedure:
    """Orders one derivation per cost factor; what the last one gave is measured while the next one runs."""

    def __init__(self, spec: SearchSpec, settings: DenseNasSettings, space: SearchSpace) -> None:
        """Start before the first derivation.

        Raises:
            InvalidSpaceError: the space is none of DenseNAS's.
        """
        if not isinstance(space, DenseSpace):
            raise InvalidSpaceError(f"{settings.kind} searches densely connected spaces, {space.space_id!r} is none")
        self._networks = DerivedNetworks(search_problem(spec, space), settings, spec.seed)

    def enqueue(self, genotypes: Sequence[Genotype]) -> tuple[Rejection, ...]:
        return self._networks.enqueue(genotypes)

    def restore(self, state: JsonValue) -> None:
        self._networks.load_state(state)

    def restore_amended(self, state: JsonValue) -> None:
        load_amended_state(self._networks, state)

    def apply(self, given: StepInput) -> None:
        """Learn what was measured, and take in the network that the last step had derived.

        Raises:
            SearchStateError: what the job ended with is no derivation, or of another cost factor.
        """
        observe(self._networks, given)
        if given.work is not None and given.work.kind is JobKind.DERIVE:
            self._networks.take(given.work.result)

    def propose(self, num_left: int) -> Proposal:
        """Propose the network that was derived last; nothing while a derivation must come first."""
        if self._networks.awaits_derivation:
            return Proposal()
        return ask_algorithm(self._networks, num_left, when_exhausted="the search of every cost factor is done")

    def order(self, given: StepInput, proposal: Proposal, front: Front, shift_state: str | None) -> DeriveOrder | None:
        """Order the next derivation; None where none is left, or no budget for it."""
        del front, shift_state
        number = self._networks.next_number
        return None if number is None or given.num_left <= len(proposal.genotypes) else DeriveOrder(number)

    def report(self, given: StepInput) -> Mapping[str, JsonValue]:
        del given
        return self._networks.report()

    def pick(self, front: Front) -> None:
        """Pick nothing: every network is one of the results."""
        del front

    def provenance(self, genotype: Genotype) -> JsonValue:
        return self._networks.provenance(genotype)

    @property
    def remeasures(self) -> bool:
        return self._networks.remeasures

    @property
    def generation(self) -> int:
        return self._networks.generation

    def state(self) -> JsonValue:
        return self._networks.state()
