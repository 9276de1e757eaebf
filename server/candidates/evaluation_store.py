"""The store of evaluations and of those that are awaited."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import sqlalchemy as sa

from nas_engine.domain.measurement import Validity
from nas_engine.domain.measuring.paired import CorrectAnswers
from nas_engine.domain.metric import Goal, Metric
from nas_engine.domain.metrics import brought_metric, graph_metrics
from server.candidates.candidate import AwaitedEvaluation, Evaluation, MetricValue
from server.candidates.search_store import searches
from server.candidates.states import DesiredState, EvaluationSource
from server.candidates.tables import (
    ANSWERS,
    AWAITED_EVALUATIONS,
    EVALUATIONS,
    awaited_evaluations,
    candidates,
    evaluation_answers,
    evaluations,
)
from server.core.database.statements import key_parameters
from server.core.database.store import Store, chunks
from server.jobs.states import JobKind, JobState
from server.jobs.tables import jobs

_AWAITED_UNDER = AWAITED_EVALUATIONS.by(awaited_evaluations.c.latency_key, awaited_evaluations.c.hardware_key).order_by(
    awaited_evaluations.c.candidate_id, awaited_evaluations.c.metric
)
_NEEDED = (awaited_evaluations.c.is_needed,)


class EvaluationStore(Store):
    """Evaluations as rows; one per candidate, metric and attempt."""

    def add_evaluation(
        self, evaluation: Evaluation, *, current: bool = True, answers: CorrectAnswers | None = None
    ) -> bool:
        """Store one; False where this candidate, metric and attempt has one already.

        Args:
            current: whether it is the candidate's value from now on.
            answers: of an accuracy, which images it got right.
        """
        e = evaluations.c
        of_metric = sa.and_(e.candidate_id == evaluation.candidate_id, e.metric == evaluation.metric.name)
        stored = sa.select(e.id).where(of_metric, e.attempt == evaluation.attempt)
        if self._connection.execute(stored).first() is not None:
            return False
        if current:
            self._connection.execute(sa.update(evaluations).where(of_metric, e.current).values(current=False))
        if self._insert_ignore(evaluations, self._rows([evaluation], current=current)) != 1:
            return False
        if answers is not None:
            row = {**ANSWERS.row_of(answers), "evaluation_id": evaluation.id}
            self._connection.execute(sa.insert(evaluation_answers), row)
        return True

    def current_answers(
        self, candidate_ids: Sequence[str], metrics: Sequence[Metric]
    ) -> Mapping[Metric, Mapping[str, CorrectAnswers]]:
        """Read which images the current accuracies of these candidates got right, by metric and candidate.

        Evaluations of releases that did not keep it are left out.
        """
        e, found = evaluations.c, {metric: dict[str, CorrectAnswers]() for metric in metrics}
        by_name = {metric.name: metric for metric in metrics}
        answered = evaluation_answers.join(evaluations, e.id == evaluation_answers.c.evaluation_id)
        columns = sa.select(e.candidate_id, e.metric, *ANSWERS.columns).select_from(answered)
        for ids in chunks(candidate_ids):
            wanted = columns.where(e.candidate_id.in_(ids), e.current, e.metric.in_(list(by_name)))
            for row in self._connection.execute(wanted):
                found[by_name[row.metric]][row.candidate_id] = ANSWERS.value_of(row)
        return found

    def add_first_evaluations(self, found: Sequence[Evaluation]) -> None:
        """Store the current values of new candidates of one search."""
        if found:
            self._connection.execute(sa.insert(evaluations), self._rows(found, current=True))

    def _rows(self, found: Sequence[Evaluation], *, current: bool) -> list[dict[str, Any]]:
        step = sa.select(searches.c.checkpoint_seq).where(searches.c.id == found[0].search_id)
        beside = {"recorded_step": self._connection.execute(step).scalar_one(), "current": current}
        return [{**EVALUATIONS.row_of(_provided(evaluation)), **beside} for evaluation in found]

    def current_values(self, candidate_ids: Sequence[str]) -> Mapping[str, Mapping[Metric, MetricValue]]:
        """Read the current values of these candidates, by candidate and metric."""
        e = evaluations.c
        texts = [sa.cast(column, sa.Text) for column in (e.metric, e.unit, e.goal, e.validity, e.flags, e.source)]
        columns = (e.candidate_id, e.value, e.uncertainty, *texts)
        found: dict[str, dict[Metric, MetricValue]] = defaultdict(dict)
        for ids in chunks(candidate_ids):
            rows = self._connection.execute(sa.select(*columns).where(e.candidate_id.in_(ids), e.current)).all()
            for id, value, uncertainty, *said in rows:
                metric, with_value = _value_of_texts(*said)
                found[id][metric] = with_value(value=value, uncertainty=uncertainty)
        return found

    def values_of_search(
        self, search_id: str, metrics: Sequence[Metric]
    ) -> dict[Metric, dict[str, tuple[float, float | None]]]:
        """Read the current values of these metrics, each with its uncertainty, by metric and candidate."""
        e = evaluations.c
        found: dict[Metric, dict[str, tuple[float, float | None]]] = {}
        for metric in metrics:
            statement = sa.select(e.candidate_id, e.value, e.uncertainty).where(
                e.search_id == search_id, e.metric == metric.name, e.current
            )
            found[metric] = {id: (value, error) for id, value, error in self._connection.execute(statement)}
        return found

    def evaluations_of_candidates(self, candidate_ids: Sequence[str]) -> tuple[Evaluation, ...]:
        """Every evaluation of these candidates, by (candidate, metric, attempt); not what was known without one."""
        counted = evaluations.c.metric.in_([one.name for one in graph_metrics()])
        found = self._list_in(EVALUATIONS, evaluations.c.candidate_id, candidate_ids, ~counted)
        return tuple(sorted(found, key=lambda e: (e.candidate_id, e.metric.name, e.attempt)))

    def values_of_version(
        self, search_id: str, metric: Metric, version_id: str | None
    ) -> dict[str, tuple[float, float | None]]:
        """Read the last value of a metric that each candidate has with one version of the supernet's weights."""
        e = evaluations.c
        statement = sa.select(e.candidate_id, e.value, e.uncertainty).where(
            e.search_id == search_id, e.metric == metric.name, e.supernet_version_id == version_id
        )
        rows = self._connection.execute(statement.order_by(e.attempt))
        return {id: (value, error) for id, value, error in rows}

    def evaluations_from_measurements(self, measurement_ids: Sequence[str]) -> tuple[Evaluation, ...]:
        """Evaluations whose value comes from one of these measurements."""
        found = self._list_in(EVALUATIONS, evaluations.c.measurement_id, measurement_ids)
        return tuple(sorted(found, key=lambda e: e.id))

    def evaluations_since(self, search_id: str, told_seq: int) -> tuple[Evaluation, ...]:
        """Evaluations of already told candidates recorded after step `told_seq`."""
        statement = (
            EVALUATIONS.select()
            .join(candidates, candidates.c.id == evaluations.c.candidate_id)
            .where(
                evaluations.c.search_id == search_id,
                evaluations.c.recorded_step >= told_seq,
                candidates.c.told_seq <= told_seq,
            )
            .order_by(candidates.c.seq, evaluations.c.metric, evaluations.c.attempt)
        )
        return self._list(EVALUATIONS, statement)

    def await_evaluations(self, awaited: Sequence[AwaitedEvaluation]) -> None:
        """Note what jobs will bring."""
        self._insert(AWAITED_EVALUATIONS, *awaited)

    def awaited_evaluations_of(self, candidate_id: str) -> tuple[AwaitedEvaluation, ...]:
        """What one candidate still waits for."""
        c = awaited_evaluations.c
        of_candidate = AWAITED_EVALUATIONS.select(c.candidate_id == candidate_id)
        return self._list(AWAITED_EVALUATIONS, of_candidate.order_by(c.candidate_id, c.metric))

    def awaited_evaluations_under(self, latency_key: str, hardware_key: str) -> tuple[AwaitedEvaluation, ...]:
        """Every candidate, of any search, that waits for this measurement."""
        return self._all_of(AWAITED_EVALUATIONS, _AWAITED_UNDER, key_parameters(latency_key, hardware_key))

    def awaited_of_other_owners(self, kind: JobKind) -> tuple[tuple[str, str, str], ...]:
        """Queued jobs of a kind and who awaits their values though another owner's search ordered them: ids of job,
        search and candidate, the oldest job first.
        """
        awaited, ordered = awaited_evaluations.c, jobs.c
        source = (
            sa.join(jobs, awaited_evaluations, awaited.latency_key == ordered.latency_key)
            .join(searches, searches.c.id == awaited.search_id)
            .join(candidates, candidates.c.id == awaited.candidate_id)
        )
        statement = (
            sa.select(ordered.id, awaited.search_id, awaited.candidate_id)
            .select_from(source)
            .where(
                ordered.state == JobState.QUEUED,
                ordered.kind == kind,
                ordered.search_id.is_not(None),
                awaited.hardware_key == ordered.hardware_key,
                searches.c.desired_state == DesiredState.RUNNING,
                searches.c.owner_id.is_distinct_from(ordered.owner_id),
            )
            .order_by(ordered.id, candidates.c.search_id, candidates.c.seq)
        )
        return tuple((row[0], row[1], row[2]) for row in self._connection.execute(statement))

    def num_awaited_evaluations(self, search_id: str) -> int:
        """How many evaluations a search waits for; what its candidates do not need is not counted."""
        statement = (
            sa.select(sa.func.count())
            .select_from(awaited_evaluations)
            .where(awaited_evaluations.c.search_id == search_id, awaited_evaluations.c.is_needed)
        )
        return int(self._connection.execute(statement).scalar_one())

    def await_aside(self, search_id: str, metrics: Sequence[Metric]) -> None:
        """Note that the candidates of a search do not need what they await of these metrics any more."""
        a = awaited_evaluations.c
        of_search = sa.and_(a.search_id == search_id, a.metric.in_(list(metrics)))
        self._connection.execute(sa.update(awaited_evaluations).where(of_search).values(is_needed=False))

    def settle_awaited(self, candidate_id: str, metric: Metric) -> bool:
        """Take one off the list; False where it was not awaited."""
        return (
            self._settle(awaited_evaluations.c.candidate_id == candidate_id, awaited_evaluations.c.metric == metric) > 0
        )

    def settle_awaited_of_candidate(self, candidate_id: str, *, needed_only: bool = False) -> None:
        """Take everything one candidate waits for off the list, or what it needs alone."""
        self._settle(awaited_evaluations.c.candidate_id == candidate_id, *_NEEDED[:needed_only])

    def settle_awaited_of_search(self, search_id: str, *, needed_only: bool = False) -> None:
        """Take everything a search waits for off the list, or what its candidates need alone."""
        self._settle(awaited_evaluations.c.search_id == search_id, *_NEEDED[:needed_only])

    def _settle(self, *conditions: sa.ColumnElement[bool]) -> int:
        return int(self._connection.execute(sa.delete(awaited_evaluations).where(*conditions)).rowcount)


@lru_cache(maxsize=1000)
def _value_of_texts(
    name: str, unit: str, goal: str, validity: str, flags: str, source: str
) -> tuple[Metric, Callable[..., MetricValue]]:
    """Read all but the number from the texts of a row: nearly every row of a page says the same as another."""
    metric = Metric(name, unit, Goal(goal))
    said = tuple(Validity(flag) for flag in json.loads(flags))
    return metric, partial(
        MetricValue, metric=metric, validity=Validity(validity), flags=said, source=EvaluationSource(source)
    )


def _provided(evaluation: Evaluation) -> Evaluation:
    """Say which package and version the metric of an evaluation comes from, where that is not said."""
    brought = brought_metric(evaluation.metric.name)
    outside = evaluation.source is EvaluationSource.EXTERNAL  # the package's own code did not find it
    if evaluation.provider is not None or brought is None or outside:
        return evaluation
    return replace(evaluation, provider=brought.provider)
