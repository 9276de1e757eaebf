"""What is still to be done with a front before its search may end."""

from __future__ import annotations

from dataclasses import dataclass

from nas_engine.domain.metrics import TEST_TOP1
from server.searches.fronts.fronts import Front, Fronts
from server.searches.steps.step import StepInput
from server.searches.worker.procedure import Procedure
from server.searches.worker.remeasure import candidates_to_remeasure
from server.searches.worker.step_checkpoint import StepCheckpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalOrders:
    """What a search that would end orders first.

    Attributes:
        re_measure: ids of candidates whose latency is taken again; another step follows, whose front may differ.
        final_evaluations: ids of candidates that are classified on test images.
        picked: ids of the models the search would take from its front; None where it takes all.
    """

    re_measure: tuple[str, ...] = ()
    final_evaluations: tuple[str, ...] = ()
    picked: tuple[str, ...] | None = None

    @property
    def postpone_the_end(self) -> bool:
        """Whether anything must be done before the search ends."""
        return bool(self.re_measure or self.final_evaluations)


def final_orders(
    given: StepInput, front: Front, fronts: Fronts, procedure: Procedure, checkpoint: StepCheckpoint
) -> FinalOrders:
    """Decide what comes before the end, and remember it: nothing is measured again or finalised twice."""
    re_measure = candidates_to_remeasure(given.search, front, fronts, checkpoint.remeasured, noisy=procedure.remeasures)
    checkpoint.remeasured |= set(re_measure)
    if re_measure:
        return FinalOrders(re_measure=re_measure)
    if checkpoint.finalised:
        return FinalOrders()
    picked = procedure.pick(front)
    if given.search.supernet_version_id is None:
        return FinalOrders(picked=picked)
    checkpoint.finalised = True
    # Some are classified already where the search was to end before, and was amended to go on.
    classified = {point.id for point in front.points if TEST_TOP1 in point.values}
    wanted = tuple(point.id for point in front.points) if picked is None else picked
    return FinalOrders(final_evaluations=tuple(one for one in wanted if one not in classified), picked=picked)
