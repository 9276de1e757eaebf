"""Tokens, events and artifacts as resources."""

from __future__ import annotations

from server.api.schemas.system import (
    ArtifactResource,
    EnrolmentTokenResource,
    EventResource,
    TokenResource,
)
from server.service.values.artifact import Artifact
from server.service.values.device import EnrolmentToken
from server.service.values.event import Event
from server.service.values.token import ApiToken


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


def event_resource(event: Event) -> EventResource:
    """One event."""
    return EventResource(
        id=event.id,
        type=event.type.value,
        data=dict(event.payload),
        search_id=event.search_id,
        supernet_id=event.supernet_id,
        device_id=event.device_id,
        study_id=event.study_id,
        created_at=event.created_at,
    )


def artifact_resource(artifact: Artifact) -> ArtifactResource:
    """What is known of some bytes."""
    return ArtifactResource(
        sha256=artifact.sha256,
        size_bytes=artifact.size_bytes,
        media_type=artifact.media_type,
        created_at=artifact.created_at,
    )
