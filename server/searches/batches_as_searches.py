"""Latency tables and their reports as the searches that they are to clients of the first release."""

from __future__ import annotations

from nas_engine.domain.json_value import JsonValue
from server.candidates.search import Search, SearchProgress
from server.candidates.spec import parse_search_spec
from server.candidates.states import DesiredState, SearchState
from server.latency_tables.batch import Batch, BatchState

OPERATORS_SPACE = "operators"
_DESIRED = {BatchState.PAUSED: DesiredState.PAUSED, BatchState.CANCELLED: DesiredState.CANCELLED}


def batch_as_search(batch: Batch) -> Search:
    """The search by which the first release measured such a batch: each operator, or each network, asked once."""
    spec = batch.spec
    space: dict[str, JsonValue] = {"id": spec.space.id, "parameters": dict(spec.space.parameters)}
    if batch.sampling is None:
        operators_of: dict[str, JsonValue] = {"space": spec.space.id, "parameters": space["parameters"]}
        operators_of |= {"batch": batch.batch_size, "dtype": batch.dtype.value}
        space = {"id": OPERATORS_SPACE, "parameters": operators_of}
    return Search(
        id=batch.id,
        spec=parse_search_spec(
            {
                **spec.model_dump(mode="json", include={"name", "device", "measurement", "priority", "labels"}),
                "space": space,
                "objectives": [{"metric": "latency_us"}],
                "algorithm": {"kind": "random"},
                "budget": {"num_candidates": batch.num_entries},
                "seed": 0 if batch.sampling is None else batch.sampling.seed,
            }
        ),
        state=SearchState(batch.state.value),
        desired_state=_DESIRED.get(batch.state, DesiredState.RUNNING),
        reason=batch.reason,
        hardware_key=batch.hardware_key,
        progress=SearchProgress(num_asked=batch.num_entries, num_complete=batch.num_measured),
        created_by=batch.created_by,
        owner=batch.owner,
        created_at=batch.created_at,
        started_at=batch.created_at,
        finished_at=batch.finished_at,
        version=batch.version,
    )
