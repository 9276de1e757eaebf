"""The catalogue of problem types. A slug is part of the API: add, never rename or reuse."""

from __future__ import annotations

from http import HTTPStatus

from server.core.http.problems import ProblemType

MALFORMED_REQUEST = ProblemType(
    "malformed-request",
    HTTPStatus.BAD_REQUEST,
    "The request cannot be read",
    "Send a well-formed request: valid JSON in UTF-8, finite numbers, and headers of the documented form.",
)
INVALID_PAGE_TOKEN = ProblemType(
    "invalid-page-token",
    HTTPStatus.BAD_REQUEST,
    "The page token does not belong to this query",
    "Use next_page_token exactly as it was given, with the same filters and order; or start again without it.",
)
IDEMPOTENCY_KEY_INVALID = ProblemType(
    "idempotency-key-invalid",
    HTTPStatus.BAD_REQUEST,
    "The Idempotency-Key header cannot be used",
    "Send 1 to 255 visible ASCII characters, e.g. a fresh UUID for every new action.",
)
UNAUTHENTICATED = ProblemType(
    "unauthenticated",
    HTTPStatus.UNAUTHORIZED,
    "A valid bearer token is required",
    "Send 'Authorization: Bearer nas_...'. The first admin token is made when the server first starts.",
)
FORBIDDEN = ProblemType(
    "forbidden",
    HTTPStatus.FORBIDDEN,
    "The token's role does not permit this",
    "Use a token of the role named in the detail; an admin makes one with POST /api/v1/tokens.",
)
FOREIGN_ORIGIN = ProblemType(
    "foreign-origin",
    HTTPStatus.FORBIDDEN,
    "The request comes from another web site",
    "Call the API from this server's own pages or a program, or add the origin to HILNAS_ALLOWED_ORIGINS.",
)
UNKNOWN_HOST = ProblemType(
    "unknown-host",
    HTTPStatus.MISDIRECTED_REQUEST,
    "The Host header is not a name of this server",
    "Use a name this server knows, or add yours to HILNAS_ALLOWED_HOSTS.",
)
NOT_FOUND = ProblemType(
    "not-found",
    HTTPStatus.NOT_FOUND,
    "There is nothing here",
    "Check the path and the id; ids are the strings that the list endpoints return.",
)
METHOD_NOT_ALLOWED = ProblemType(
    "method-not-allowed",
    HTTPStatus.METHOD_NOT_ALLOWED,
    "This resource does not have that method",
    "Use one of the methods in the Allow header.",
)
NOT_ACCEPTABLE = ProblemType(
    "not-acceptable",
    HTTPStatus.NOT_ACCEPTABLE,
    "None of the accepted media types can be made",
    "Ask for one of the media types named in the detail.",
)
CONFLICT = ProblemType(
    "conflict",
    HTTPStatus.CONFLICT,
    "The resource is in the way of the request",
    "Read the resource again and decide anew.",
)
AMBIGUOUS_REFERENCE = ProblemType(
    "ambiguous-reference",
    HTTPStatus.CONFLICT,
    "The name or the part of an id means several things",
    "Use one of 'matches', which mean one thing each.",
)
INVALID_STATE_TRANSITION = ProblemType(
    "invalid-state-transition",
    HTTPStatus.CONFLICT,
    "The resource's state does not allow this",
    "Only the transitions in 'allowed' can be made from the state in 'from'.",
)
PRECONDITION_FAILED = ProblemType(
    "precondition-failed",
    HTTPStatus.PRECONDITION_FAILED,
    "The resource has changed since it was read",
    "Read it again and repeat the request with the new ETag in If-Match.",
)
CONTENT_TOO_LARGE = ProblemType(
    "content-too-large",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "The request's content is larger than allowed",
    "Send no more bytes than the limit named in the detail.",
)
UNSUPPORTED_MEDIA_TYPE = ProblemType(
    "unsupported-media-type",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "The request's content type is not one this resource reads",
    "Send the content type named in the detail.",
)
RANGE_NOT_SATISFIABLE = ProblemType(
    "range-not-satisfiable",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    "The range lies outside the content",
    "Ask for bytes below the size in the Content-Range header.",
)
INVALID_REQUEST = ProblemType(
    "invalid-request",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "Some of the request's values are not allowed",
    "Correct the places listed in 'errors'.",
)
INVALID_SEARCH_SPEC = ProblemType(
    "invalid-search-spec",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "The search spec cannot be run",
    "Correct the places listed in 'errors'; POST /api/v1/searches:validate tries a spec without starting it.",
)
INVALID_SUPERNET_SPEC = ProblemType(
    "invalid-supernet-spec",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "The supernet spec cannot be trained",
    "Correct the places listed in 'errors'.",
)
INVALID_NETWORK_SPEC = ProblemType(
    "invalid-network-spec",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "The network cannot be trained as asked",
    "Correct the places listed in 'errors'.",
)
INVALID_RANKING_STUDY_SPEC = ProblemType(
    "invalid-ranking-study-spec",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "The ranking study cannot be made",
    "Correct the places listed in 'errors'; GET /api/v1/supernets lists what there is to study.",
)
INVALID_MEASUREMENT_SPEC = ProblemType(
    "invalid-measurement-spec",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "The model cannot be measured as asked",
    "Correct the places listed in 'errors'; GET /api/v1/device-types lists what there is to measure on.",
)
INVALID_LATENCY_QUESTION = ProblemType(
    "invalid-latency-question",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "The question for latencies cannot be answered as it is",
    "Correct the places listed in 'errors'; GET /api/v1/device-types lists what there is to measure on.",
)
INVALID_MODEL = ProblemType(
    "invalid-model",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "The uploaded model is none that a board should be given",
    "Export it as one ONNX file with static shapes, opset 9 to 19 and no external data.",
)
INVALID_ARCHITECTURE = ProblemType(
    "invalid-architecture",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "The architecture is not one of this search space",
    "Send a published name, a genotype or the space's own form, as GET /api/v1/search-spaces/{id} describes it.",
)
INVALID_TABLE = ProblemType(
    "invalid-table",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "The table of results cannot be a search space",
    "Correct the row or line that 'detail' names, upload the table again and register its new sha256.",
)
IDEMPOTENCY_KEY_REUSED = ProblemType(
    "idempotency-key-reused",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "This Idempotency-Key was used for a different request",
    "Use a fresh key for every new action; repeat a key only with the very same request.",
)
DIGEST_MISMATCH = ProblemType(
    "digest-mismatch",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "The content does not have the digest in its address",
    "Compute the sha256 of the very bytes you send; a proxy may have changed them.",
)
QUOTA_EXCEEDED = ProblemType(
    "quota-exceeded",
    HTTPStatus.FORBIDDEN,
    "The request asks for more than one owner may have",
    "Ask for less than the limit named in the detail, or let an admin raise the setting it names.",
)
TOO_MANY_REQUESTS = ProblemType(
    "too-many-requests",
    HTTPStatus.TOO_MANY_REQUESTS,
    "This owner has as much under way, or sends as much, as it may",
    "Wait as long as Retry-After says, or let an admin raise the setting named in the detail.",
)
REQUEST_TIMEOUT = ProblemType(
    "request-timeout",
    HTTPStatus.REQUEST_TIMEOUT,
    "The request's body did not come in time",
    "Send the body without pauses; over a slow line send artifacts in fewer bytes.",
)
TOO_MANY_STREAMS = ProblemType(
    "too-many-streams",
    HTTPStatus.TOO_MANY_REQUESTS,
    "This token has too many open event streams",
    "Close one, or wait as long as Retry-After says.",
)
INTERNAL_ERROR = ProblemType(
    "internal-error",
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "The server failed",
    "Try again; if it lasts, report the request_id: it is in the server's log beside the cause.",
)
UNAVAILABLE = ProblemType(
    "unavailable",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "The server cannot answer now",
    "Try again after Retry-After.",
)
INSUFFICIENT_STORAGE = ProblemType(
    "insufficient-storage",
    HTTPStatus.INSUFFICIENT_STORAGE,
    "The server's disk is full, or nearly",
    "Nothing of the request was stored. Free space on the server (GET /readyz says which disk), then try again.",
)
ARTIFACT_DAMAGED = ProblemType(
    "artifact-damaged",
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "The artifact's stored bytes are corrupted or lost",
    "Upload the same content again with PUT /api/v1/artifacts/{sha256}: that heals the artifact and all who name it.",
)

PROBLEM_TYPES: dict[str, ProblemType] = {
    value.slug: value for value in list(globals().values()) if isinstance(value, ProblemType)
}
"""Every type by slug."""


def for_status(status: int) -> ProblemType:
    """The general type of a bare HTTP status (from the framework); 4xx falls back to malformed-request."""
    general = {
        400: MALFORMED_REQUEST,
        401: UNAUTHENTICATED,
        403: FORBIDDEN,
        404: NOT_FOUND,
        405: METHOD_NOT_ALLOWED,
        406: NOT_ACCEPTABLE,
        408: REQUEST_TIMEOUT,
        409: CONFLICT,
        412: PRECONDITION_FAILED,
        413: CONTENT_TOO_LARGE,
        415: UNSUPPORTED_MEDIA_TYPE,
        416: RANGE_NOT_SATISFIABLE,
        422: INVALID_REQUEST,
        429: TOO_MANY_REQUESTS,
        503: UNAVAILABLE,
        507: INSUFFICIENT_STORAGE,
    }
    return general.get(status, MALFORMED_REQUEST if status < 500 else INTERNAL_ERROR)
