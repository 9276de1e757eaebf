"""Measuring jobs at the agents' endpoint: their assignments with a canary where one is due, and their results."""

from __future__ import annotations

import logging

from hilnas.v1 import control_pb2
from hilnas.wire import canary_from_proto, measurement_from_proto
from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.measurement import Measurement, MeasurementProfile
from nas_engine.domain.text import MAX_REASON_CHARACTERS, one_line
from server.artifacts.artifacts import Artifacts
from server.core.errors import InvalidValueError
from server.fleet.device import Device
from server.jobs.job import Job, LeaseRef
from server.jobs.payloads import read_payload
from server.jobs.results import ResultReceipt, ResultStatus
from server.jobs.states import JobKind
from server.measuring.canaries.canaries import Canaries
from server.measuring.converters import alarms_of, assignment_to_proto
from server.measuring.payloads import MeasurePayload
from server.measuring.results import MeasurementResults

_log = logging.getLogger(__name__)


class MeasuringRpc:
    """The `DeviceWork` of measuring jobs."""

    kind = JobKind.MEASURE
    outcome = "measurement"

    def __init__(self, results: MeasurementResults, artifacts: Artifacts, canaries: Canaries) -> None:
        self.results = results
        self._artifacts = artifacts
        self.canaries = canaries

    def assignment(self, device: Device, job: Job, ttl_s: float) -> control_pb2.Assignment:
        """A model to measure."""
        payload = read_payload(MeasurePayload, job.payload)
        model = self._artifacts.get(payload.model_sha256)
        return assignment_to_proto(job, payload, model, self.canaries.order(device, job), ttl_s)

    def artifacts(self, job: Job) -> frozenset[str]:
        """The model, and the golden model of its format."""
        payload = read_payload(MeasurePayload, job.payload)
        return self.canaries.golden_models(payload.model_format) | {payload.model_sha256}

    def take(
        self,
        device: Device,
        lease: LeaseRef,
        envelope: control_pb2.ResultEnvelope,
        digest: str,
        checked: Job | ResultReceipt | None = None,
    ) -> ResultReceipt:
        """Take a measurement, and after it the readings of its canaries."""
        message = envelope.measurement

        def read(payload: MeasurePayload) -> Measurement:
            max_blocks = MeasurementProfile.named(payload.profile).max_blocks_in_all
            return measurement_from_proto(message, max_blocks, with_layers=payload.layer_times)

        receipt = self.results.put(device.id, lease, digest, read, checked)
        if receipt.record_id is not None and receipt.status in (ResultStatus.ACCEPTED, ResultStatus.DUPLICATE):
            readings = (
                canary_from_proto(message.canary_before) if message.HasField("canary_before") else None,
                canary_from_proto(message.canary_after) if message.HasField("canary_after") else None,
            )
            again = receipt.status is ResultStatus.DUPLICATE
            self.canaries.take(device, lease, readings, alarm="; ".join(alarms_of(message)), again=again)
        return receipt

    def note_failure(self, device: Device, job: Job, failure: control_pb2.Failure) -> None:
        """Store the reading of a canary that was off before the measurement."""
        if not failure.HasField("canary"):
            return
        try:
            reading = canary_from_proto(failure.canary)
            alarm = one_line(failure.message, MAX_REASON_CHARACTERS) or "the canary is off"
            self.canaries.record(device, job.id, reading, alarm=alarm)
        except (InvalidMeasurementError, InvalidValueError) as error:
            _log.warning("canary of device %s not recorded: %s", device.id, error)
