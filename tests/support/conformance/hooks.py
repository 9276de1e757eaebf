"""What schemathesis is told besides the description: ids that exist, and which refusals are no faults.

Loaded by schemathesis itself (`schemathesis.toml` beside it), in a process that knows nothing else of the product.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from typing import Any

import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.transport import Response
from schemathesis.generation.meta import TestPhase
from schemathesis.openapi.checks import RejectedPositiveData, UseAfterFree

_EVERY = 4  # one case of so many keeps the id that was drawn, which names nothing

MEANINGS: Mapping[str, str] = {
    "invalid-page-token": "the token is bound by a MAC to the listing it came from: no schema says which one fits",
    "invalid-search-spec": "spaces, devices and bounds that exist, and sums over several fields",
    "invalid-supernet-spec": "as above",
    "invalid-network-spec": "as above",
    "invalid-ranking-study-spec": "as above",
    "invalid-latency-question": "architectures and models together, and devices that exist",
    "invalid-measurement-spec": "a model, data set and device that exist and fit each other",
    "invalid-model": "the bytes of an uploaded file",
    "invalid-table": "the bytes of an uploaded file",
    "invalid-architecture": "the choices that one search space has",
    "digest-mismatch": "the path holds the sha256 of the body",
    "precondition-failed": "the version that a thing has at the moment",
    "range-not-satisfiable": "the size of the file that the path names",
    "idempotency-key-reused": "the same key for another request",
    "not-acceptable": "a header that the description does not declare",
}
"""Problems with well-formed requests, and what no JSON schema can say; `positive_data_acceptance` calls them faults.
Requests whose form is refused (`invalid-request`, `malformed-request`) are not among them, and fail the check."""


def _known_ids() -> dict[str, str]:
    known: dict[str, str] = json.loads(os.environ.get("HILNAS_CONFORMANCE_IDS", "{}"))
    return known


_IDS = _known_ids()
_DETAILS: Mapping[str, str] = {
    "the body is not JSON that can be stored": "an integer of more than 64 bits, U+0000, half a surrogate pair or 65 "
    "levels in a free document (the parameters of a space): what no JSON schema of an open object says",
    "/metrics/": "the order of three fields: an interval holds the value that it is of",
    "unknown metric ": "the metrics that one search looks for, among them those that evaluators outside bring",
    "this search measures nothing on a board ": "the boards that one search names",
    "/owner: no principal has ": "the principals that there are",
    "/users/": "the principals that there are",
    "/time_zone: ": "the time zones that the system knows",
    "/windows/": "the order of two times of a window: it has a length",
}
"""Beginnings of details, and what no schema can say, where the kind of the problem alone does not tell it."""


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Ask about what exists: ids that are drawn find nothing."""
    kwargs["allow_redirects"] = False  # else the answer is held against the operation that it was not asked of
    drawn = case.path_parameters
    if not drawn:
        return
    ours = case.meta is None or case.meta.phase.name is not TestPhase.STATEFUL
    if case.meta is not None and case.meta.is_negative_at(ParameterLocation.PATH):
        ours = False
    if ours and zlib.crc32(repr(sorted(drawn.items())).encode()) % _EVERY:
        drawn.update({name: _IDS[name] for name in drawn if name in _IDS})
    # The caller's own token must outlive the test.
    if case.method == "DELETE" and drawn.get("token_id") == _IDS.get("own_token_id"):
        drawn["token_id"] = _IDS["token_id"]


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext, failure: Failure, case: schemathesis.Case[Any], response: Response
) -> bool:
    """Keep what is a fault of the product."""
    if not isinstance(failure, RejectedPositiveData | UseAfterFree):
        return True
    try:
        problem = json.loads(response.content)
    except ValueError:
        return True
    if isinstance(failure, UseAfterFree):
        # A token that was revoked opens nothing; its record stays, and says since when.
        return not problem.get("revoked_at")
    kind = str(problem.get("type", "")).removeprefix("/problems/")
    return kind not in MEANINGS and not str(problem.get("detail", "")).startswith(tuple(_DETAILS))
