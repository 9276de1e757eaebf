"""Tokens: bearer tokens for people and programs, enrolment tokens for boards. For admins."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from server.access.auth import Admin
from server.access.presenter import enrolment_token_resource, token_resource
from server.access.schemas import (
    EnrolmentTokenBody,
    EnrolmentTokenResource,
    NewEnrolmentTokenResource,
    NewTokenResource,
    TokenBody,
    TokenResource,
)
from server.access.token import Role
from server.bootstrap.http_context import Context
from server.core.http.listing import answer_page, page_in_memory, page_request
from server.core.http.openapi import COMMON, problems
from server.core.http.problem_types import INVALID_PAGE_TOKEN, NOT_FOUND
from server.core.http.queries import ListQuery
from server.core.http.resources import Listing

router = APIRouter(prefix="/api/v1", tags=["tokens"])
TokenId = Annotated[str, Path(examples=["tok_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
_NO_STORE = {"Cache-Control": "no-store"}


@router.get("/tokens", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_tokens(
    request: Request, response: Response, context: Context, _: Admin, query: Annotated[ListQuery, Query()]
) -> Listing[TokenResource]:
    """Every token, oldest first, revoked ones included."""
    wanted = page_request(request, query, context.page_tokens)
    page = page_in_memory(context.tokens.all(), lambda token: token.id, wanted)
    return answer_page(request, response, context.page_tokens, page, [token_resource(t) for t in page.items])


@router.post("/tokens", status_code=201, responses=problems(*COMMON))
def create_token(body: TokenBody, response: Response, context: Context, _: Admin) -> NewTokenResource:
    """Make a token. Its secret is in this answer only; for that reason an Idempotency-Key has no effect here."""
    roles = [Role(role) for role in body.roles]
    token, secret = context.tokens.create(body.name, roles, _expiry(context, body.expires_in_s))
    response.headers.update({**_NO_STORE, "Location": f"/api/v1/tokens/{token.id}"})
    return NewTokenResource(**dict(token_resource(token)), secret=secret)


@router.get("/tokens/{token_id:id}", responses=problems(*COMMON, NOT_FOUND))
def get_token(token_id: TokenId, context: Context, _: Admin) -> TokenResource:
    """One token, without its secret."""
    return token_resource(context.tokens.get(token_id))


@router.delete("/tokens/{token_id:id}", status_code=204, responses=problems(*COMMON, NOT_FOUND))
def revoke_token(token_id: TokenId, context: Context, _: Admin) -> None:
    """Let a token be used no more."""
    context.tokens.get(token_id)
    context.tokens.revoke(token_id)


@router.get("/enrolment-tokens", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_enrolment_tokens(
    request: Request, response: Response, context: Context, _: Admin, query: Annotated[ListQuery, Query()]
) -> Listing[EnrolmentTokenResource]:
    """Every enrolment token, oldest first, revoked ones included."""
    wanted = page_request(request, query, context.page_tokens)
    page = page_in_memory(context.devices.enrolment_tokens(), lambda token: token.id, wanted)
    items = [enrolment_token_resource(token) for token in page.items]
    return answer_page(request, response, context.page_tokens, page, items)


@router.post("/enrolment-tokens", status_code=201, responses=problems(*COMMON))
def create_enrolment_token(
    body: EnrolmentTokenBody, response: Response, context: Context, _: Admin
) -> NewEnrolmentTokenResource:
    """Make a token that lets boards enrol. Its secret is in this answer only; an Idempotency-Key has no effect."""
    token, secret = context.devices.create_enrolment_token(
        body.name, max_uses=body.max_uses, expires_at=_expiry(context, body.expires_in_s), labels=body.labels
    )
    response.headers.update(_NO_STORE)
    return NewEnrolmentTokenResource(**dict(enrolment_token_resource(token)), secret=secret)


@router.delete("/enrolment-tokens/{token_id:id}", status_code=204, responses=problems(*COMMON, NOT_FOUND))
def revoke_enrolment_token(token_id: TokenId, context: Context, _: Admin) -> None:
    """Let no board enrol with it any more; boards that have enrolled stay."""
    context.devices.revoke_enrolment_token(token_id)


def _expiry(context: Context, expires_in_s: int | None) -> datetime | None:
    if expires_in_s is None:
        return None
    return context.uow.read(lambda tx: tx.now()) + timedelta(seconds=expires_in_s)
