"""What a search step of a shifting search takes in, orders and says."""

from __future__ import annotations

from collections.abc import Set

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import SearchStateError
from nas_engine.domain.json_value import JsonValue
from nas_engine.search.algorithm import SearchAlgorithm
from server.jobs.states import JobKind
from server.searches.fronts import Front
from server.searches.steps.step import ShiftOrder, StepInput
from server.searches.worker.algorithms import told_of


def take_in(given: StepInput, algorithm: SearchAlgorithm) -> None:
    """Tell the algorithm everything that is new.

    A search that shifts its supernet and compares within one version first withdraws what was not scored with the
    current one: of those told earlier, the survivors that were scored again remain, with their new accuracies, before
    the newcomers are compared with them.
    """
    spec, comparable = given.search.spec, given.comparable
    if comparable is not None:
        algorithm.withdraw([told.genotype for told in algorithm.results if told.genotype not in comparable.genotypes])
    revised = [told for finished in given.revised if (told := told_of(finished, spec)) is not None]
    if comparable is not None:  # a latency that was measured again may be of a candidate that was withdrawn
        revised = [told for told in revised if told.genotype in comparable.genotypes]
    if revised:
        algorithm.revise(revised)
    results = [told for finished in given.finished if (told := told_of(finished, spec)) is not None]
    if results:
        algorithm.tell(results)


def shift_state(given: StepInput) -> str | None:
    """Artifact that the shift ordered by the last step ended with; None where it ordered none.

    Raises:
        SearchStateError: the result of that shift does not name one.
    """
    if given.work is None or given.work.kind is not JobKind.SHIFT:
        return None
    match given.work.result:
        case {"state_sha256": str(sha256)}:
            return sha256
        case other:
            raise SearchStateError(f"the shift before this step of {given.search.id} ended with {other!r}: no state")


def shift_order(given: StepInput, front: Front, survivors: Set[Genotype], state_sha256: str | None) -> ShiftOrder:
    """Shift towards what is asked now; `survivors` are scored again, where one version alone is compared."""
    if given.comparable is None:
        return ShiftOrder(state_sha256=state_sha256)
    compared = [c for c in (*front.points, *front.dominated) if c.genotype in survivors]
    ids = tuple(c.id for c in sorted(compared, key=lambda c: c.seq))
    return ShiftOrder(survivors=ids, state_sha256=state_sha256)


def shifting_report(given: StepInput) -> dict[str, JsonValue]:
    """With which version the told candidates are compared, and what the last shift said of itself."""
    report: dict[str, JsonValue] = {
        "scored_with": given.search.supernet_version_id,
        "crosses_versions": given.search.spec.crosses_versions,
    }
    if given.comparable is not None and given.comparable.not_scored:
        report["not_scored"] = list(given.comparable.not_scored)
    if given.work is not None and given.work.kind is JobKind.SHIFT and isinstance(given.work.result, dict):
        hidden = ("state_sha256", "survivors")
        report |= {key: value for key, value in given.work.result.items() if key not in hidden}
    return report
