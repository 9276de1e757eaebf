"""The SDK's calls for jobs, which can be waited for, and for what boards measure and classify."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from hilnas.client.core.calls import M, call, listing, stream
from hilnas.client.core.group import Document, Group, read
from hilnas.client.core.paths import path_of
from hilnas.client.core.steps import Call, Items, Params
from hilnas.client.handles import Handle
from nas_engine.domain.json_value import JsonValue
from server.classifying.schemas import ClassificationDetail, ClassificationResource
from server.jobs.schemas import JobDetail, JobResource
from server.jobs.states import JobState
from server.latencies.schemas import LatencyAnswersResource, LatencyPredictorResource, OfferedHardwareResource
from server.measuring.schemas import LayerProfileResource, MeasurementDetail, MeasurementResource, SamplesResource


class Job(Handle[M], JobDetail):
    """A job as it was when it was read; its methods ask the server anew.

    Of a job that another goes on from, as the measurement does from a conversion, ``result["next_job_id"]`` names that.
    """

    COLLECTION, NOUN, SUCCESS = "jobs", "job", JobState.DONE


class Jobs(Group[M]):
    """Work of workers and devices."""

    @call
    def get(self, job_id: str) -> Call[Job[M]]:
        """One job with its place in the queue and what it gave."""
        return self.read(Job, (yield from self._http.get(path_of("jobs", job_id))))

    @listing
    def all(
        self,
        *,
        states: Sequence[str] = (),
        kinds: Sequence[str] = (),
        search_id: str | None = None,
        owner: str | None = None,
        limit: int | None = None,
    ) -> Items[JobResource]:
        """Iterate over jobs, or those of a search or an owner (by name or id), newest first."""
        wanted: Params = {"state": list(states) or None, "kind": list(kinds) or None, "search_id": search_id}
        return self.items(path_of("jobs"), JobResource, {**wanted, "owner": owner}, limit)

    @call
    def cancel(self, job_id: str) -> Call[Job[M]]:
        """Cancel the measurement of a model of one's own."""
        return self.read(Job, (yield from self._http.post(path_of("jobs", job_id, verb="cancel"))))


class Measurements(Group[M]):
    """The database of latency measurements."""

    @listing
    def all(self, filters: Params | None = None, limit: int | None = None) -> Items[MeasurementResource]:
        """Measurements, newest first; filters as in ``GET /api/v1/measurements``."""
        return self.items(path_of("measurements"), MeasurementResource, filters or {}, limit)

    @call
    def count(self, filters: Params | None = None) -> Call[int]:
        """How many match; filters as in `all`."""
        params: Params = {**(filters or {}), "page_size": 1, "include_total": True}
        page = yield from self._http.get(path_of("measurements"), params)
        return int(cast("int", cast("Mapping[str, JsonValue]", page)["total"]))

    @call
    def get(self, measurement_id: str) -> Call[MeasurementDetail]:
        """One measurement with the state of the board around it."""
        return read(MeasurementDetail, (yield from self._http.get(path_of("measurements", measurement_id))))

    @call
    def measure(self, spec: Document, *, idempotency_key: str | None = None) -> Call[Job[M]]:
        """Queue the measurement of a model that was uploaded; see ``POST /api/v1/measurements``."""
        return self.read(
            Job, (yield from self._http.post(path_of("measurements"), spec, idempotency_key=idempotency_key))
        )

    @call
    def samples(self, measurement_id: str) -> Call[SamplesResource]:
        """Read the raw samples of a measurement."""
        return read(SamplesResource, (yield from self._http.get(path_of("measurements", measurement_id, "samples"))))

    @call
    def layers(self, measurement_id: str) -> Call[LayerProfileResource]:
        """Read how long each layer took, where the measurement was ordered with `layer_times`."""
        return read(
            LayerProfileResource, (yield from self._http.get(path_of("measurements", measurement_id, "layers")))
        )

    @stream
    def export(self, media_type: str, filters: Params | None = None) -> Items[bytes]:
        """Everything that matches, as ``text/csv`` or ``application/x-ndjson``."""
        headers = {"Accept": media_type}
        return self.chunks(path_of("measurements"), headers, timeout_s=60.0, params=filters)


class LatencyGroup(Group[M]):
    """Latencies without a board: measured, estimated, or to be measured; what estimates and hardware keys there are."""

    @call
    def query(
        self,
        *,
        architectures: Sequence[Document] = (),
        models: Sequence[str] = (),
        devices: Sequence[Document | str],
        require_valid: bool = False,
        same_structure: bool = False,
        queue_missing: bool = False,
        queue_estimated: bool = False,
        measurement: Document | None = None,
        priority: int = 0,
        idempotency_key: str | None = None,
    ) -> Call[LatencyAnswersResource]:
        """Ask for many networks on many device types in one call; see ``POST /api/v1/latencies:query``.

        Args:
            architectures: each ``{"arch_id": ...}``, or ``{"space": {"id": ...}, "genotype": [...]}``.
            models: sha256 of uploaded ONNX files.
            devices: device types, or documents that narrow one: ``{"device_type": ..., "runtime": ...}``.
            require_valid: whether measurements with validity flags count as none.
            same_structure: whether measurements of other architectures that are alike count.
            queue_missing, queue_estimated: whether to have measured what is neither measured nor estimated, and what is
                estimated.
            measurement: how that is measured; None for the defaults.
            priority: of what is queued.
            idempotency_key: for calls that queue measurements.
        """
        asked = [{"device_type": one} if isinstance(one, str) else dict(one) for one in devices]
        question: dict[str, JsonValue] = {
            "architectures": [dict(one) for one in architectures],
            "models": list(models),
            "devices": asked,
            "require_valid": require_valid,
            "same_structure": same_structure,
            "queue_missing": queue_missing,
            "queue_estimated": queue_estimated,
            "priority": priority,
        }
        if measurement is not None:
            question["measurement"] = dict(measurement)
        path = path_of("latencies", verb="query")
        answer = yield from self._http.post(path, question, idempotency_key=idempotency_key)
        return read(LatencyAnswersResource, answer)

    @listing
    def hardware(self, *, device_type: str | None = None, runtime: str | None = None) -> Items[OfferedHardwareResource]:
        """Hardware keys with runtime, versions, clocks and cores, and the device types that offer each now."""
        filters: Params = {"device_type": device_type, "runtime": runtime}
        return self.items(path_of("hardware-keys"), OfferedHardwareResource, filters)

    @listing
    def predictors(
        self, *, device_type: str | None = None, hardware_key: str | None = None
    ) -> Items[LatencyPredictorResource]:
        """Predictors, of measured architectures and of latency tables, newest first: what they stand on, and how often
        their intervals held.
        """
        filters: Params = {"device_type": device_type, "hardware_key": hardware_key}
        return self.items(path_of("latency-predictors"), LatencyPredictorResource, filters)


class ClassificationGroup(Group[M]):
    """What models answered on devices, and what is lost against float."""

    @listing
    def all(self, filters: Params | None = None, limit: int | None = None) -> Items[ClassificationResource]:
        """Classifications, newest first; filters as in ``GET /api/v1/classifications``."""
        return self.items(path_of("classifications"), ClassificationResource, filters or {}, limit)

    @call
    def get(self, classification_id: str) -> Call[ClassificationDetail]:
        """One classification with the class it gave to every image."""
        answer = yield from self._http.get(path_of("classifications", classification_id))
        return read(ClassificationDetail, answer)
