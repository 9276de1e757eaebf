"""When a search ends before its budget is spent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, model_validator

from nas_engine.domain.metric import Metric
from nas_engine.domain.objective import Constraint
from nas_engine.settings.base import BoundsSpec, SpecPart, later

MAX_TIME_S = 10 * 365 * 86_400.0


class PlateauSettings(SpecPart):
    """End by what further candidates add to the front's hypervolume, compared with what it has reached."""

    share: float = Field(default=0.005, gt=0, lt=1)
    """Share of the hypervolume reached: the search ends once the last `num_candidates` added less than it and the next
    `num_candidates` are expected to add less."""

    num_candidates: int = Field(default=50, ge=10, le=10_000)
    """Number of candidates over which gains are added up, looking back and looking ahead; no search ends before twice
    as many were evaluated."""

    def is_reached(self, num_told: int, last_share: float | None, next_share: float | None) -> bool:
        """Whether a search may end.

        Args:
            num_told: candidates evaluated.
            last_share: what the last `num_candidates` of them added; None where that is not known.
            next_share: what as many more are expected to add; None where that is not known.
        """
        if last_share is None or next_share is None or num_told < 2 * self.num_candidates:
            return False
        return max(last_share, next_share) < self.share

    def sentence(self, last_share: float | None, next_share: float | None, num_left: int) -> str:
        """Say why a search ends here; arguments as of `is_reached`, and what is left of the budget."""
        num = self.num_candidates
        added, expected = last_share or 0.0, next_share or 0.0
        return (
            f"plateau: the last {num} candidates added {added:.2%} to the hypervolume reached, the next {num} are "
            f"expected to add {expected:.2%}; stop.plateau ends below {self.share:.2%}, {num_left} of the budget left"
        )


class TargetBound(BoundsSpec):
    """Inclusive bounds on one metric of the search that a candidate is to reach."""

    NOUN: ClassVar[str] = "target"

    def constraint(self, metric: Metric) -> Constraint:
        """Return the bounds as a domain value, on the metric that their name means in its spec."""
        return Constraint(metric, self.minimum, self.maximum)


class StopSettings(SpecPart):
    """Rules by which a search ends before its budget is spent; the first that holds ends it. They are looked at before
    candidates are asked, and not before some were: those in flight are finished and told first."""

    plateau: PlateauSettings | None = None
    """Rule on what further candidates add; absent: the budget is spent."""

    wall_time_s: float | None = later(None, gt=0, le=MAX_TIME_S)
    """Seconds since the search began to run, pauses included, after which it asks no more; absent: any time."""

    board_time_s: float | None = later(None, gt=0, le=MAX_TIME_S)
    """Seconds that devices have held jobs of the search, summed over devices and jobs, failed attempts included, after
    which it asks no more; what is reused costs nothing; absent: any time."""

    target: tuple[TargetBound, ...] = later((), max_length=16)
    """Bounds on metrics that the search has as objectives or constraints: it ends once one feasible candidate meets all
    of them; absent: whatever is found."""

    @model_validator(mode="after")
    def _each_metric_once(self) -> StopSettings:
        names = [bound.metric for bound in self.target]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"target names {', '.join(twice)} twice: give its minimum and maximum in one bound")
        return self

    def check_metrics(self, known: Sequence[str]) -> None:
        """Refuse a target on a metric that the search around does not have.

        Args:
            known: names of the search's objectives and constrained metrics.

        Raises:
            ValueError: says which metric, and what to do.
        """
        if unknown := [bound.metric for bound in self.target if bound.metric not in known]:
            raise ValueError(
                f"stop.target names {', '.join(unknown)}, which this search does not have: it has {', '.join(known)}; "
                "make it an objective or a constraint, or leave it out"
            )
