"""What the SDK's calls about searches answer with: candidates, fronts and answers, which draw themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from hilnas.client.core.calls import M, call
from hilnas.client.core.group import Group
from hilnas.client.core.paths import path_of
from hilnas.client.core.steps import Call
from hilnas.client.handles import Handle
from hilnas.client.views.frames import frame_of
from hilnas.client.views.html import panel_of, paragraphs, table_of
from hilnas.client.views.pictures import front_picture, hypervolume_picture
from nas_engine.domain.metrics import latency_on
from server.candidates.boards import OWN_DEVICE
from server.searches.answers.schemas import AnswerResource
from server.searches.candidate_schemas import CandidateResource
from server.searches.comparing.schemas import ComparisonResource
from server.searches.fronts.schemas import FrontResource
from server.searches.history.schemas import HypervolumeResource
from server.searches.what_if.schemas import WhatIfDetail
from server.searches.what_if.what_if import WhatIfState

if TYPE_CHECKING:
    import pandas


class Candidate(CandidateResource):
    """One architecture that a search asked, with what is known of it."""

    def _repr_html_(self) -> str:
        """Its metrics with their 95 % intervals."""
        return panel_of(self, f"Candidate {self.short_id or self.id}")


class Front(FrontResource):
    """The non-dominated candidates of a search."""

    def to_pandas(self) -> pandas.DataFrame:
        """A row a point: metrics by name, each with the ends of its 95 % interval. Raises MissingPackageError."""
        return frame_of(self.points)

    def _repr_html_(self) -> str:
        """The front drawn, with its points below."""
        title = f"Pareto front of {self.search_id}: {len(self.points)} of {self.num_feasible} feasible candidates"
        return f"<div>{paragraphs([title])}{front_picture(self)}{table_of(self.points)}</div>"


class Hypervolume(HypervolumeResource):
    """How the hypervolume of a search grew."""

    def to_pandas(self) -> pandas.DataFrame:
        """A row a point. Raises MissingPackageError."""
        return frame_of(self.points)

    def _repr_html_(self) -> str:
        """The history drawn."""
        return hypervolume_picture(self) or paragraphs(["nothing evaluated yet"])


class Comparison(ComparisonResource):
    """Fronts of several searches against one reference point."""

    def to_pandas(self) -> pandas.DataFrame:
        """A row a search. Raises MissingPackageError."""
        return frame_of(self.searches)


class Answer(AnswerResource):
    """Which candidate to ship within bounds, what it beats, and how sure that is."""

    def _repr_html_(self) -> str:
        """The answer in words."""
        return f"<div><strong>{paragraphs([self.headline])}</strong>{paragraphs(self.sentences)}</div>"


class WhatIf(Handle[M], WhatIfDetail):
    """A search's front on another board, as it was when it was read; its methods ask the server anew."""

    COLLECTION, NOUN, SUCCESS = "searches", "what-if", WhatIfState.COMPLETED

    @call
    def measure_more(self) -> Call[Self]:
        """Have those of `measure_next` measured; then every candidate is estimated anew."""
        return self._act("measure-next")

    def to_pandas(self) -> pandas.DataFrame:
        """A row a candidate, each with what its latency is. Raises MissingPackageError."""
        return frame_of(self.networks)

    def _repr_html_(self) -> str:
        """How it stands, and the estimated front."""
        return panel_of(self, f"What if: {self.search_id} on {self.device_type}", table_of(self.front))

    @property
    def _place(self) -> tuple[str, ...]:
        return (self.COLLECTION, self.search_id, "what-if", self.id)

    def _act(self, verb: str) -> Call[Self]:
        yield from Group[M](self._carrier)._http.post(path_of(*self._place, verb=verb))
        return (yield from self._read())


LatencyLimit = float | Mapping[str, float] | None
"""Most that a median latency may be: on the search's own device, or board by board."""


@dataclass(frozen=True, slots=True)
class LatencyBounds:
    """A limit on the search's own device, in the unit that it was given in, and bounds on its further boards."""

    own: float | None
    further: tuple[str, ...]


def limits_of(limit: LatencyLimit, factor: float) -> LatencyBounds:
    """Part a limit into that on the search's own device, and bounds on its further boards.

    Args:
        limit: by board, or on the own device alone.
        factor: microseconds of its unit.
    """
    if not isinstance(limit, Mapping):
        return LatencyBounds(limit, ())
    further = {board: most for board, most in limit.items() if board != OWN_DEVICE}
    bounds = tuple(f"{latency_on(board).name}:le:{float(most) * factor!r}" for board, most in further.items())
    return LatencyBounds(limit.get(OWN_DEVICE), bounds)
