"""The SDK's groups of calls. Each answers with the very models the API's documents are made of."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeVar, cast

from pydantic import BaseModel, ValidationError

from hilnas.client.errors import ProtocolError
from hilnas.client.event_source import ReceivedEvent, follow
from hilnas.client.transport import Params, Transport
from nas_engine.domain.dominance import Dominance
from nas_engine.domain.json_value import JsonValue
from nas_engine.settings.algorithms import WarmStartSettings
from nas_engine.settings.base import STORED
from server.access.schemas import NewEnrolmentTokenResource, NewTokenResource, PrincipalResource, TokenResource
from server.artifacts.schemas import ArtifactResource, ArtifactScrubResource
from server.candidates.spec import SearchSpec
from server.fleet.schemas import DeviceDetail, DeviceResource, DeviceTypeResource, RuntimeResource
from server.jobs.schemas import JobDetail, JobResource
from server.jobs.workers.schemas import WorkerResource
from server.measuring.schemas import (
    LayerProfileResource,
    MeasurementDetail,
    MeasurementResource,
    SamplesResource,
)
from server.searches.answers.schemas import AnswerResource
from server.searches.candidate_schemas import CandidateResource, EvaluationResource, FrontResource
from server.searches.schemas import SearchResource, ValidationReport

M = TypeVar("M", bound=BaseModel)
_CHUNK_BYTES = 1 << 20
API = "/api/v1"
Document = Mapping[str, JsonValue]


def read(model: type[M], document: JsonValue) -> M:
    """An answer as its model; names that packages on the server bring need not be known here.

    Raises:
        ProtocolError: it is not one.
    """
    try:
        return model.model_validate(document, context=STORED)
    except ValidationError as error:
        raise ProtocolError(f"the server's answer is no {model.__name__}: {error}") from error


class Group:
    """Calls that share a transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def items(self, path: str, model: type[M], params: Params, limit: int | None = None) -> Iterator[M]:
        """Every item of a listing, page by page as it is consumed."""
        token: str | None = None
        num = 0
        page_size = 200 if limit is None else min(limit, 200)
        while limit is None or num < limit:
            page = self._transport.get(path, {**params, "page_size": page_size, "page_token": token})
            if not isinstance(page, Mapping) or not isinstance(page.get("items"), Sequence):
                raise ProtocolError(f"{path} did not answer with a page of items")
            for item in cast("Sequence[JsonValue]", page["items"]):
                yield read(model, item)
                num += 1
                if num == limit:
                    return
            token = cast("str | None", page.get("next_page_token"))
            if token is None:
                return


class SearchGroup(Group):
    """Searches, their candidates, fronts and events."""

    def create(
        self,
        spec: SearchSpec | Document,
        *,
        warm_start: WarmStartSettings | Document | None = None,
        idempotency_key: str | None = None,
    ) -> SearchResource:
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
        answer = self._transport.post(f"{API}/searches", document, idempotency_key=idempotency_key)
        return read(SearchResource, answer)

    def validate(self, spec: SearchSpec | Document) -> ValidationReport:
        """What a spec would do, without starting it."""
        return read(ValidationReport, self._transport.post(f"{API}/searches:validate", spec_document(spec)))

    def get(self, search_id: str) -> SearchResource:
        """Read one search by its id."""
        return read(SearchResource, self._transport.get(f"{API}/searches/{search_id}"))

    def all(
        self, *, states: Sequence[str] = (), owner: str | None = None, limit: int | None = None
    ) -> Iterator[SearchResource]:
        """Iterate over searches, or those of an owner (by name or id), newest first."""
        return self.items(f"{API}/searches", SearchResource, {"state": list(states), "owner": owner}, limit)

    def pause(self, search_id: str) -> SearchResource:
        """Ask no more candidates; what is in flight ends."""
        return self._act(search_id, "pause")

    def resume(self, search_id: str) -> SearchResource:
        """Go on with a paused search."""
        return self._act(search_id, "resume")

    def cancel(self, search_id: str) -> SearchResource:
        """End a search; it cannot be resumed."""
        return self._act(search_id, "cancel")

    def candidates(
        self,
        search_id: str,
        *,
        states: Sequence[str] = (),
        bounds: Sequence[str] = (),
        order_by: str = "seq",
        limit: int | None = None,
    ) -> Iterator[CandidateResource]:
        """Candidates; `bounds` such as ``latency_us:le:8000``, `order_by` such as ``-top1``."""
        params: Params = {"state": list(states), "metric": list(bounds), "order_by": order_by}
        return self.items(f"{API}/searches/{search_id}/candidates", CandidateResource, params, limit)

    def export_candidates(self, search_id: str, media_type: str) -> Iterator[bytes]:
        """Every candidate, as ``text/csv`` or ``application/x-ndjson``."""
        path = f"{API}/searches/{search_id}/candidates"
        with self._transport.stream(path, {"Accept": media_type}, timeout_s=60.0) as response:
            yield from response.iter_bytes()

    def candidate(self, candidate_id: str) -> CandidateResource:
        """Read one candidate by its id."""
        return read(CandidateResource, self._transport.get(f"{API}/candidates/{candidate_id}"))

    def evaluations(self, candidate_id: str) -> Iterator[EvaluationResource]:
        """Every evaluation of a candidate."""
        return self.items(f"{API}/candidates/{candidate_id}/evaluations", EvaluationResource, {})

    def picture(self, candidate_id: str) -> str:
        """SVG of a candidate's architecture."""
        return self._transport.request("GET", f"{API}/candidates/{candidate_id}/picture.svg").text

    def front(self, search_id: str, *, dominance: Dominance | str | None = None) -> FrontResource:
        """The non-dominated candidates; compared as the search's spec says, or by `dominance`."""
        params: Params = {"dominance": dominance}
        return read(FrontResource, self._transport.get(f"{API}/searches/{search_id}/front", params))

    def answer(
        self,
        search_id: str,
        *,
        latency_ms: float | None = None,
        latency_us: float | None = None,
        bounds: Sequence[str] = (),
    ) -> AnswerResource:
        """Which candidate to ship within bounds, what it beats, and how sure that is.

        Args:
            latency_ms, latency_us: most that the median latency may be.
            bounds: on other metrics, such as ``macs:le:3e8``.
        """
        params: Params = {"latency_ms": latency_ms, "latency_us": latency_us, "bound": list(bounds)}
        return read(AnswerResource, self._transport.get(f"{API}/searches/{search_id}/answer", params))

    def events(self, search_id: str, after_id: int = 0) -> Iterator[ReceivedEvent]:
        """What happens to a search, from the start or after an event, until it ends."""
        return follow(self._transport, f"{API}/searches/{search_id}/events", after_id)

    def _act(self, search_id: str, verb: str) -> SearchResource:
        return read(SearchResource, self._transport.post(f"{API}/searches/{search_id}:{verb}"))


class DeviceGroup(Group):
    """Boards of the farm and their reservations."""

    def all(
        self, *, device_type: str | None = None, states: Sequence[str] = (), owner: str | None = None
    ) -> Iterator[DeviceResource]:
        """Iterate over boards, or those of an owner (by name or id), by name."""
        filters: Params = {"device_type": device_type, "state": list(states), "owner": owner}
        return self.items(f"{API}/devices", DeviceResource, filters)

    def get(self, device_id: str) -> DeviceDetail:
        """One board with what it does now."""
        return read(DeviceDetail, self._transport.get(f"{API}/devices/{device_id}"))

    def types(self) -> Iterator[DeviceTypeResource]:
        """Iterate over the types of boards with how many there are."""
        return self.items(f"{API}/device-types", DeviceTypeResource, {})

    def runtimes(self) -> Iterator[RuntimeResource]:
        """Iterate over the inference engines of the boards, with the JSON schemas of their settings."""
        return self.items(f"{API}/runtimes", RuntimeResource, {})

    def change(self, device_id: str, verb: str, reason: str = "") -> DeviceResource:
        """``drain``, ``resume``, ``quarantine``, ``retire`` or (an admin) ``unretire`` a board."""
        answer = self._transport.post(f"{API}/devices/{device_id}:{verb}", {"reason": reason})
        return read(DeviceResource, answer)

    def confirm(self, device_id: str, device_class: str | None = None, reason: str = "") -> DeviceResource:
        """Vouch for the class of a board; None for the one it counts as now. For admins."""
        body: Document = {"device_class": device_class, "reason": reason}
        return read(DeviceResource, self._transport.post(f"{API}/devices/{device_id}:confirm", body))

    def reserve(self, device_id: str, reserved_by: str, duration_s: float) -> DeviceResource:
        """Keep jobs off a board for a person who needs it."""
        body: Document = {"reserved_by": reserved_by, "duration_s": duration_s}
        return read(DeviceResource, self._transport.post(f"{API}/devices/{device_id}:reserve", body))

    def release(self, device_id: str) -> DeviceResource:
        """End a reservation before its time."""
        return read(DeviceResource, self._transport.post(f"{API}/devices/{device_id}:release"))


class Measurements(Group):
    """The database of latency measurements."""

    def all(self, filters: Params | None = None, limit: int | None = None) -> Iterator[MeasurementResource]:
        """Measurements, newest first; filters as in ``GET /api/v1/measurements``."""
        return self.items(f"{API}/measurements", MeasurementResource, filters or {}, limit)

    def count(self, filters: Params | None = None) -> int:
        """How many match; filters as in `all`."""
        params: Params = {**(filters or {}), "page_size": 1, "include_total": True}
        page = self._transport.get(f"{API}/measurements", params)
        return int(cast("int", cast("Mapping[str, JsonValue]", page)["total"]))

    def get(self, measurement_id: str) -> MeasurementDetail:
        """One measurement with the state of the board around it."""
        return read(MeasurementDetail, self._transport.get(f"{API}/measurements/{measurement_id}"))

    def measure(self, spec: Document, *, idempotency_key: str | None = None) -> JobDetail:
        """Queue the measurement of a model that was uploaded; see ``POST /api/v1/measurements``."""
        return read(JobDetail, self._transport.post(f"{API}/measurements", spec, idempotency_key=idempotency_key))

    def samples(self, measurement_id: str) -> SamplesResource:
        """Read the raw samples of a measurement."""
        return read(SamplesResource, self._transport.get(f"{API}/measurements/{measurement_id}/samples"))

    def layers(self, measurement_id: str) -> LayerProfileResource:
        """Read how long each layer took, where the measurement was ordered with `layer_times`."""
        return read(LayerProfileResource, self._transport.get(f"{API}/measurements/{measurement_id}/layers"))

    def export(self, media_type: str, filters: Params | None = None) -> Iterator[bytes]:
        """Everything that matches, as ``text/csv`` or ``application/x-ndjson``."""
        headers = {"Accept": media_type}
        with self._transport.stream(f"{API}/measurements", headers, timeout_s=60.0, params=filters) as response:
            yield from response.iter_bytes()


class Jobs(Group):
    """Work of workers and devices."""

    def get(self, job_id: str) -> JobDetail:
        """One job with its place in the queue and what it gave."""
        return read(JobDetail, self._transport.get(f"{API}/jobs/{job_id}"))

    def all(
        self,
        *,
        states: Sequence[str] = (),
        kinds: Sequence[str] = (),
        search_id: str | None = None,
        owner: str | None = None,
        limit: int | None = None,
    ) -> Iterator[JobResource]:
        """Iterate over jobs, or those of a search or an owner (by name or id), newest first."""
        wanted: Params = {"state": list(states) or None, "kind": list(kinds) or None, "search_id": search_id}
        return self.items(f"{API}/jobs", JobResource, {**wanted, "owner": owner}, limit)

    def cancel(self, job_id: str) -> JobDetail:
        """Cancel the measurement of a model of one's own."""
        return read(JobDetail, self._transport.post(f"{API}/jobs/{job_id}:cancel"))


class WorkerGroup(Group):
    """Workers, which do what no device does."""

    def all(self) -> Iterator[WorkerResource]:
        """Iterate over workers with what they do, those that died lately among them."""
        return self.items(f"{API}/workers", WorkerResource, {})


class TokenGroup(Group):
    """Access tokens, enrolment tokens, and the principals that hold them."""

    def principals(self) -> Iterator[PrincipalResource]:
        """List who holds tokens and owns what is made with them, oldest first."""
        return self.items(f"{API}/principals", PrincipalResource, {})

    def all(self, *, owner: str | None = None) -> Iterator[TokenResource]:
        """List every token, or those of a principal (by name or id), oldest first."""
        return self.items(f"{API}/tokens", TokenResource, {"owner": owner})

    def create(
        self, name: str, roles: Sequence[str], expires_in_s: int | None = None, *, principal: str | None = None
    ) -> NewTokenResource:
        """Make a token; its secret is in this answer only.

        Args:
            principal: name of who holds it and owns what is made with it; None: a new one, named after the token.
        """
        body: Document = {"name": name, "roles": list(roles), "expires_in_s": expires_in_s}
        if principal is not None:  # a server of the first release knows no such field
            body = {**body, "principal": principal}
        return read(NewTokenResource, self._transport.post(f"{API}/tokens", body))

    def revoke(self, token_id: str) -> None:
        """Let a token be used no more."""
        self._transport.delete(f"{API}/tokens/{token_id}")

    def create_enrolment(
        self,
        name: str,
        max_uses: int | None = None,
        *,
        device_class: str = "emulated",
        device_type: str | None = None,
        expires_in_s: int | None = None,
    ) -> NewEnrolmentTokenResource:
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
        return read(NewEnrolmentTokenResource, self._transport.post(f"{API}/enrolment-tokens", body))


class ArtifactFiles(Group):
    """Files stored by the SHA-256 of their content."""

    def upload(
        self,
        path: Path,
        media_type: str = "application/octet-stream",
        *,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> ArtifactResource:
        """Store a file under the SHA-256 of its content; `on_bytes` is told how many more bytes were sent."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        response = self._transport.request(
            "PUT",
            f"{API}/artifacts/{digest}",
            content=lambda: _chunks(path.open("rb"), on_bytes),
            headers={"Content-Type": media_type},
        )
        return read(ArtifactResource, response.json())

    def download(self, sha256: str, path: Path, *, on_bytes: Callable[[int], None] = lambda _: None) -> None:
        """Fetch a content into a file, which appears whole and verified or not at all.

        Args:
            on_bytes: is told how many more bytes came.

        Raises:
            ProtocolError: what came does not have the digest.
        """
        partial = path.with_name(path.name + ".part")
        digest = hashlib.sha256()
        with partial.open("wb") as file:
            for chunk in self._transport.download(f"{API}/artifacts/{sha256}"):
                digest.update(chunk)
                file.write(chunk)
                on_bytes(len(chunk))
        if digest.hexdigest() != sha256:
            partial.unlink()
            raise ProtocolError(f"artifact {sha256} came with sha256 {digest.hexdigest()}: fetch it again")
        os.replace(partial, path)

    def start_scrub(self) -> ArtifactScrubResource:
        """Have every stored file read again and compared with its digest; `scrub_report` tells what was found."""
        return read(ArtifactScrubResource, self._transport.post(f"{API}/artifacts:scrub"))

    def scrub_report(self) -> ArtifactScrubResource:
        """Read what the last scrub found, or how far the one that runs is."""
        return read(ArtifactScrubResource, self._transport.get(f"{API}/artifacts:scrub"))


def _chunks(file: IO[bytes], on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
            on_bytes(len(chunk))


def spec_document(spec: BaseModel | Document) -> JsonValue:
    """What is sent for a spec."""
    return cast(JsonValue, spec.model_dump(mode="json")) if isinstance(spec, BaseModel) else spec
