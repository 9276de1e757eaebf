"""When a search ends before its budget is spent."""

from __future__ import annotations

from pydantic import Field

from nas_engine.settings.base import SpecPart


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


class StopSettings(SpecPart):
    """Rules by which a search ends before its budget is spent; the first that holds ends it."""

    plateau: PlateauSettings | None = None
    """Rule on what further candidates add; absent: the budget is spent."""
