"""Trials on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from nas_engine.domain.metric import Goal
from nas_engine.domain.text import MAX_REASON_CHARACTERS
from server.artifacts.artifact import WeightsOrigin
from server.candidates.states import SearchState
from server.core.http.resources import Body, Id, Json, ListQuery, Resource
from server.jobs.states import JobState
from server.searches.trials.trial import MAX_LEASE_S, Fault, ToldValue, Trial, standard_error_of

EvaluatorName = Annotated[
    str, Field(min_length=1, max_length=40, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]*$", examples=["power-rig-1"])
]
LeaseLength = Annotated[float, Field(ge=1.0, le=MAX_LEASE_S)]
DEFAULT_LEASE_S = 600.0
MAX_TRIALS = 100


class AskBody(Body):
    """What an evaluator asks for."""

    evaluator: EvaluatorName
    """Name of the evaluator, the same whenever it comes back: it is given the trials again that it holds. Two that run
    at a time need two names."""

    num_trials: int = Field(default=1, ge=0, le=MAX_TRIALS)
    """Number of trials that it wants to hold, those it holds already among them; 0 for those alone."""

    lease_s: LeaseLength = DEFAULT_LEASE_S
    """Time after which a trial that was neither told nor renewed goes to whoever asks next, in seconds; asking again
    renews too."""


class LeaseBody(Body):
    """Names the lease of a trial, as it was given with the trial."""

    trial_id: Annotated[str, Field(min_length=1, max_length=40)]
    """Id of the trial."""

    lease_id: Annotated[str, Field(min_length=1, max_length=40)]
    """Id of the lease that it was given under."""

    fence: int = Field(ge=1)
    """Fence of that lease: an older one than the trial's is refused."""


class RenewBody(LeaseBody):
    """Which trial is to be kept, and for how long."""

    lease_s: LeaseLength = DEFAULT_LEASE_S
    """Time from now after which it goes to whoever asks next, in seconds."""


_ONE_UNCERTAINTY: dict[str, Any] = {
    "not": {
        "required": ["standard_error", "interval_95"],
        "properties": {"standard_error": {"type": "number"}, "interval_95": {"type": "array"}},
    }
}


class ToldMetricBody(Body):
    """A value of a metric with its uncertainty, as a standard error or as a 95 % interval."""

    model_config = ConfigDict(json_schema_extra=_ONE_UNCERTAINTY)

    value: float
    """Value in the metric's unit."""

    standard_error: float | None = Field(default=None, ge=0)
    """Standard error of the value, in the same unit; absent where it is not known, or exact."""

    interval_95: tuple[float, float] | None = None
    """Ends of its 95 % interval, in the same unit, in place of standard_error; the longer side counts."""

    @model_validator(mode="after")
    def _one_uncertainty(self) -> ToldMetricBody:
        if self.interval_95 is not None:
            if self.standard_error is not None:
                raise ValueError("both standard_error and interval_95 are given: give one of them")
            standard_error_of(self.value, *self.interval_95)
        return self

    def told(self) -> ToldValue:
        """What the evaluator tells."""
        error = self.standard_error
        if self.interval_95 is not None:
            error = standard_error_of(self.value, *self.interval_95)
        return ToldValue(value=self.value, standard_error=error)


class FailureBody(Body):
    """Why a trial has no values."""

    reason: Annotated[str, Field(min_length=1, max_length=MAX_REASON_CHARACTERS)]
    """What went wrong, for people."""

    fault: Fault = Fault.EVALUATOR
    """Whose fault it is: `evaluator`, and it is tried again while attempts are left; or `architecture`, and the
    candidate is infeasible."""


_NOT_GIVEN: dict[str, Any] = {"metrics": {"type": "null"}, "failed": {"type": "null"}, "give_back": {"const": False}}
_ONE_END: dict[str, Any] = {
    "oneOf": [
        {"required": [name], "properties": {**_NOT_GIVEN, name: given}}
        for name, given in (
            ("metrics", {"type": "object"}),
            ("failed", {"type": "object"}),
            ("give_back", {"const": True}),
        )
    ]
}


class TellBody(LeaseBody):
    """The end of a trial: its values, or why it has none, or that it goes back."""

    model_config = ConfigDict(json_schema_extra=_ONE_END)

    metrics: dict[str, ToldMetricBody] | None = Field(default=None, max_length=16)
    """Every metric that the trial wants, by name."""

    failed: FailureBody | None = None
    """That it could not be evaluated."""

    give_back: bool = False
    """Whether it goes back unevaluated, for whoever asks next; costs no attempt."""

    @model_validator(mode="after")
    def _one_end(self) -> TellBody:
        if sum((self.metrics is not None, self.failed is not None, self.give_back)) != 1:
            raise ValueError("a trial ends in one way: give one of metrics, failed and give_back")
        return self


class WantedMetricResource(Resource):
    """A metric that an evaluator is to bring."""

    name: str
    """Name of the metric."""

    unit: str
    """Unit that it is told in; empty for plain numbers."""

    goal: Goal
    """Direction in which its values are better, where the search's objective does not say otherwise."""


class TrialModelResource(Resource):
    """The network of a trial as an ONNX file."""

    url: str
    """Path of the file on this server."""

    weights: WeightsOrigin
    """Origin of its weights, said by the server: `random` is good for latency and energy alone, not for accuracy."""

    sha256: str | None
    """Digest of the file; null for one that is made when it is asked for."""


class TrialResource(Resource):
    """A candidate whose external metrics an evaluator brings: queued, leased to one evaluator at a time, ended once."""

    id: Id
    """Id of the trial: that of its job, `job_...`."""

    search_id: Id
    """Search that asked the candidate."""

    candidate_id: Id
    """Candidate that it evaluates."""

    candidate: str
    """Short name of the candidate, taken wherever its id is."""

    state: JobState
    """State the server keeps it in: queued, leased, or one of the final ones."""

    evaluator: str | None
    """Name of the evaluator that holds it, or held it last; null before any did."""

    lease_expires_at: datetime | None
    """Time at which it goes to whoever asks next, by the database's clock; null while nobody holds it."""

    attempt: int
    """Number of leases so far that count against max_attempts."""

    max_attempts: int
    """Number of attempts after which the candidate is reported as failed."""

    failure_message: str
    """Why the last attempt failed, for people; empty before any failed."""

    metrics: list[WantedMetricResource]
    """Metrics that are wanted of the evaluator, all of them together."""

    values: Json
    """What was told, by metric: `value` and `standard_error`; null before."""

    @classmethod
    def of_trial(cls, trial: Trial, **members: object) -> Self:
        """A trial as REST answers it."""
        return cls.of(
            trial.job,
            candidate_id=trial.candidate.id,
            candidate=trial.candidate.short_id,
            evaluator=trial.job.lease_owner,
            metrics=[WantedMetricResource.of(metric, goal=metric.goal.value) for metric in trial.wanted],
            values=trial.job.result,
            **members,
        )


class AskedTrialResource(TrialResource):
    """A trial that an evaluator holds, with everything that it needs for it."""

    lease_id: str
    """Id of the lease, to be given when it is told."""

    fence: int
    """Fence of the lease, to be given when it is told."""

    arch_id: str
    """Digest of the canonical architecture, the same in every search."""

    genotype: list[int]
    """The genes as the algorithm asked them: one choice index per gene."""

    architecture: Json
    """The architecture in the search space's own description."""

    layer_graph: Json
    """The network as a board would run it: `nodes` with shapes and attributes, inputs first, and the index of the
    `output`; null for a space without networks."""

    model: TrialModelResource | None
    """The network as an ONNX file, with weights of the supernet where an export has them; null for a space without
    networks."""

    @classmethod
    def of_held(cls, trial: Trial) -> Self:
        """A trial as its evaluator is given it."""
        candidate = trial.candidate
        return cls.of_trial(
            trial,
            lease_id=trial.job.lease_id,
            fence=trial.job.lease_epoch,
            arch_id=candidate.arch_id,
            genotype=list(candidate.genotype),
            architecture=candidate.record.architecture.choices_value(),
            layer_graph=trial.layer_graph,
            model=None if trial.model is None else TrialModelResource.of(trial.model),
        )


class AskedResource(Resource):
    """What an evaluator was given."""

    search_state: SearchState
    """State of the search, as the server keeps it; once it is a final one there will be no more trials."""

    trials: list[AskedTrialResource]
    """Trials that the evaluator holds now, those it held before among them, the oldest first. None of a search that
    runs means: ask again in a while."""


class TrialListQuery(ListQuery):
    """Filters of the listing of trials; those that are absent let every trial through."""

    state: list[JobState] = Field(default_factory=list)
    """States of trials to list; repeat it for several, absent: every state."""
