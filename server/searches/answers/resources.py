"""Answers as their resources."""

from __future__ import annotations

from nas_engine.domain.metrics import column_for
from server.core.http.resources import interval_resource
from server.searches.answers.answer import Answer, Difference, Member
from server.searches.answers.schemas import (
    AnswerFileResource,
    AnswerMemberResource,
    AnswerResource,
    AnswerValueResource,
    BoundResource,
    ComparedResource,
    DifferenceResource,
    NextStepResource,
)
from server.searches.answers.wording import headline, next_steps, sentences
from server.searches.fronts.schemas import FrontBoardResource


def answer_resource(answer: Answer, latency_kind: str | None) -> AnswerResource:
    """An answer, in numbers and in words."""
    front, ship, nearest = answer.front, answer.ship, answer.nearest
    return AnswerResource(
        search_id=front.search.id,
        state=front.search.state,
        bounds=[BoundResource.of(bound, metric=bound.metric.name) for bound in answer.bounds],
        judged=answer.judged.metric.name,
        headline=headline(answer),
        sentences=sentences(answer),
        ship=None if ship is None else _member(ship),
        tied=[one.short_id for one in answer.tied],
        nearest=None if nearest is None else _member(nearest),
        members=[_member(one) for one in answer.members],
        compared=[
            ComparedResource(
                short_id=one.member.short_id,
                candidate_id=one.member.candidate.id,
                differences=[_difference(difference) for difference in one.differences],
            )
            for one in answer.compared
        ],
        latency_kind=latency_kind,
        device_class=None if front.hardware is None else front.hardware.key.identity.device_class,
        next_steps=[NextStepResource.of(one) for one in next_steps(answer)],
        boards=[FrontBoardResource.of_board(*one) for one in front.boards],
    )


def _member(member: Member) -> AnswerMemberResource:
    candidate = member.candidate
    files = [
        AnswerFileResource(weights=weights, sha256=sha256)
        for weights, sha256 in (("supernet", candidate.final_model_sha256), ("timing-only", candidate.model_sha256))
        if sha256 is not None
    ]
    values = [
        AnswerValueResource(
            metric=metric.name,
            unit=metric.unit,
            interval=interval_resource(one, metric.unit),
            column=column_for(metric),
        )
        for metric, one in member.intervals.items()
    ]
    return AnswerMemberResource.of(member, candidate, candidate_id=candidate.id, values=values, files=files)


def _difference(one: Difference) -> DifferenceResource:
    interval = interval_resource(one.interval, one.metric.unit, signed=True)
    paired = one.paired
    return DifferenceResource(
        metric=one.metric.name,
        interval=interval,
        verdict=one.verdict,
        is_paired=paired is not None,
        num_images=None if paired is None else paired.num_images,
        num_only_shipped=None if paired is None else paired.num_only_one,
        num_only_other=None if paired is None else paired.num_only_other,
    )
