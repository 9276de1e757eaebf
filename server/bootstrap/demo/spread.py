"""Whether a front says more than noise: how far its members lie apart, in latency and in accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas_engine.domain.uncertainty import Interval
from server.core.http.resources import IntervalResource
from server.searches.answers.schemas import AnswerMemberResource, AnswerResource


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How far the members of a front lie apart.

    Attributes:
        span: latency of the slowest member over that of the fastest.
        num_apart: most members in a row, from the fastest on, that each differ from the one before beyond the 95 %
            interval of the difference.
        test_gain: test accuracy of the slowest member less that of the fastest, a fraction; None where it was not
            taken, as where both are one.
    """

    span: float
    num_apart: int
    test_gain: Interval | None


def spread_of(answer: AnswerResource) -> Spread | None:
    """Judge the front of an answer without bounds; None where it has no latencies."""
    found = {member.candidate_id: value_of(member, "latency_us") for member in answer.members}
    known = {id: interval for id, interval in found.items() if interval is not None}
    latencies = sorted(known.items(), key=lambda item: item[1].value)
    if not latencies:
        return None
    return Spread(
        span=latencies[-1][1].value / latencies[0][1].value,
        num_apart=apart([interval for _, interval in latencies]),
        test_gain=_test_gain(answer, fastest=latencies[0][0]),
    )


def apart(ordered: Sequence[Interval]) -> int:
    """Count those that each differ from the last that counted beyond the interval of the difference; the first counts.

    Args:
        ordered: values from small to large.
    """
    num_apart, last = 0, None
    for interval in ordered:
        if last is None or interval.minus(last).excludes_zero:
            num_apart, last = num_apart + 1, interval
    return num_apart


def value_of(member: AnswerMemberResource, metric: str) -> Interval | None:
    """A value of a member with its interval; None where it is not known."""
    return next((_interval(one.interval) for one in member.values if one.metric == metric), None)


def _test_gain(answer: AnswerResource, fastest: str) -> Interval | None:
    """What is shipped without bounds is the most accurate, the slowest of the front."""
    differences = next((one.differences for one in answer.compared if one.candidate_id == fastest), [])
    return next((_interval(one.interval) for one in differences if one.metric == "test_top1"), None)


def _interval(resource: IntervalResource) -> Interval:
    return Interval(resource.value, resource.low, resource.high)
