"""Stop rules that look at time and at what was found; the one on what further candidates add is the procedures' own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nas_engine.domain.json_value import JsonValue
from server.candidates.candidate import Candidate
from server.candidates.spec import SearchSpec
from server.candidates.states import EndReason
from server.searches.feasibility import asked_text, values_text
from server.searches.fronts.fronts import Front
from server.searches.steps.step import StepInput, StepStatus
from server.searches.worker.procedure import Proposal


@dataclass(frozen=True, slots=True, kw_only=True)
class StopFigures:
    """Where a search stands by its stop rules on time and target.

    Attributes:
        elapsed_s: seconds since it began to run.
        board_time_s: seconds in which devices held its jobs.
        reached: first feasible candidate that meets the whole target; None where none does, or none is wanted.
    """

    elapsed_s: float
    board_time_s: float
    reached: Candidate | None = None

    @classmethod
    def of(cls, given: StepInput, complete: Callable[[], Front]) -> StopFigures:
        """Look where a search stands.

        Args:
            given: what the step starts from.
            complete: reads every complete candidate, on the front or not; called where there is a target.
        """
        spec = given.search.spec
        reached = _first_to_reach(spec, complete()) if spec.stop.target else None
        return cls(elapsed_s=given.elapsed_s, board_time_s=given.board_time_s, reached=reached)

    def end(self, given: StepInput) -> Proposal | None:
        """End the search where one of its rules holds; the sentence has the figure that it stopped at.

        What has asked nothing yet goes on: a search whose workers were away is not over before it began.
        """
        spec, stop = given.search.spec, given.search.spec.stop
        left = f"{given.num_left} of the budget left"
        if not given.search.progress.num_asked:
            return None
        if self.reached is not None:
            found = values_text([bound.metric for bound in spec.domain_target()], self.reached)
            wanted = asked_text(spec.domain_target())
            return _ended(
                EndReason.TARGET, f"candidate {self.reached.seq} has {found}; stop.target is {wanted}, {left}"
            )
        if stop.wall_time_s is not None and self.elapsed_s >= stop.wall_time_s:
            passed, limit = _seconds(self.elapsed_s), _seconds(stop.wall_time_s)
            said = f"{passed} passed since the search began to run; stop.wall_time_s ends it after {limit}, {left}"
            return _ended(EndReason.WALL_TIME, said)
        if stop.board_time_s is not None and self.board_time_s >= stop.board_time_s:
            spent, limit = _seconds(self.board_time_s), _seconds(stop.board_time_s)
            said = f"devices were busy for it for {spent}; stop.board_time_s ends it after {limit}, {left}"
            return _ended(EndReason.BOARD_TIME, said)
        return None

    def report(self, spec: SearchSpec) -> JsonValue:
        """Say for progress how far each rule of the spec is; None where it has none of these."""
        said: dict[str, JsonValue] = {}
        if spec.stop.wall_time_s is not None:
            said["wall_time_s"] = {"limit": spec.stop.wall_time_s, "reached": self.elapsed_s}
        if spec.stop.board_time_s is not None:
            said["board_time_s"] = {"limit": spec.stop.board_time_s, "reached": self.board_time_s}
        if spec.stop.target:
            said["target"] = {
                "wanted": asked_text(spec.domain_target()),
                "candidate_id": None if self.reached is None else self.reached.id,
            }
        return said or None


def _ended(rule: EndReason, said: str) -> Proposal:
    return Proposal(ended=StepStatus.COMPLETED, reason=f"{rule.value}: {said}", end_reason=rule)


def _seconds(time_s: float) -> str:
    return f"{time_s:,.1f} s"


def _first_to_reach(spec: SearchSpec, complete: Front) -> Candidate | None:
    wanted, constraints = spec.domain_target(), spec.domain_constraints()
    for candidate in sorted((*complete.points, *complete.dominated), key=lambda one: one.seq):
        values = candidate.values
        feasible = all(one.metric not in values or one.satisfied(values[one.metric]) for one in constraints)
        if feasible and all(one.metric in values and one.satisfied(values[one.metric]) for one in wanted):
            return candidate
    return None
