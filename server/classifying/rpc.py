"""Classifying jobs at the agents' endpoint: their assignments and their results."""

from __future__ import annotations

from hilnas.v1 import control_pb2
from hilnas.wire import classification_from_proto
from nas_engine.domain.measuring.classification import Classification
from server.artifacts.artifacts import Artifacts
from server.classifying.converters import classify_assignment
from server.classifying.results import ClassificationResults
from server.fleet.device import Device
from server.jobs.job import Job, LeaseRef
from server.jobs.payloads import read_payload
from server.jobs.results import ResultReceipt
from server.jobs.states import JobKind
from server.measuring.payloads import ClassifyPayload


class ClassifyingRpc:
    """The `DeviceWork` of classifying jobs."""

    kind = JobKind.CLASSIFY
    outcome = "classification"

    def __init__(self, results: ClassificationResults, artifacts: Artifacts) -> None:
        self.results = results
        self._artifacts = artifacts

    def assignment(self, device: Device, job: Job, ttl_s: float) -> control_pb2.Assignment:
        """A model and the images it is to classify."""
        payload = read_payload(ClassifyPayload, job.payload)
        model, images = self._artifacts.get(payload.model_sha256), self._artifacts.get(payload.images_sha256)
        return classify_assignment(job, payload, model, images, ttl_s)

    def artifacts(self, job: Job) -> frozenset[str]:
        """The model and the images."""
        payload = read_payload(ClassifyPayload, job.payload)
        return frozenset({payload.model_sha256, payload.images_sha256})

    def take(
        self,
        device: Device,
        lease: LeaseRef,
        envelope: control_pb2.ResultEnvelope,
        digest: str,
        checked: Job | ResultReceipt | None = None,
    ) -> ResultReceipt:
        """Take the classes a device ranked first."""

        def read(payload: ClassifyPayload) -> Classification:
            return classification_from_proto(envelope.classification, payload.num_images)

        return self.results.put(device.id, lease, digest, read, checked)

    def note_failure(self, device: Device, job: Job, failure: control_pb2.Failure) -> None:
        """Nothing: classifying runs no canary."""
