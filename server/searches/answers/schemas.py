"""Answers on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from nas_engine.domain.measuring.environment import DeviceClass
from server.candidates.states import SearchState
from server.core.http.resources import Id, IntervalResource, Resource
from server.searches.answers.verdict import Verdict
from server.searches.candidate_schemas import BoundText, LatencySourceName
from server.searches.fronts.schemas import BOARD_WANTED, BoardText, FrontBoardResource


class AnswerQuery(BaseModel):
    """What the network must keep."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    latency_us: Annotated[float, Field(gt=0, le=1e12)] | None = None
    """Most that its median latency may be, microseconds."""

    latency_ms: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Most that its median latency may be, milliseconds."""

    board: BoardText | None = Field(default=None, description=BOARD_WANTED)

    bound: list[BoundText] = Field(default_factory=list, max_length=10)
    """Bounds on other metrics, the latencies on further boards among them (`latency_us@rk3588:le:8000`), as
    `metric:le:number` or `metric:ge:number`; all must hold."""


class AnswerValueResource(Resource):
    """One metric of a member of the answer."""

    metric: str
    """Name of the metric."""

    unit: str
    """Unit of the value and its interval; empty for plain numbers."""

    interval: IntervalResource
    """The value with its interval."""

    column: str = ""
    """Short words for the metric, above columns and at axes."""


class AnswerFileResource(Resource):
    """A file of a member."""

    weights: str
    """Weights that it holds: `supernet` for the model to ship as it is; `timing-only` for the one that was measured,
    whose weights say nothing unless the same file holds both."""

    sha256: str
    """SHA-256 of the file: GET /api/v1/artifacts/{sha256}."""


class AnswerMemberResource(Resource):
    """A candidate that may be shipped."""

    candidate_id: Id
    """Identifier of the candidate."""

    short_id: str
    """Short name of the candidate, taken wherever its id is: the end of the search's id, and its number there."""

    arch_id: str
    """Digest of the canonical architecture, the same in every search."""

    meets: bool
    """Whether it keeps the bounds."""

    is_sure: bool
    """Whether its whole interval lies on the same side of every bound as its value."""

    values: list[AnswerValueResource]
    """Every metric that is known of it, accuracy on test images among them where that was taken."""

    files: list[AnswerFileResource]
    """Files of it that there are."""


class DifferenceResource(Resource):
    """What is to be shipped, less another member, in one metric."""

    metric: str
    """Name of the metric."""

    interval: IntervalResource
    """The difference with its 95 % interval."""

    verdict: Verdict
    """Whether what is to be shipped is better or worse beyond the interval; `undecided` where it holds zero."""

    is_paired: bool = False
    """Whether the interval is that of a difference taken image by image, on the same images (Bonett and Price's for
    paired proportions), as accuracies are where both networks' answers are stored; otherwise it is that of two
    independent values, which of accuracies on the same images is too wide."""

    num_images: int | None = None
    """Number of images that both classified; null where the difference is not paired."""

    num_only_shipped: int | None = None
    """Number of images that only the network to be shipped classified correctly; null where it is not paired."""

    num_only_other: int | None = None
    """Number of images that only the other classified correctly; null where the difference is not paired."""


class ComparedResource(Resource):
    """Another member, compared with what is to be shipped."""

    short_id: str
    """Short name of the other member."""

    candidate_id: Id
    """Identifier of the other member."""

    differences: list[DifferenceResource]
    """What is to be shipped, less the other member, metric by metric."""


class BoundResource(Resource):
    """A bound that was asked for."""

    metric: str
    """Name of the bounded metric."""

    minimum: float | None
    """Least that it may be, in the metric's unit; null without."""

    maximum: float | None
    """Most that it may be, in the metric's unit; null without."""


class NextStepResource(Resource):
    """What to do next."""

    title: str
    """What it does."""

    command: str
    """Command that does it, to be copied as it is."""


class AnswerResource(Resource):
    """Which candidate of a search to ship under bounds, what it beats, and how sure that is."""

    search_id: Id
    """Search that is answered for."""

    state: SearchState
    """State of the search; before it is completed the answer may change."""

    bounds: list[BoundResource]
    """Bounds that were asked for; all hold for what is to be shipped."""

    judged: str
    """Metric by which the best within the bounds is chosen."""

    headline: str
    """What to ship, in one sentence; or why nothing can be named."""

    sentences: list[str]
    """What else must be known before one acts upon it."""

    ship: AnswerMemberResource | None
    """The best candidate within the bounds, by the value that the search went by; null where nothing keeps them."""

    tied: list[str]
    """Short ids of what is within the bounds and cannot be told apart from it by the judged metric."""

    nearest: AnswerMemberResource | None
    """What comes nearest to the bounds, where nothing keeps them; null elsewhere."""

    members: list[AnswerMemberResource]
    """Members of the front, by the first objective, best first."""

    compared: list[ComparedResource]
    """Every other member, compared with what is to be shipped."""

    latency_kind: LatencySourceName | None
    """Kind of every latency; null where latency is not wanted."""

    device_class: DeviceClass | None
    """Class of the devices that gave the latencies; null where latency is not wanted."""

    next_steps: list[NextStepResource]
    """Commands that come next."""

    boards: list[FrontBoardResource] = Field(default_factory=list)
    """Of a search with several boards, those that this answer is for; empty for a search with its `device` alone."""
