"""Tokens: bearer tokens for people and programs, enrolment tokens for boards. For admins."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Path, Query
from starlette.responses import Response

from server.access.auth import LABELS_FIT, Permitted, TokensDep
from server.access.changes.recording import PermittedChange
from server.access.enrolment_token import EnrolmentToken
from server.access.schemas import (
    EnrolmentTokenBody,
    EnrolmentTokenResource,
    NewEnrolmentTokenResource,
    NewTokenResource,
    OwnedListQuery,
    PrincipalAmendment,
    PrincipalResource,
    TokenBody,
    TokenResource,
)
from server.access.token import Role
from server.access.tokens import EnrolmentTokens, Principals
from server.core.database.transaction import UnitOfWork
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.paging import PagingDep, page_in_memory
from server.core.http.problem_types import INVALID_PAGE_TOKEN, NOT_FOUND
from server.core.http.provide import UowDep, provided
from server.core.http.resources import Listing, ListQuery

router = api_router("tokens", dependencies=[LABELS_FIT])
PrincipalsDep = Annotated[Principals, provided(Principals)]
EnrolmentTokensDep = Annotated[EnrolmentTokens, provided(EnrolmentTokens)]
TokenId = Annotated[
    str, Path(description="Id of the token, as the server gave it.", examples=["tok_01jd3x5w8k2v7m4q9r6t1y0z3a"])
]
PrincipalId = Annotated[
    str,
    Path(description="Id of the principal, as the server gave it.", examples=["prin_01jd3x5w8k2v7m4q9r6t1y0z3a"]),
]
_NO_STORE = {"Cache-Control": "no-store"}


@router.get("/principals", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_principals(
    paging: PagingDep, principals: PrincipalsDep, _: Permitted, query: Annotated[ListQuery, Query()]
) -> Listing[PrincipalResource]:
    """List who holds tokens and owns what is made with them, oldest first. Its tokens: `/tokens?owner=`."""
    page = principals.page_of_principals(paging.wanted(query))
    return paging.listing(page, [PrincipalResource.of(one) for one in page.items])


@router.get("/principals/{principal_id:id}", responses=problems(*COMMON, NOT_FOUND))
def get_principal(principal_id: PrincipalId, principals: PrincipalsDep, _: Permitted) -> PrincipalResource:
    """Read one principal, with the weight of its jobs."""
    return PrincipalResource.of(principals.get_principal(principal_id))


@router.patch("/principals/{principal_id:id}", responses=problems(*COMMON, NOT_FOUND))
def amend_principal(
    principal_id: PrincipalId, body: PrincipalAmendment, principals: PrincipalsDep, change: PermittedChange
) -> PrincipalResource:
    """Set the weight of a principal's jobs: of 2, it gets twice as much measuring as one of 1 while both wait."""
    return PrincipalResource.of(change(lambda: principals.weigh(principal_id, body.weight), lambda _: principal_id))


@router.get("/tokens", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_tokens(
    paging: PagingDep, tokens: TokensDep, _: Permitted, query: Annotated[OwnedListQuery, Query()]
) -> Listing[TokenResource]:
    """List every token, oldest first, revoked ones included."""
    wanted = paging.wanted(query)
    page = page_in_memory(tokens.all(query.owner), lambda token: token.id, wanted)
    return paging.listing(page, [TokenResource.of(t) for t in page.items])


@router.post("/tokens", status_code=201, responses=problems(*COMMON))
def create_token(
    body: TokenBody, response: Response, tokens: TokensDep, uow: UowDep, change: PermittedChange
) -> NewTokenResource:
    """Make a token. Its secret is in this answer only; for that reason an Idempotency-Key has no effect here."""
    roles = [Role(role) for role in body.roles]
    token, secret = change(
        lambda: tokens.create(body.name, roles, _expiry(uow, body.expires_in_s), principal=body.principal),
        lambda made: made[0].id,
    )
    response.headers.update({**_NO_STORE, "Location": f"/api/v1/tokens/{token.id}"})
    return NewTokenResource.of(token, secret=secret)


@router.get("/tokens/{token_id:id}", responses=problems(*COMMON, NOT_FOUND))
def get_token(token_id: TokenId, tokens: TokensDep, _: Permitted) -> TokenResource:
    """Read one token, without its secret."""
    return TokenResource.of(tokens.get(token_id))


@router.delete("/tokens/{token_id:id}", status_code=204, responses=problems(*COMMON, NOT_FOUND))
def revoke_token(token_id: TokenId, tokens: TokensDep, change: PermittedChange) -> None:
    """Refuse a token from now on."""
    tokens.get(token_id)
    change(lambda: tokens.revoke(token_id), lambda _: token_id)


@router.get("/enrolment-tokens", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_enrolment_tokens(
    paging: PagingDep, enrolment_tokens: EnrolmentTokensDep, _: Permitted, query: Annotated[OwnedListQuery, Query()]
) -> Listing[EnrolmentTokenResource]:
    """List every enrolment token, oldest first, revoked ones included."""
    wanted = paging.wanted(query)
    page = page_in_memory(enrolment_tokens.all(query.owner), lambda token: token.id, wanted)
    items = [EnrolmentTokenResource.of(token) for token in page.items]
    return paging.listing(page, items)


@router.post("/enrolment-tokens", status_code=201, responses=problems(*COMMON))
def create_enrolment_token(
    body: EnrolmentTokenBody,
    response: Response,
    enrolment_tokens: EnrolmentTokensDep,
    uow: UowDep,
    caller: Permitted,
    change: PermittedChange,
) -> NewEnrolmentTokenResource:
    """Make a token that lets boards enrol. Its secret is in this answer only; an Idempotency-Key has no effect."""

    def create() -> tuple[EnrolmentToken, str]:
        return enrolment_tokens.create(
            body.name,
            device_class=body.device_class,
            device_type=body.device_type,
            max_uses=body.max_uses,
            expires_at=_expiry(uow, body.expires_in_s),
            labels=body.labels,
            creator=caller.creator,
        )

    token, secret = change(create, lambda made: made[0].id)
    response.headers.update(_NO_STORE)
    return NewEnrolmentTokenResource.of(token, secret=secret)


@router.delete("/enrolment-tokens/{enrolment_token_id:id}", status_code=204, responses=problems(*COMMON, NOT_FOUND))
def revoke_enrolment_token(
    enrolment_token_id: TokenId, enrolment_tokens: EnrolmentTokensDep, change: PermittedChange
) -> None:
    """Refuse enrolments with a token from now on; boards that have enrolled stay."""
    change(lambda: enrolment_tokens.revoke(enrolment_token_id), lambda _: enrolment_token_id)


def _expiry(uow: UnitOfWork, expires_in_s: int | None) -> datetime | None:
    if expires_in_s is None:
        return None
    return uow.read(lambda tx: tx.now()) + timedelta(seconds=expires_in_s)
