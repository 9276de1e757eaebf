"""DenseNAS as a search algorithm: each candidate is what one differentiable search derives, a job of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import InvalidSpaceError, SearchStateError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.search_space import SearchSpace
from nas_engine.search.algorithm import SearchAlgorithm, SearchProblem, Told
from nas_engine.search.base import LedgeredSearch
from nas_engine.settings.densenas import DenseNasSettings
from nas_engine.spaces.densenas.space import DenseSpace
from server.candidates.search import Search
from server.jobs.states import JobKind
from server.searches.steps.step import DeriveOrder, StepInput
from server.searches.worker.algorithms import problem_of


class DenseNasSearch(LedgeredSearch):
    """Asks one architecture per cost factor, in order; one that was derived before is not asked again."""

    def __init__(self, problem: SearchProblem, settings: DenseNasSettings, seed: int) -> None:
        super().__init__(problem, settings.identity(), seed)
        self._num_factors = len(settings.cost_factors)
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
    def has_nothing_to_ask(self) -> bool:
        """Whether a derivation must come first."""
        return self._waiting is None and self.next_number is not None

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
                told = {key: value for key, value in entry.items() if key not in ("genotype", "new")}
                return {"operator": "densenas", **told}
        return None

    def _propose(self, num: int) -> list[Genotype]:
        waiting, self._waiting = self._waiting, None
        return [waiting][:num] if waiting is not None and self.ledger.admit(waiting) else []

    def _absorb(self, results: Sequence[Told]) -> None:
        self._generation += len(results)

    def _own_state(self) -> Mapping[str, JsonValue]:
        return {"derived": list(self.derived)}

    def _load_own_state(self, state: Mapping[str, JsonValue]) -> None:
        match state.get("derived"):
            case list(derived):
                self.derived = derived
            case other:
                raise SearchStateError(f"checkpoint: {other!r} is no list of derived architectures")


def densenas_algorithm(search: Search, wanted: DenseNasSettings, space: SearchSpace) -> DenseNasSearch:
    """The algorithm of a search.

    Raises:
        InvalidSpaceError: the space is none of DenseNAS's.
    """
    if not isinstance(space, DenseSpace):
        raise InvalidSpaceError(f"densenas searches densely connected spaces, {space.space_id!r} is none")
    return DenseNasSearch(problem_of(search.spec, space), wanted, search.spec.seed)


def take_derived(given: StepInput, algorithm: SearchAlgorithm) -> None:
    """Give the algorithm what the derivation that the last step ordered ended with."""
    if isinstance(algorithm, DenseNasSearch) and given.work is not None and given.work.kind is JobKind.DERIVE:
        algorithm.take(given.work.result)


def derive_order(algorithm: SearchAlgorithm, num_left: int) -> DeriveOrder | None:
    """The derivation to run while what is asked now is measured; None where none is left, or no budget for it."""
    if not isinstance(algorithm, DenseNasSearch) or num_left < 1 or algorithm.next_number is None:
        return None
    return DeriveOrder(algorithm.next_number)
