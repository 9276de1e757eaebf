"""Orders classifications on devices: of a front member's deployable model, and of a user's own model."""

from __future__ import annotations

from dataclasses import dataclass

from nas_engine.domain.metrics import DEVICE_TOP1
from server.artifacts.artifact import ModelFormat, WeightsOrigin
from server.candidates.candidate import Candidate
from server.candidates.evaluations import next_attempt, record_awaited
from server.candidates.search import Search
from server.core.database.transaction import Transaction
from server.core.database.wakeups import Topic
from server.core.errors import InvalidValueError
from server.fleet.selection import converter_labels, format_for
from server.fleet.store import HardwareStore
from server.jobs.job import JobTarget, NewJob
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.jobs.states import JobKind
from server.measuring.classify_orders import queue_classification
from server.measuring.payloads import ClassifyPayload, ConvertPayload, MeasureTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageChoice:
    """The first `num_images` of an image set."""

    sha256: str
    num_images: int


class ClassificationScheduler:
    """Runs inside the caller's transaction, on locked searches."""

    def __init__(self, settings: SearchSettings) -> None:
        self._settings = settings

    def order(self, tx: Transaction, search: Search, candidate: Candidate, images: ImageChoice) -> None:
        """Queue a front member's classification on the search's hardware; the search does not end before.

        RKNN boards get it converted first, as they get it for measuring.
        """
        device = search.spec.device
        if search.hardware_key is None or device is None or candidate.final_model_sha256 is None:
            raise InvalidValueError(f"candidate {candidate.id} has no model, or its search no device, to classify with")
        profile = HardwareStore(tx).get_hardware(search.hardware_key)
        attempt = next_attempt(tx, candidate, DEVICE_TOP1)
        record_awaited(tx, search, candidate, DEVICE_TOP1, attempt, search.supernet_version_id)
        model = candidate.final_model_sha256
        classify = ClassifyPayload(
            model_sha256=model,
            source_sha256=model,
            model_format=format_for(profile.key.identity.runtime),
            images_sha256=images.sha256,
            num_images=images.num_images,
            dtype=device.dtype,
            batch=device.batch,
            hardware_key=profile.hardware_key,
            core_mask=profile.key.identity.core_mask,
            timeout_s=search.spec.final.timeout_s,
            arch_id=candidate.arch_id,
            attempt=attempt,
        )
        target = MeasureTarget(
            device_type=device.device_type,
            pool_key=profile.pool_key,
            labels=dict(device.labels),
            max_attempts=search.spec.measurement.max_attempts,
        )
        if classify.model_format is ModelFormat.ONNX:
            queue_classification(
                tx, classify, target, priority=search.spec.priority, candidate=candidate, owner=search.owner
            )
        else:
            self._queue_conversion(tx, search, candidate, classify, target)

    def _queue_conversion(
        self, tx: Transaction, search: Search, candidate: Candidate, classify: ClassifyPayload, target: MeasureTarget
    ) -> None:
        """Queue the conversion after which the board classifies."""
        convert = ConvertPayload(
            arch_id=candidate.arch_id,
            latency_key=classify.source_sha256,
            hardware_key=classify.hardware_key,
            format=classify.model_format,
            dtype=classify.dtype,
            batch=classify.batch,
            weights=WeightsOrigin.INHERITED,
            supernet_version_id=search.supernet_version_id,
            search_id=search.id,
            candidate_id=candidate.id,
            source_sha256=classify.source_sha256,
            classify=classify,
            measure_target=target,
        )
        JobStore(tx).add_job(
            NewJob(
                kind=JobKind.CONVERT,
                payload=convert.to_json(),
                dedupe_key=f"convert-final:{candidate.id}:{classify.attempt}",
                priority=search.spec.priority,
                target=JobTarget(labels=converter_labels(classify.model_format)),
                max_attempts=self._settings.max_evaluation_attempts,
                search_id=search.id,
                owner=search.owner,
                candidate_id=candidate.id,
            )
        )
        tx.wake(Topic.WORKER_JOBS)
