"""Warm start of a search: where its first candidates come from, and which of them the search took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.domain.search_space import SearchSpace
from nas_engine.search.warm_start import WarmStartRejection, warm_start
from server.searches.fronts.fronts import Fronts
from server.searches.steps.step import StepInput
from server.searches.worker.procedure import Procedure

MAX_REPORTED = 50
OTHER_SPACE = "belongs to the same space with other parameters: give both searches the same ones"


@dataclass(slots=True)
class WarmStart:
    """What was offered and taken.

    Attributes:
        source_of: where each accepted genotype came from: ``architectures``, ``search`` or ``measured``.
    """

    num_offered: int = 0
    source_of: dict[Genotype, str] = field(default_factory=dict)
    rejected: list[tuple[str, WarmStartRejection]] = field(default_factory=list)

    def report(self) -> JsonValue:
        """For the search's progress and its events."""
        accepted: dict[str, JsonValue] = {}
        for source in dict.fromkeys(self.source_of.values()):
            accepted[source] = sum(source == other for other in self.source_of.values())
        return {
            "num_offered": self.num_offered,
            "num_accepted": len(self.source_of),
            "num_rejected": len(self.rejected),
            "accepted_from": accepted,
            "rejected": [
                {"source": source, "architecture": rejection.document, "reason": rejection.reason}
                for source, rejection in self.rejected[:MAX_REPORTED]
            ],
        }


def start_warm(given: StepInput, procedure: Procedure, space: SearchSpace, fronts: Fronts) -> WarmStart:
    """Queue the architectures a spec wants to start from as the search's first candidates."""
    outcome = WarmStart()
    spec = given.search.spec.warm_start
    if spec is None:
        return outcome
    _offer(outcome, "architectures", spec.architectures, procedure, space)
    if spec.search is not None:
        front = fronts.of_search(spec.search, with_dominated=True)
        known = [*front.points, *front.dominated][: spec.max_candidates]
        _offer_known(outcome, "search", (c.record.architecture for c in known), procedure, space)
    _offer_known(outcome, "measured", given.measured, procedure, space)
    return outcome


def _offer_known(
    outcome: WarmStart,
    source: str,
    architectures: Iterable[Architecture],
    procedure: Procedure,
    space: SearchSpace,
) -> None:
    own = canonical_json(dict(space.parameters))
    documents: list[JsonValue] = []
    for architecture in architectures:
        if architecture.parameters == own:
            documents.append(architecture.choices_value())
        else:
            outcome.num_offered += 1
            outcome.rejected.append((source, WarmStartRejection(architecture.choices, OTHER_SPACE)))
    _offer(outcome, source, documents, procedure, space)


def _offer(
    outcome: WarmStart, source: str, documents: Sequence[JsonValue], procedure: Procedure, space: SearchSpace
) -> None:
    report = warm_start(procedure, space, documents)
    outcome.num_offered += len(documents)
    # The algorithm asks canonical genotypes.
    outcome.source_of |= {space.canonical(genotype): source for genotype in report.accepted}
    outcome.rejected += [(source, rejection) for rejection in report.rejected]
