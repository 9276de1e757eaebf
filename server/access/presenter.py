"""Tokens as resources."""

from __future__ import annotations

from server.access.enrolment_token import EnrolmentToken
from server.access.schemas import EnrolmentTokenResource, TokenResource
from server.access.token import ApiToken


def token_resource(token: ApiToken) -> TokenResource:
    """One token, without its secret."""
    return TokenResource(
        id=token.id,
        name=token.name,
        prefix=token.prefix,
        roles=[role.value for role in sorted(token.roles, key=lambda role: role.value)],
        created_at=token.created_at,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
        last_used_at=token.last_used_at,
    )


def enrolment_token_resource(token: EnrolmentToken) -> EnrolmentTokenResource:
    """One enrolment token, without its secret."""
    return EnrolmentTokenResource(
        id=token.id,
        name=token.name,
        max_uses=token.max_uses,
        num_uses=token.num_uses,
        labels=dict(token.labels),
        created_at=token.created_at,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
    )
