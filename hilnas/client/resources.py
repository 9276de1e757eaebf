"""The SDK's groups of calls. Each answers with the very models the API's documents are made of."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO

from hilnas.client.core.calls import M, call, listing
from hilnas.client.core.group import Document, Group, read
from hilnas.client.core.paths import path_of
from hilnas.client.core.steps import Call, Items, Params, Work
from hilnas.client.errors import ProtocolError
from nas_engine.domain.json_value import JsonValue
from server.access.changes.change import ActorKind, ChangeAction, SubjectKind
from server.access.changes.schemas import ChangeResource
from server.access.schemas import NewEnrolmentTokenResource, NewTokenResource, PrincipalResource, TokenResource
from server.artifacts.schemas import ArtifactResource, ArtifactScrubResource
from server.fleet.schemas import DeviceDetail, DeviceResource, DeviceTypeResource, RuntimeResource
from server.jobs.workers.schemas import WorkerResource

_CHUNK_BYTES = 1 << 20


class DeviceGroup(Group[M]):
    """Boards of the farm and their reservations."""

    @listing
    def all(
        self, *, device_type: str | None = None, states: Sequence[str] = (), owner: str | None = None
    ) -> Items[DeviceResource]:
        """Iterate over boards, or those of an owner (by name or id), by name."""
        filters: Params = {"device_type": device_type, "state": list(states), "owner": owner}
        return self.items(path_of("devices"), DeviceResource, filters)

    @call
    def get(self, device_id: str) -> Call[DeviceDetail]:
        """One board with what it does now."""
        return read(DeviceDetail, (yield from self._http.get(path_of("devices", device_id))))

    @listing
    def types(self) -> Items[DeviceTypeResource]:
        """Iterate over the types of boards with how many there are."""
        return self.items(path_of("device-types"), DeviceTypeResource, {})

    @listing
    def runtimes(self) -> Items[RuntimeResource]:
        """Iterate over the inference engines of the boards, with the JSON schemas of their settings."""
        return self.items(path_of("runtimes"), RuntimeResource, {})

    @call
    def change(self, device_id: str, verb: str, reason: str = "") -> Call[DeviceResource]:
        """``drain``, ``resume``, ``quarantine``, ``retire`` or (an admin) ``unretire`` a board."""
        answer = yield from self._http.post(path_of("devices", device_id, verb=verb), {"reason": reason})
        return read(DeviceResource, answer)

    @call
    def confirm(self, device_id: str, device_class: str | None = None, reason: str = "") -> Call[DeviceResource]:
        """Vouch for the class of a board; None for the one it counts as now. For admins."""
        body: Document = {"device_class": device_class, "reason": reason}
        return read(DeviceResource, (yield from self._http.post(path_of("devices", device_id, verb="confirm"), body)))

    @call
    def reserve(self, device_id: str, reserved_by: str, duration_s: float) -> Call[DeviceResource]:
        """Keep jobs off a board for a person who needs it."""
        body: Document = {"reserved_by": reserved_by, "duration_s": duration_s}
        return read(DeviceResource, (yield from self._http.post(path_of("devices", device_id, verb="reserve"), body)))

    @call
    def release(self, device_id: str) -> Call[DeviceResource]:
        """End a reservation before its time."""
        return read(DeviceResource, (yield from self._http.post(path_of("devices", device_id, verb="release"))))

    @call
    def share(
        self,
        device_id: str,
        *,
        users: Sequence[str] | None = None,
        windows: Sequence[Document] = (),
        time_zone: str = "UTC",
        max_hours_per_day: float | None = None,
        max_share_per_day: float | None = None,
    ) -> Call[DeviceResource]:
        """Replace the rules by which others than its owner use a board; without any argument nobody is held up.

        Args:
            users: names or ids of who may use it besides its owner; None for everybody, () for its owner alone.
            windows: when it takes work of others: ``{"days": ["sat", "sun"], "start": "00:00", "end": "24:00"}``; one
                without ``days`` is of every day, one that ends before it starts ends on the day after.
            time_zone: IANA name; of the windows, and of the day.
            max_hours_per_day: board time that each other owner gets in a calendar day, hours.
            max_share_per_day: the same as a fraction of the day; give one of the two.
        """
        body: Document = {
            "users": None if users is None else list(users),
            "windows": [dict(window) for window in windows],
            "time_zone": time_zone,
            "max_hours_per_day": max_hours_per_day,
            "max_share_per_day": max_share_per_day,
        }
        return read(DeviceResource, (yield from self._http.put(path_of("devices", device_id, "rules"), body)))

    @call
    def give(self, device_id: str, owner: str) -> Call[DeviceResource]:
        """Make a board somebody's, by name or id. For admins."""
        body: Document = {"owner": owner}
        return read(DeviceResource, (yield from self._http.put(path_of("devices", device_id, "owner"), body)))


class WorkerGroup(Group[M]):
    """Workers, which do what no device does."""

    @listing
    def all(self) -> Items[WorkerResource]:
        """Iterate over workers with what they do, those that died lately among them."""
        return self.items(path_of("workers"), WorkerResource, {})


class TokenGroup(Group[M]):
    """Access tokens, enrolment tokens, and the principals that hold them."""

    @listing
    def principals(self) -> Items[PrincipalResource]:
        """List who holds tokens and owns what is made with them, oldest first."""
        return self.items(path_of("principals"), PrincipalResource, {})

    @call
    def weigh(self, principal: str, weight: float) -> Call[PrincipalResource]:
        """Set the weight of a principal's jobs (by its name or id): of 2, it gets twice as much measuring as one of 1
        while both wait; .1 to 100. For admins.
        """
        path = path_of("principals", principal)
        answer = yield from self._http.request("PATCH", path, json_body={"weight": weight})
        return read(PrincipalResource, answer.json())

    @listing
    def all(self, *, owner: str | None = None) -> Items[TokenResource]:
        """List every token, or those of a principal (by name or id), oldest first."""
        return self.items(path_of("tokens"), TokenResource, {"owner": owner})

    @call
    def create(
        self, name: str, roles: Sequence[str], expires_in_s: int | None = None, *, principal: str | None = None
    ) -> Call[NewTokenResource]:
        """Make a token; its secret is in this answer only.

        Args:
            principal: name of who holds it and owns what is made with it; None: a new one, named after the token.
        """
        body: Document = {"name": name, "roles": list(roles), "expires_in_s": expires_in_s}
        if principal is not None:  # a server of the first release knows no such field
            body = {**body, "principal": principal}
        return read(NewTokenResource, (yield from self._http.post(path_of("tokens"), body)))

    @call
    def revoke(self, token_id: str) -> Call[None]:
        """Let a token be used no more."""
        (yield from self._http.delete(path_of("tokens", token_id)))

    @call
    def create_enrolment(
        self,
        name: str,
        max_uses: int | None = None,
        *,
        device_class: str = "emulated",
        device_type: str | None = None,
        expires_in_s: int | None = None,
    ) -> Call[NewEnrolmentTokenResource]:
        """Make a token that lets devices enrol; its secret is in this answer only.

        Args:
            max_uses: number of devices that may enrol with it; None leaves it to the server (10).
            device_class: the most that devices let in with it count as: board, emulated or simulated.
            device_type: the only type of devices it lets in; boards need one.
            expires_in_s: seconds until it expires; None leaves it to the server (seven days).
        """
        body: dict[str, JsonValue] = {"name": name, "max_uses": max_uses, "device_class": device_class}
        if device_type is not None:
            body["device_type"] = device_type
        if expires_in_s is not None:
            body["expires_in_s"] = expires_in_s
        return read(NewEnrolmentTokenResource, (yield from self._http.post(path_of("enrolment-tokens"), body)))


class ChangeGroup(Group[M]):
    """Who did what, and when."""

    @listing
    def all(
        self,
        *,
        actor: str | None = None,
        actor_kinds: Sequence[ActorKind | str] = (),
        kinds: Sequence[SubjectKind | str] = (),
        subject_id: str | None = None,
        actions: Sequence[ChangeAction | str] = (),
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Items[ChangeResource]:
        """Iterate over changes, newest first: of what is the caller's own and what it did itself; for an admin, all.

        Args:
            actor: principal (by name or id), id of a token, ``server`` or ``anonymous``.
            actor_kinds, kinds, actions: any of these; empty: all.
            subject_id: the one thing that was changed.
            since, until: made at `since` or later, and before `until`; with their time zones.
        """
        filters: Params = {
            "actor": actor,
            "actor_kind": list(actor_kinds),
            "kind": list(kinds),
            "subject_id": subject_id,
            "action": list(actions),
            "since": None if since is None else since.isoformat(),
            "until": None if until is None else until.isoformat(),
        }
        return self.items(path_of("changes"), ChangeResource, filters)


class ArtifactFiles(Group[M]):
    """Files stored by the SHA-256 of their content."""

    @call
    def upload(
        self,
        path: Path,
        media_type: str = "application/octet-stream",
        *,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> Call[ArtifactResource]:
        """Store a file under the SHA-256 of its content; `on_bytes` is told how many more bytes were sent."""
        digest: str = yield Work(lambda: _digest(path))
        response = yield from self._http.request(
            "PUT",
            path_of("artifacts", digest),
            content=lambda: _chunks(path.open("rb"), on_bytes),
            headers={"Content-Type": media_type},
        )
        return read(ArtifactResource, response.json())

    @call
    def download(self, sha256: str, path: Path, *, on_bytes: Callable[[int], None] = lambda _: None) -> Call[None]:
        """Fetch a content into a file, which appears whole and verified or not at all.

        Args:
            sha256: its digest, or the first digits of that.
            on_bytes: is told how many more bytes came.

        Raises:
            ProtocolError: what came does not have the digest.
        """
        partial = path.with_name(path.name + ".part")
        digest = hashlib.sha256()
        with partial.open("wb") as file:
            yield from self._http.open(path_of("artifacts", sha256), {}, 60.0)
            while (chunk := (yield from self._http.chunk())) is not None:
                digest.update(chunk)
                file.write(chunk)
                on_bytes(len(chunk))
        if not digest.hexdigest().startswith(sha256.lower()):
            partial.unlink()
            raise ProtocolError(f"artifact {sha256} came with sha256 {digest.hexdigest()}: fetch it again")
        os.replace(partial, path)

    @call
    def start_scrub(self) -> Call[ArtifactScrubResource]:
        """Have every stored file read again and compared with its digest; `scrub_report` tells what was found."""
        return read(ArtifactScrubResource, (yield from self._http.post(path_of("artifacts", verb="scrub"))))

    @call
    def scrub_report(self) -> Call[ArtifactScrubResource]:
        """Read what the last scrub found, or how far the one that runs is."""
        return read(ArtifactScrubResource, (yield from self._http.get(path_of("artifacts", verb="scrub"))))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _chunks(file: IO[bytes], on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
            on_bytes(len(chunk))
