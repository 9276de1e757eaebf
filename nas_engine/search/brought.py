"""An algorithm that a package brings, held to the protocol: what it answers is checked before anything rests on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from nas_engine.cost.prediction.predictor import MetricPredictor
from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import EngineError, SearchStateError
from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.domain.metric import Metric
from nas_engine.domain.plugins.guard import Guard
from nas_engine.search import state_codec as codec
from nas_engine.search.algorithm import Observation, Rejection, SearchAlgorithm, SearchProblem

T = TypeVar("T")
SCHEMA_VERSION = 1
MAX_BATCH_SIZE = 100_000


class BroughtAlgorithm:
    """`SearchAlgorithm`: hands each call on under a guard, and refuses nonsense by the name of its package.

    What was asked is kept here, so that no candidate is asked twice whatever the algorithm does.
    """

    def __init__(self, algorithm: SearchAlgorithm, problem: SearchProblem, guard: Guard) -> None:
        self._algorithm = algorithm
        self._problem = problem
        self._guard = guard
        self._asked: dict[Genotype, None] = {}

    @property
    def batch_size(self) -> int:
        size = self._of("batch_size", lambda: self._algorithm.batch_size, int)
        if not 1 <= size <= MAX_BATCH_SIZE:
            raise self._guard.fault(f"batch_size is {size}: it must lie between 1 and {MAX_BATCH_SIZE}")
        return size

    @property
    def generation(self) -> int:
        generation = self._of("generation", lambda: self._algorithm.generation, int)
        if generation < 0:
            raise self._guard.fault(f"generation is {generation}: it counts from 0")
        return generation

    @property
    def exhausted(self) -> bool:
        return self._of("exhausted", lambda: self._algorithm.exhausted, bool)

    @property
    def pending(self) -> tuple[Genotype, ...]:
        return self._genotypes("pending", lambda: self._algorithm.pending)

    @property
    def num_asked(self) -> int:
        return len(self._asked)

    @property
    def results(self) -> tuple[Observation, ...]:
        return self._observations("results", lambda: self._algorithm.results)

    @property
    def survivors(self) -> tuple[Genotype, ...]:
        return self._genotypes("survivors", lambda: self._algorithm.survivors)

    @property
    def remeasures(self) -> bool:
        return self._of("remeasures", lambda: getattr(self._algorithm, "remeasures", False), bool)

    def predictors(self) -> Mapping[Metric, MetricPredictor] | None:
        """Ask for its models; algorithms that do not say have none."""
        own = getattr(self._algorithm, "predictors", None)
        found = None if own is None else self._guard.call("predictors", own)
        if found is None:
            return None
        if not isinstance(found, Mapping) or not all(isinstance(one, MetricPredictor) for one in found.values()):
            raise self._guard.fault("predictors returned something else than models by metric")
        told = self.results
        known = self._problem.cheap_filter(told[0].genotype).values if told else {}
        missing = [one.name for one in self._problem.observed_metrics if one not in found and one not in known]
        if missing:
            raise self._guard.fault(f"predictors returned no model of {', '.join(missing)}")
        return dict(found)

    def front(self) -> tuple[Observation, ...]:
        return self._observations("front", lambda: self._algorithm.front())

    def enqueue(self, genotypes: Sequence[Genotype]) -> tuple[Rejection, ...]:
        rejected = tuple(self._guard.call("enqueue", lambda: tuple(self._algorithm.enqueue(genotypes))))
        if not all(isinstance(rejection, Rejection) for rejection in rejected):
            raise self._guard.fault("enqueue returned something else than rejections")
        return rejected

    def ask(self, num: int) -> list[Genotype]:
        """Ask; each genotype must be canonical, of the space, admissible and new."""
        asked = list(self._genotypes("ask", lambda: self._algorithm.ask(num)))
        if len(asked) > num:
            raise self._guard.fault(f"ask({num}) returned {len(asked)} genotypes")
        for genotype in asked:
            if genotype in self._asked:
                raise self._guard.fault(f"ask returned {list(genotype)}, which it has asked before")
            violations = self._problem.cheap_filter(genotype).violations
            if violations:
                raise self._guard.fault(f"ask returned {list(genotype)}, which violates {', '.join(violations)}")
            self._asked[genotype] = None
        return asked

    def tell(self, results: Sequence[Observation]) -> None:
        self._guard.call("tell", lambda: self._algorithm.tell(results))

    def revise(self, results: Sequence[Observation]) -> None:
        self._guard.call("revise", lambda: self._algorithm.revise(results))

    def withdraw(self, genotypes: Sequence[Genotype]) -> None:
        self._guard.call("withdraw", lambda: self._algorithm.withdraw(genotypes))

    def report(self) -> Mapping[str, JsonValue]:
        report = self._of("report", lambda: dict(self._algorithm.report()), dict)
        self._document("report", report)
        return report

    def pick_models(self, front: Sequence[Sequence[float]]) -> tuple[int, ...] | None:
        picked = self._guard.call("pick_models", lambda: self._algorithm.pick_models(front))
        if picked is None:
            return None
        if not all(isinstance(index, int) and 0 <= index < len(front) for index in picked):
            raise self._guard.fault(f"pick_models returned {picked} for a front of {len(front)}")
        return tuple(picked)

    def state(self) -> JsonValue:
        """Give the algorithm's state, and what it asked; what is no JSON of finite numbers is refused."""
        state = self._guard.call("state", lambda: self._algorithm.state())
        self._document("state", state)
        return {"schema_version": SCHEMA_VERSION, "asked": [list(genotype) for genotype in self._asked], "own": state}

    def load_state(self, state: JsonValue) -> None:
        document = codec.as_mapping(state, "state")
        if document.get("schema_version") != SCHEMA_VERSION:
            raise SearchStateError("this is no checkpoint of an algorithm that a package brings")
        asked = codec.as_sequence(codec.field_of(document, "asked"), "asked")
        own = codec.field_of(document, "own")
        self._guard.call("load_state", lambda: self._algorithm.load_state(own))
        self._asked = dict.fromkeys(
            tuple(codec.as_int(gene, "gene") for gene in codec.as_sequence(genotype, "genotype")) for genotype in asked
        )

    def _of(self, what: str, get: Callable[[], object], kind: type[T]) -> T:
        value = self._guard.call(what, get)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self._guard.fault(f"{what} is {value!r}, a {type(value).__name__}: it must be a {kind.__name__}")
        return value

    def _genotypes(self, what: str, get: Callable[[], Sequence[Genotype]]) -> tuple[Genotype, ...]:
        """Canonical genotypes; a list of anything else is refused."""
        canonical = self._problem.space.canonical
        genotypes = []
        for genotype in self._guard.call(what, lambda: tuple(get())):
            try:
                found = canonical(genotype)
            except (EngineError, TypeError) as error:
                raise self._guard.fault(f"{what} returned {genotype!r}: {error}") from error
            if found != tuple(genotype):
                raise self._guard.fault(f"{what} returned {genotype!r}, which is not canonical: {list(found)} is")
            genotypes.append(found)
        return tuple(genotypes)

    def _observations(self, what: str, get: Callable[[], Sequence[Observation]]) -> tuple[Observation, ...]:
        found = tuple(self._guard.call(what, lambda: tuple(get())))
        if not all(isinstance(observation, Observation) for observation in found):
            raise self._guard.fault(f"{what} returned something else than observations")
        return found

    def _document(self, what: str, value: JsonValue) -> None:
        try:
            canonical_json(value)
        except (TypeError, ValueError) as error:
            raise self._guard.fault(f"{what} is no JSON document of finite numbers: {error}") from error
