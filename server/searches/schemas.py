"""Searches on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from nas_engine.domain.text import duration_text
from nas_engine.settings.base import Labels, MetricName
from server.access.schemas import Owner, OwnerName
from server.candidates.spec import SearchSpec
from server.candidates.states import DesiredState, EndReason, SearchState
from server.core.http.resources import Body, CountedQuery, Id, Json, LabelText, Resource, Text
from server.jobs.spent.schemas import TimeResource


class SearchListQuery(CountedQuery):
    """Filters and order of a list of searches."""

    state: list[SearchState] = Field(default_factory=list)
    """Searches in any of these states."""

    label: list[LabelText] = Field(default_factory=list, max_length=16)
    """Searches that carry all of these labels, each as `name:value`."""

    space: Text | None = None
    """Searches over this search space, by its id."""

    supernet_id: Text | None = None
    """Searches that use this supernet, by its id."""

    hardware_key: Text | None = None
    """Searches whose latencies are filed under this hardware key."""

    order_by: Literal["created_at", "-created_at"] = "-created_at"
    """Sort order by time of creation; `-` puts the newest first."""

    owner: OwnerName = None
    """Name or id of a principal; only what it owns is listed."""

    find: Text | None = None
    """Words that all stand, whatever their case, in a search's name, labels, id, space, algorithm, type of device,
    owner or state."""


class ProgressResource(Resource):
    """How far a search is."""

    generation: int
    """Number of generations the algorithm has completed."""

    num_candidates: int
    """The budget: number of architectures to be asked in all."""

    num_asked: int
    """Number of candidates proposed so far."""

    num_complete: int
    """Number of asked candidates that are complete."""

    num_infeasible: int
    """Number of asked candidates refused by converter, board or constraint: the architecture's own fault."""

    num_failed: int
    """Number of asked candidates that failed for reasons of the service."""

    num_cancelled: int = 0
    """Number of asked candidates that were not finished when the search was cancelled; earlier servers counted them as
    failed."""

    num_in_flight: int
    """Number of asked candidates that are not finished yet."""

    num_reused: int
    """Number of latencies taken from earlier measurements instead of measured anew."""

    num_unmet: int | None = None
    """Number of complete candidates that had missed a constraint when the last generation ended; null before the first,
    and of searches that a server ended which did not count them."""

    front_size: int
    """Number of feasible non-dominated candidates: of all that are complete where the search is read, after the last
    committed step in events and in answers to changes."""

    hypervolume: float | None
    """Hypervolume of the front against reference_point, in the objectives' own units, taken like front_size; null
    before the first generation is complete, which fixes reference_point."""

    reference_point: list[float] | None
    """Reference point of the hypervolume, one value per objective; fixed for the search, so that hypervolumes
    compare."""

    report: dict[str, Json]
    """What is to be said of the algorithm, by topic: `algorithm` (which was chosen, and because of what, where the spec
    left it open), `gains` (what the last candidates added to the hypervolume and what the next are expected to add, as
    shares of it), `stop` (how far it is by its stop rules on time and target), `warm_start`, `predictors`, `picked`,
    `shifting`, `derived`."""

    @property
    def stop_text(self) -> str:
        """How far it is by its stop rules on time and target, for people; empty where it has none."""
        match self.report.get("stop"):
            case dict(rules):
                return ", ".join(text for name, rule in rules.items() if (text := _rule_text(name, rule)))
            case _:
                return ""


def _rule_text(name: str, rule: Json) -> str:
    match rule:
        case {"limit": float() | int() as limit_s, "reached": float() | int() as reached_s}:
            return f"{name.removesuffix('_s').replace('_', ' ')} {duration_text(reached_s)} of {duration_text(limit_s)}"
        case {"wanted": str(wanted), "candidate_id": None}:
            return f"target {wanted} not reached"
        case {"wanted": str(wanted)}:
            return f"target {wanted} reached"
        case _:  # of a later server
            return ""


class UsedPluginResource(Resource):
    """Something that a search uses and that a package other than hilnas brings."""

    door: str
    """Group of the entry point, such as `hilnas.algorithms`."""

    name: str
    """Name that the spec gives it by."""

    package: str
    """Installed package that brings it."""

    version: str
    """Version of that package when the search was started; workers with another refuse the search."""


class SearchResource(Resource):
    """A search with its spec, state and progress."""

    id: Id
    """Identifier of the search, `srch_...`, given by the server."""

    short_id: str = ""
    """The end of the id, taken wherever the id is."""

    name: str
    """Name for people, from the spec."""

    state: SearchState
    """State of the search as the server sees it."""

    desired_state: DesiredState
    """State its owner asked for; `state` follows it."""

    reason: str
    """Why it is in this state; empty where there is nothing to say."""

    spec: SearchSpec
    """The spec that it goes by: as it was posted, with defaults filled in and amendments written into it."""

    progress: ProgressResource
    """Counts, front and hypervolume."""

    hardware_key: str | None
    """Hardware key its latencies are filed under; null where latency is not wanted."""

    board_hardware_keys: dict[str, str] = Field(default_factory=dict)
    """Hardware keys that latencies on the further boards of its spec are filed under, by their names there."""

    supernet_id: Id | None
    """Supernet that its accuracies come from; null where the space needs none."""

    supernet_version_id: Id | None
    """Version of the supernet's weights used now; null before the supernet is trained and where there is none."""

    created_by: Id | None
    """Token that created it; null without authentication."""

    owner: Owner = None
    """Principal that owns it: whose token that was; null without authentication."""

    created_at: datetime
    """Time at which it was created, RFC 3339."""

    started_at: datetime | None
    """Time at which it began to run, RFC 3339; null before."""

    finished_at: datetime | None
    """Time at which it ended, RFC 3339; null before."""

    version: int
    """Number that grows with every change; the ETag is made of it."""

    plugins: list[UsedPluginResource] = Field(default_factory=list)
    """What of it comes from packages other than hilnas itself: every evaluation of it was made with these versions."""

    end_reason: EndReason | None = None
    """Why it ended otherwise than by its budget, for programs: `no_feasible_candidate` where it failed because it has
    complete candidates and none of them met the constraints (`reason` names the nearest); `plateau` where it completed
    by its stop rule (`reason` has the figures), `wall_time`, `board_time` and `target` by theirs. null otherwise."""

    chosen_because: str = ""
    """Why the server chose the algorithm that the spec has now; empty where it was named."""

    warnings: list[str] = Field(default_factory=list)
    """What the database held against the spec when the search was created: bounds on latency that nothing of this
    space measured on this hardware meets."""

    waiting_for: str = ""
    """What stands in its way besides its turn, where one search is read: that no worker lives, that its board is away;
    empty where there is nothing to say."""

    cloned_from: Id | None = None
    """Search that this one was launched again from, with or without changes; null where it was from none."""

    launched_spec: SearchSpec | None = None
    """The spec as it was launched, where one search is read that was amended since; null otherwise. What was amended
    is listed by GET /api/v1/searches/{search_id}/amendments."""

    time: TimeResource | None = None
    """How long it takes, with the training of a supernet that was ordered with it, and where the time goes; null where
    the answer is to a change, and from servers that do not tell."""


class SearchAmendmentBody(Body):
    """Changes to a search under way; absent members stay as they are."""

    num_candidates: int | None = Field(default=None, ge=1, le=1_000_000)
    """New budget in candidates; not below what was asked already."""

    priority: int | None = Field(default=None, ge=-100, le=100)
    """New priority of jobs queued from now on; higher ones are done first."""

    labels: Labels | None = None
    """New labels, which replace all labels there are."""


class MetricRangeResource(Resource):
    """What a cheap metric can be in a search space."""

    metric: MetricName
    """Name of the cheap metric."""

    minimum: float
    """Smallest value in the space, in the metric's unit."""

    maximum: float
    """Largest value in the space, in the metric's unit."""


class SpecViolationResource(Resource):
    """One thing that is wrong with a spec."""

    pointer: str
    """JSON pointer to the place in the spec."""

    detail: str
    """What is wrong and what is allowed."""

    feasible_minimum: float | None
    """Smallest value a bound may have, in its metric's unit; null where there is no range."""

    feasible_maximum: float | None
    """Largest value a bound may have, in its metric's unit; null where there is no range."""


class ValidationReport(Resource):
    """What a spec would do."""

    valid: bool
    """Whether the spec can be run as it is."""

    violations: list[SpecViolationResource]
    """Everything that is wrong; empty when the spec is valid."""

    spec: SearchSpec
    """The spec with its defaults filled in."""

    space_size: int | None
    """Number of genotypes in the space; null for an unknown space."""

    metric_ranges: list[MetricRangeResource]
    """Ranges of the space's cheap metrics."""

    hardware_key: str | None
    """Hardware key its latencies would be filed under; null where latency is not wanted."""

    board_hardware_keys: dict[str, str] = Field(default_factory=dict)
    """Hardware keys that latencies on its further boards would be filed under, by their names in the spec."""

    num_devices: int
    """Number of registered devices that can measure for it; of several boards that of the one with the fewest."""

    warnings: list[str] = Field(default_factory=list)
    """What speaks against the spec without forbidding it: bounds on latency that nothing of this space measured on this
    hardware meets."""


class CheckpointResource(Resource):
    """The algorithm's state after one step."""

    seq: int
    """Number of the step, 1 for the first."""

    code_version: str
    """Version of the worker that wrote it."""

    created_at: datetime
    """Time at which the step was committed, RFC 3339."""


class PresetNeedResource(Resource):
    """A place of a preset's spec that must be filled in before it is launched."""

    pointer: str
    """JSON pointer to the place in the spec."""

    meaning: str
    """What belongs in that place."""


class SearchPresetResource(Resource):
    """A paper's search: POST its spec to /api/v1/searches; boards are RK3588 unless another device is put in."""

    name: str
    """Name of the preset in paths and commands."""

    summary: str
    """What the preset searches for, in a sentence."""

    source: str
    """The paper and the place in it that its numbers come from."""

    deviations: list[str] = Field(default_factory=list)
    """What differs from the published search, each with the reason; said as warnings where it is launched, too."""

    needs: list[PresetNeedResource]
    """Places that must be filled in before the spec is posted."""

    spec: SearchSpec
    """The spec, complete but for its needs."""
