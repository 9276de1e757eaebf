"""What a step of a search that shifts its supernet orders, and says of it."""

from __future__ import annotations

from collections.abc import Set

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import SearchStateError
from nas_engine.domain.json_value import JsonValue
from server.jobs.states import JobKind
from server.searches.fronts.fronts import Front
from server.searches.steps.step import ShiftOrder, StepInput


def finished_shift(given: StepInput) -> str | None:
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
    if given.current_accuracies is None:
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
    if given.current_accuracies is not None and given.current_accuracies.not_scored:
        report["not_scored"] = list(given.current_accuracies.not_scored)
    if given.work is not None and given.work.kind is JobKind.SHIFT and isinstance(given.work.result, dict):
        hidden = ("state_sha256", "survivors")
        report |= {key: value for key, value in given.work.result.items() if key not in hidden}
    return report
