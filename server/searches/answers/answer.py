"""The answer of a search: which of its candidates to ship under a bound, what that one beats, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nas_engine.domain.dominance import Dominance
from nas_engine.domain.measuring.paired import CorrectAnswers, PairedDifference
from nas_engine.domain.metric import Goal, Metric
from nas_engine.domain.metrics import ACCURACIES, TEST_TOP1, is_latency
from nas_engine.domain.objective import Constraint, Objective
from nas_engine.domain.uncertainty import Interval
from server.candidates.candidate import Candidate
from server.candidates.evaluation_store import EvaluationStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.measuring.store import MeasurementStore
from server.searches.answers.verdict import Verdict
from server.searches.fronts.fronts import Front, Fronts

AnswersByCandidate = Mapping[Metric, Mapping[str, CorrectAnswers]]
MAX_CONSIDERED = 1000  # candidates beside the front that are looked at where the bound is no objective of the search


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One candidate that may be shipped.

    Attributes:
        short_id: names it wherever an id is taken.
        intervals: each metric that is known of it, with its 95 % interval.
        meets: whether it keeps the bounds.
        is_sure: whether it does so with its whole interval; or breaks them with it.
    """

    candidate: Candidate
    short_id: str
    intervals: Mapping[Metric, Interval]
    meets: bool
    is_sure: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What is shipped, less another member, in one metric.

    Attributes:
        interval: of the difference.
        verdict: of the difference.
        paired: image by image, where it is an accuracy of which both have that; None where the interval is that of
            two independent values, which of an accuracy is too wide.
    """

    metric: Metric
    interval: Interval
    verdict: Verdict
    paired: PairedDifference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beaten:
    """Another member, compared with what is shipped."""

    member: Member
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a search says to somebody who must ship one of its candidates.

    Attributes:
        bounds: that it must keep.
        judged: objective by which the best within the bounds is chosen.
        members: of the front, by the first objective; where nothing of it keeps the bounds, still of it.
        ship: the best that keeps the bounds by the value that the search went by; None where nothing keeps them.
        tied: members within the bounds that differ from it in `judged` by no more than noise.
        nearest: what comes nearest to the bounds, where nothing keeps them.
        compared: every other member, compared with `ship`.
        unknown: metrics of the bounds that the search has no values of.
    """

    front: Front
    bounds: tuple[Constraint, ...]
    judged: Objective
    members: tuple[Member, ...]
    ship: Member | None
    tied: tuple[Member, ...]
    nearest: Member | None
    compared: tuple[Beaten, ...]
    unknown: tuple[Metric, ...]


class Answers:
    """Use case: what to ship."""

    def __init__(self, uow: UnitOfWork, fronts: Fronts) -> None:
        self._uow = uow
        self._fronts = fronts

    def of_search(self, search_id: str, bounds: Sequence[Constraint] = (), *, board: str | None = None) -> Answer:
        """The answer as it stands, also while the search runs; that of one `board` as `Fronts.of_search` has it.

        Raises:
            NotFoundError: there is no such search.
            InvalidValueError: the search has no such board.
        """

        def look(tx: Transaction) -> Answer:
            front = self._fronts.of_search(
                search_id, with_dominated=True, max_dominated=MAX_CONSIDERED, dominance=Dominance.POINT, board=board
            )
            considered = (*front.points, *front.dominated)
            ids = [one.id for one in considered]
            answers = EvaluationStore(tx).current_answers(ids, ACCURACIES)
            return answered(front, tuple(bounds), measured_intervals(tx, considered), answers)

        return self._uow.read(look)


def measured_intervals(tx: Transaction, candidates: Sequence[Candidate]) -> Mapping[str, Mapping[Metric, Interval]]:
    """Latencies with the interval that their samples gave (a standard error knows no side), by candidate and metric."""
    metrics = dict.fromkeys(metric for one in candidates for metric in one.current if is_latency(metric))
    with_any = [one.id for one in candidates if not metrics.keys().isdisjoint(one.current)]
    return MeasurementStore(tx).intervals_of_latencies(with_any, list(metrics))


def answered(
    front: Front,
    bounds: tuple[Constraint, ...],
    latencies: Mapping[str, Mapping[Metric, Interval]],
    answers: AnswersByCandidate,
) -> Answer:
    """Choose within the bounds, and compare what is chosen with the rest of the front."""
    # Made best within the bounds is an objective without a bound, one to be maximised rather than another.
    bounded = {bound.metric for bound in bounds}
    unbounded = [one for one in front.objectives if one.metric not in bounded] or list(front.objectives)
    judged = next((one for one in unbounded if one.goal is Goal.MAXIMIZE), unbounded[0])
    constraints = front.search.spec.domain_constraints()

    def member(candidate: Candidate) -> Member:
        return _member(candidate, bounds, latencies.get(candidate.id, {}))

    members = tuple(member(one) for one in front.points)
    feasible = [one for one in front.dominated if all(_keeps(one, bound) for bound in constraints)]
    others = [member(one) for one in feasible]
    considered = (*front.points, *front.dominated)
    unknown = tuple(bound.metric for bound in bounds if not any(bound.metric in one.current for one in considered))

    def goodness(one: Member) -> tuple[float, int]:
        return judged.minimized(one.candidate.values[judged.metric]), one.candidate.seq

    within = [one for one in members if one.meets]
    # A bound on what was no objective may leave a candidate the best that the front knows nothing of.
    free = {bound.metric for bound in bounds} - {one.metric for one in front.objectives}
    within += [one for one in others if one.meets] if free or not within else []
    ship = min(within, key=goodness, default=None)
    nearest = None
    if ship is None and not unknown:
        nearest = min((*members, *others), key=lambda one: _violation(one.candidate, bounds), default=None)
    compared: tuple[Beaten, ...] = ()
    tied: tuple[Member, ...] = ()
    if ship is not None:
        known = {one.candidate.id: one for one in (*within, *members)}
        rest = [one for id, one in known.items() if id != ship.candidate.id]
        compared = tuple(_beaten(front.objectives, bounds, ship, one, answers) for one in rest)
        tied = tuple(
            one.member
            for one in compared
            if one.member.meets
            and any(d.metric == judged.metric and d.verdict is Verdict.UNDECIDED for d in one.differences)
        )
    return Answer(
        front=front,
        bounds=bounds,
        judged=judged,
        members=members,
        ship=ship,
        tied=tied,
        nearest=nearest,
        compared=compared,
        unknown=unknown,
    )


def intervals_of(candidate: Candidate, latencies: Mapping[Metric, Interval]) -> Mapping[Metric, Interval]:
    """Every value of a candidate with its interval, those of latencies where they are known."""
    found = {metric: Interval.of_error(one.value, one.uncertainty) for metric, one in candidate.current.items()}
    return {**found, **latencies}


def _member(candidate: Candidate, bounds: Sequence[Constraint], latencies: Mapping[Metric, Interval]) -> Member:
    intervals = intervals_of(candidate, latencies)
    sure = all(bound.metric in intervals and _is_sure(intervals[bound.metric], bound) for bound in bounds)
    return Member(
        candidate=candidate,
        short_id=candidate.short_id,
        intervals=intervals,
        meets=all(_keeps(candidate, bound) and bound.metric in candidate.current for bound in bounds),
        is_sure=sure,
    )


def _keeps(candidate: Candidate, bound: Constraint) -> bool:
    value = candidate.value(bound.metric)
    return value is None or bound.satisfied(value)


def _is_sure(interval: Interval, bound: Constraint) -> bool:
    ends = [end for end in (interval.low, interval.value, interval.high) if end is not None]
    return len({bound.satisfied(end) for end in ends}) == 1


def _violation(candidate: Candidate, bounds: Sequence[Constraint]) -> float:
    values = ((bound, candidate.value(bound.metric)) for bound in bounds)
    return max((float("inf") if value is None else bound.violation(value) for bound, value in values), default=0.0)


def _beaten(
    objectives: Sequence[Objective],
    bounds: Sequence[Constraint],
    ship: Member,
    other: Member,
    answers: AnswersByCandidate,
) -> Beaten:
    """Compare in every objective, in what is bounded, and in what was found on test images."""
    turned: dict[Metric, Callable[[float], float]] = {one.metric: one.minimized for one in objectives}
    wanted = dict.fromkeys((*turned, *(bound.metric for bound in bounds), TEST_TOP1))
    differences = []
    for metric in wanted:
        if metric not in ship.intervals or metric not in other.intervals:
            continue
        paired = paired_difference(answers.get(metric, {}), ship.candidate, other.candidate)
        interval = ship.intervals[metric].minus(other.intervals[metric]) if paired is None else paired.interval
        minimized = turned.get(metric) or Objective(metric, metric.goal).minimized
        verdict = Verdict.UNDECIDED
        if interval.excludes_zero:
            verdict = Verdict.BETTER if minimized(interval.value) < 0 else Verdict.WORSE
        differences.append(Difference(metric=metric, interval=interval, verdict=verdict, paired=paired))
    return Beaten(member=other, differences=tuple(differences))


def paired_difference(
    answers: Mapping[str, CorrectAnswers], one: Candidate, other: Candidate
) -> PairedDifference | None:
    """An accuracy of one candidate less that of another, image by image; None where that is not known of both."""
    first, second = answers.get(one.id), answers.get(other.id)
    if first is None or second is None or not first.is_paired_with(second):
        return None
    return first.minus(second)
