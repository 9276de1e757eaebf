"""The SDK's calls about searches, and searches that can be waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

from hilnas.client.core.calls import Blocking, M, call, listing, stream
from hilnas.client.core.event_source import ReceivedEvent, followed
from hilnas.client.core.group import Document, Group, filters_of, read, spec_document
from hilnas.client.core.paths import path_of
from hilnas.client.core.steps import Call, Items, Params, collected
from hilnas.client.errors import HilnasError
from hilnas.client.handles import Handle
from hilnas.client.search_answers import (
    Answer,
    Candidate,
    Comparison,
    Front,
    Hypervolume,
    LatencyBounds,
    LatencyLimit,
    WhatIf,
    limits_of,
)
from hilnas.client.transport import Transport
from hilnas.client.trials.resources import Trial, TrialGroup
from hilnas.client.views.frames import frame_of
from hilnas.client.views.html import panel_of, paragraphs
from hilnas.client.views.pictures import front_picture
from nas_engine.domain.dominance import Dominance
from nas_engine.settings.algorithms import WarmStartSettings
from server.candidates.spec import SearchSpec
from server.candidates.states import SearchState
from server.fleet.device_spec import DeviceSpec
from server.searches.amending.schemas import AmendmentResource
from server.searches.candidate_schemas import EvaluationResource
from server.searches.schemas import SearchResource, ValidationReport
from server.searches.trials.schemas import DEFAULT_LEASE_S
from server.searches.what_if.schemas import WhatIfResource

if TYPE_CHECKING:
    import pandas


class Search(Handle[M], SearchResource):
    """A search as it was when it was read; its methods ask the server anew."""

    COLLECTION, NOUN, SUCCESS = "searches", "search", SearchState.COMPLETED

    @call
    def front(
        self, *, dominance: Dominance | str | None = None, include_dominated: bool = False, board: str | None = None
    ) -> Call[Front]:
        """Its front; see `SearchGroup.front`."""
        return SearchGroup[M].front.make(
            self._group, self.id, dominance=dominance, include_dominated=include_dominated, board=board
        )

    @call
    def hypervolume(self, *, max_points: int = 500) -> Call[Hypervolume]:
        """How its hypervolume grew; see `SearchGroup.hypervolume`."""
        return SearchGroup[M].hypervolume.make(self._group, self.id, max_points=max_points)

    @call
    def answer(
        self,
        *,
        latency_ms: LatencyLimit = None,
        latency_us: LatencyLimit = None,
        bounds: Sequence[str] = (),
        board: str | None = None,
    ) -> Call[Answer]:
        """Which of its candidates to ship; see `SearchGroup.answer`."""
        return SearchGroup[M].answer.make(
            self._group, self.id, latency_ms=latency_ms, latency_us=latency_us, bounds=bounds, board=board
        )

    @call
    def what_if(
        self, device: str | DeviceSpec | Document, *, num_measurements: int = 16, idempotency_key: str | None = None
    ) -> Call[WhatIf[M]]:
        """Carry its front over to another board; see `SearchGroup.what_if`."""
        return SearchGroup[M].what_if.make(
            self._group, self.id, device, num_measurements=num_measurements, idempotency_key=idempotency_key
        )

    @listing
    def candidates(
        self,
        *,
        states: Sequence[str] = (),
        bounds: Sequence[str] = (),
        order_by: str = "seq",
        find: str | None = None,
        limit: int | None = None,
    ) -> Items[Candidate]:
        """Its candidates; see `SearchGroup.candidates`."""
        return SearchGroup[M].candidates.make(
            self._group, self.id, states=states, bounds=bounds, order_by=order_by, find=find, limit=limit
        )

    @call
    def ask(
        self,
        num_trials: int = 1,
        *,
        evaluator: str | None = None,
        lease_s: float = DEFAULT_LEASE_S,
        wait: bool = True,
        poll_s: float = 1.0,
    ) -> Call[list[Trial[M]]]:
        """Take trials, to bring its external metrics; see `TrialGroup.ask`. Empty once the search has ended."""
        return TrialGroup[M].ask.make(
            TrialGroup[M](self._carrier),
            self.id,
            num_trials,
            evaluator=evaluator,
            lease_s=lease_s,
            wait=wait,
            poll_s=poll_s,
        )

    @stream
    def events(self, after_id: int = 0) -> Items[ReceivedEvent]:
        """What happens to it, until it ends; see `SearchGroup.events`."""
        return SearchGroup[M].events.make(self._group, self.id, after_id)

    @call
    def pause(self) -> Call[Self]:
        """Ask no more candidates; what is in flight ends."""
        return self._act("pause")

    @call
    def resume(self) -> Call[Self]:
        """Go on where a pause stopped."""
        return self._act("resume")

    @call
    def amend(self, changes: Document) -> Call[Search[M]]:
        """Change it while it runs; see `SearchGroup.amend`."""
        return SearchGroup[M].amend.make(self._group, self.id, changes)

    @listing
    def amendments(self) -> Items[AmendmentResource]:
        """What was amended of it, newest first."""
        return SearchGroup[M].amendments.make(self._group, self.id)

    @call
    def clone(
        self, changes: Document | None = None, *, train_again: bool = False, as_launched: bool = False
    ) -> Call[Search[M]]:
        """Launch it again with changes; see `SearchGroup.clone`."""
        return SearchGroup[M].clone.make(
            self._group, self.id, changes, train_again=train_again, as_launched=as_launched
        )

    @call
    def to_pandas(self) -> Call[pandas.DataFrame]:
        """Its candidates, a row each: metrics by name, each with the ends of its 95 % interval.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        return frame_of((yield from collected(SearchGroup[M].candidates.make(self._group, self.id))))

    def _repr_html_(self) -> str:
        """How it stands; with its front drawn where the client blocks (an async one cannot ask from here)."""
        picture = ""
        if isinstance(self._carrier, Transport):
            try:
                front = SearchGroup[Blocking](self._carrier).front(self.id, include_dominated=True)
                picture = front_picture(front)
            except (HilnasError, RuntimeError) as error:  # refused, or the client is closed
                picture = paragraphs([f"the front could not be read: {error}"])
        return panel_of(self, f"Search {self.name or self.short_id or self.id}", picture)

    @property
    def _group(self) -> SearchGroup[M]:
        return SearchGroup(self._carrier)


class SearchGroup(Group[M]):
    """Searches, their candidates, fronts and events."""

    @call
    def create(
        self,
        spec: SearchSpec | Document,
        *,
        warm_start: WarmStartSettings | Document | None = None,
        idempotency_key: str | None = None,
    ) -> Call[Search[M]]:
        """Start a search. Repeating the call with one key starts one search.

        Args:
            spec: of the search.
            warm_start: what to evaluate first, in place of the spec's own; ``progress.report["warm_start"]`` of the
                search says which of its offers were taken.
            idempotency_key: of the call.
        """
        document = spec_document(spec)
        if warm_start is not None and isinstance(document, Mapping):
            document = {**document, "warm_start": spec_document(warm_start)}
        answer = yield from self._http.post(path_of("searches"), document, idempotency_key=idempotency_key)
        return self.read(Search, answer)

    @call
    def validate(self, spec: SearchSpec | Document) -> Call[ValidationReport]:
        """What a spec would do, without starting it."""
        return read(
            ValidationReport, (yield from self._http.post(path_of("searches", verb="validate"), spec_document(spec)))
        )

    @call
    def get(self, search_id: str) -> Call[Search[M]]:
        """Read one search by its id."""
        return self.read(Search, (yield from self._http.get(path_of("searches", search_id))))

    @listing
    def all(
        self,
        *,
        states: Sequence[str] = (),
        owner: str | None = None,
        find: str | None = None,
        labels: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> Items[Search[M]]:
        """Iterate over searches, newest first.

        Args:
            owner: whose, by name or id.
            find: words that all stand in a search's name, labels, id, space, algorithm, type of device, owner or state.
            labels: that it carries, all of them.
        """
        return self.items(path_of("searches"), Search, filters_of(states, owner, find, labels), limit)

    @call
    def pause(self, search_id: str) -> Call[Search[M]]:
        """Ask no more candidates; what is in flight ends."""
        return self._act(search_id, "pause")

    @call
    def resume(self, search_id: str) -> Call[Search[M]]:
        """Go on with a paused search."""
        return self._act(search_id, "resume")

    @call
    def cancel(self, search_id: str) -> Call[Search[M]]:
        """End a search; it cannot be resumed."""
        return self._act(search_id, "cancel")

    @call
    def amend(self, search_id: str, changes: Document, *, version: int | None = None) -> Call[Search[M]]:
        """Change budget, constraints, stop rules, priority or labels of a search while it runs.

        Args:
            changes: a JSON merge patch of its spec, such as ``{"budget": {"num_candidates": 200}}``; None takes a
                member away, a list replaces the whole list.
            version: that it must have still, so that nobody else's change is undone; None: whatever it has.
        """
        path = path_of("searches", search_id, verb="amend")
        return self.read(Search, (yield from self._http.post(path, dict(changes), version=version)))

    @listing
    def amendments(self, search_id: str, *, limit: int | None = None) -> Items[AmendmentResource]:
        """What was amended of a search, by whom and when, newest first."""
        return self.items(path_of("searches", search_id, "amendments"), AmendmentResource, {}, limit)

    @call
    def clone(
        self,
        search_id: str,
        changes: Document | None = None,
        *,
        train_again: bool = False,
        as_launched: bool = False,
        idempotency_key: str | None = None,
    ) -> Call[Search[M]]:
        """Launch a search again from another, in any state, with changes. Repeating it with one key starts one search.

        Args:
            changes: a JSON merge patch of its spec; None or {} changes nothing.
            train_again: train the supernet anew that was trained with it; else that is used by its id.
            as_launched: start from the spec without its amendments.
            idempotency_key: of the call.
        """
        params: Params = {"train_again": train_again or None, "as_launched": as_launched or None}
        path = path_of("searches", search_id, verb="clone")
        answer = yield from self._http.post(path, dict(changes or {}), params=params, idempotency_key=idempotency_key)
        return self.read(Search, answer)

    @listing
    def candidates(
        self,
        search_id: str,
        *,
        states: Sequence[str] = (),
        bounds: Sequence[str] = (),
        order_by: str = "seq",
        find: str | None = None,
        limit: int | None = None,
    ) -> Items[Candidate]:
        """Candidates; `bounds` such as ``latency_us:le:8000``, `order_by` such as ``-top1``, `find` such as ``0,3,1``:
        words of an id, an architecture's id, a genotype or a state.
        """
        params: Params = {"state": list(states), "metric": list(bounds), "order_by": order_by, "find": find}
        return self.items(path_of("searches", search_id, "candidates"), Candidate, params, limit)

    @stream
    def export_candidates(self, search_id: str, media_type: str) -> Items[bytes]:
        """Every candidate, as ``text/csv`` or ``application/x-ndjson``."""
        path = path_of("searches", search_id, "candidates")
        return self.chunks(path, {"Accept": media_type}, timeout_s=60.0)

    @call
    def candidate(self, candidate_id: str) -> Call[Candidate]:
        """Read one candidate by its id."""
        return read(Candidate, (yield from self._http.get(path_of("candidates", candidate_id))))

    @listing
    def evaluations(self, candidate_id: str) -> Items[EvaluationResource]:
        """Every evaluation of a candidate."""
        return self.items(path_of("candidates", candidate_id, "evaluations"), EvaluationResource, {})

    @call
    def picture(self, candidate_id: str) -> Call[str]:
        """SVG of a candidate's architecture."""
        return (yield from self._http.request("GET", path_of("candidates", candidate_id, "picture.svg"))).text

    @call
    def front(
        self,
        search_id: str,
        *,
        dominance: Dominance | str | None = None,
        include_dominated: bool = False,
        board: str | None = None,
    ) -> Call[Front]:
        """The non-dominated candidates; compared as the search's spec says, or by `dominance`.

        Args:
            include_dominated: read the other complete candidates too, a thousand of them at most.
            board: the one board of a search with several that is asked about; None for all.
        """
        params: Params = {"dominance": dominance, "include_dominated": include_dominated or None, "board": board}
        return read(Front, (yield from self._http.get(path_of("searches", search_id, "front"), params)))

    @call
    def hypervolume(self, search_id: str, *, max_points: int = 500) -> Call[Hypervolume]:
        """How the hypervolume grew, evaluation by evaluation; of long searches at most so many points of it."""
        path = path_of("searches", search_id, "hypervolume")
        return read(Hypervolume, (yield from self._http.get(path, {"max_points": max_points})))

    @call
    def compare(self, search_ids: Sequence[str]) -> Call[Comparison]:
        """Compare the fronts of several searches with the same objectives, against one reference point."""
        params: Params = {"search_id": list(search_ids)}
        return read(Comparison, (yield from self._http.get(path_of("searches", verb="compare"), params)))

    @call
    def answer(
        self,
        search_id: str,
        *,
        latency_ms: LatencyLimit = None,
        latency_us: LatencyLimit = None,
        bounds: Sequence[str] = (),
        board: str | None = None,
    ) -> Call[Answer]:
        """Which candidate to ship within bounds, what it beats, and how sure that is.

        Args:
            latency_ms, latency_us: most that the median latency may be; of a search with several boards, by their
                names: ``{"rk3588": 8, "cpu-emulator": 20}``, `device` being the spec's own.
            bounds: on other metrics, such as ``macs:le:3e8``.
            board: the one board that is asked about; None for all.
        """
        in_ms: LatencyBounds = limits_of(latency_ms, 1000.0)
        in_us: LatencyBounds = limits_of(latency_us, 1.0)
        params: Params = {
            "latency_ms": in_ms.own,
            "latency_us": in_us.own,
            "bound": [*in_ms.further, *in_us.further, *bounds],
            "board": board,
        }
        return read(Answer, (yield from self._http.get(path_of("searches", search_id, "answer"), params)))

    @call
    def what_if(
        self,
        search_id: str,
        device: str | DeviceSpec | Document,
        *,
        num_measurements: int = 16,
        idempotency_key: str | None = None,
    ) -> Call[WhatIf[M]]:
        """Carry a finished search's front over to a board that it was not measured on.

        Args:
            search_id: of the search.
            device: a device type, or a spec that narrows it.
            num_measurements: candidates that are measured there, 10 to 20; the server chooses them.
            idempotency_key: of the call.
        """
        wanted = {"device_type": device} if isinstance(device, str) else spec_document(device)
        document = {"device": wanted, "num_measurements": num_measurements}
        path = path_of("searches", search_id, "what-if")
        answer = yield from self._http.post(path, document, idempotency_key=idempotency_key)
        return (yield from SearchGroup[M].get_what_if.make(self, search_id, read(WhatIfResource, answer).id))

    @call
    def get_what_if(self, search_id: str, what_if_id: str) -> Call[WhatIf[M]]:
        """A search's front on another board, as it stands."""
        return self.read(WhatIf, (yield from self._http.get(path_of("searches", search_id, "what-if", what_if_id))))

    @listing
    def what_ifs(self, search_id: str, *, limit: int | None = None) -> Items[WhatIfResource]:
        """Iterate over the boards that a search's front was carried over to, newest first."""
        return self.items(path_of("searches", search_id, "what-if"), WhatIfResource, {}, limit)

    @stream
    def events(self, search_id: str, after_id: int = 0) -> Items[ReceivedEvent]:
        """What happens to a search, from the start or after an event, until it ends."""
        return followed(self._http, path_of("searches", search_id, "events"), after_id)

    def _act(self, search_id: str, verb: str) -> Call[Search[M]]:
        return self.read(Search, (yield from self._http.post(path_of("searches", search_id, verb=verb))))
