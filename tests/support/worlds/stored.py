"""Values to store, and listings read to their end."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import LATENCY_US
from server.candidates.candidate import Candidate, MetricValue, counted_values
from server.candidates.search import Search
from server.candidates.search_store import SearchStore
from server.candidates.spec import parse_search_spec
from server.candidates.states import DesiredState, EvaluationSource, SearchState
from server.core.database.transaction import Transaction
from server.core.ids import IdPrefix, new_id
from server.core.paging import Page, PageRequest
from server.fleet.device import DeviceCapabilities, Enrolment
from tests.support.fakes.service import toy_record
from tests.support.worlds.service_world import IDENTITY, SPEC, World


def new_search(**changes: Any) -> Search:
    values: dict[str, Any] = {
        "id": new_id(IdPrefix.SEARCH),
        "spec": parse_search_spec(SPEC),
        "state": SearchState.RUNNING,
        "desired_state": DesiredState.RUNNING,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Search(**{**values, **changes})


def add_searches(world: World, searches: list[Search]) -> None:
    def work(tx: Transaction) -> None:
        for search in searches:
            SearchStore(tx).add_search(search)

    world.uow.write(work)


def new_candidate(search: Search, seq: int, **changes: Any) -> Candidate:
    genotype = (seq // 64 % 4, seq // 16 % 4, seq // 4 % 4, seq % 4)
    values: dict[str, Any] = {
        "id": new_id(IdPrefix.CANDIDATE),
        "search_id": search.id,
        "seq": seq,
        "generation": 0,
        "record": toy_record(genotype),
        "genotype": genotype,
        "created_at": search.created_at,
    }
    candidate = Candidate(**{**values, **changes})
    counted = counted_values(candidate.record, EvaluationSource.GRAPH)
    return replace(candidate, current={**counted, **candidate.current})


def measured(latency_us: float) -> dict[Metric, MetricValue]:
    """A latency as the current value of a candidate."""
    return {LATENCY_US: MetricValue(metric=LATENCY_US, value=latency_us, source=EvaluationSource.MEASURED)}


def every_page(fetch: Any, size: int) -> list[Any]:
    """Follow a listing to its end."""
    items: list[Any] = []
    request = PageRequest(size)
    while True:
        page: Page[Any] = fetch(request)
        assert len(page.items) <= size
        items += page.items
        if page.next is None:
            return items
        request = PageRequest(size, page.next)


def enrolment_of(name: str) -> Enrolment:
    return Enrolment(name=name, device_type="testboard", capabilities=DeviceCapabilities(identity=IDENTITY))
