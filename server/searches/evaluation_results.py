"""Results of accuracy evaluations: the value goes to the candidate, its network to a device where that is wanted."""

from __future__ import annotations

from dataclasses import replace

from nas_engine.domain.measuring.classification import compress_predictions, top1
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.measuring.paired import CorrectAnswers
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import accuracy_on
from server.artifacts.store import ArtifactStore
from server.candidates.candidate import Candidate, Evaluation, HeldOutAccuracy, check_answers
from server.candidates.candidate_store import CandidateStore
from server.candidates.lifecycle import advance, record_value
from server.candidates.payloads import EvaluatePayload
from server.candidates.search import Search
from server.candidates.search_store import SearchStore
from server.candidates.states import EvaluationSource
from server.classifying.classification import ClassificationRecord, ReferencePredictions
from server.classifying.orders import ClassificationScheduler, ImageChoice
from server.classifying.results import store_compared
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.ids import IdPrefix, new_id
from server.jobs.completion import complete_job
from server.jobs.job import LeaseRef
from server.jobs.payloads import read_payload
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.measuring.conversion import ConvertedModel
from server.training.deployables import order_deployable


class EvaluationResults:
    """Takes accuracies in from the workers that found them."""

    def __init__(self, uow: UnitOfWork, settings: SearchSettings | None = None) -> None:
        self._uow = uow
        self._settings = settings or SearchSettings()
        self._classification = ClassificationScheduler(self._settings)

    def record(
        self,
        lease: LeaseRef,
        accuracy: HeldOutAccuracy,
        final_model: ConvertedModel | None = None,
        reference: ReferencePredictions | None = None,
        answers: CorrectAnswers | None = None,
    ) -> None:
        """End an EVALUATE job with its value; completes the candidate and opens the barrier where it was the last.

        Args:
            lease: of the job.
            accuracy: on the images the job asked for.
            final_model: with a test accuracy, the network exported with the same weights (an artifact already).
            reference: what that network predicts for the images a device is to classify with it, which is queued.
            answers: which images the accuracy got right: by them it is compared with that of others, image by image.

        Raises:
            LeaseLostError: somebody else has the job by now; nothing is written.
            InvalidValueError: the answers do not make the accuracy.
        """
        check_answers(accuracy, answers)

        def work(tx: Transaction) -> None:
            payload = read_payload(EvaluatePayload, JobStore(tx).get_job(lease.job_id).payload)
            search = SearchStore(tx).lock_search(payload.search_id)
            job = JobStore(tx).lock_job_of_lease(lease)
            metric = accuracy_on(payload.split)
            evaluation = _evaluated(tx, payload, metric, accuracy.top1, accuracy.standard_error)
            complete_job(tx, job, {"top1": accuracy.top1})
            candidate = CandidateStore(tx).get_candidate(payload.candidate_id)
            if final_model is not None:
                ArtifactStore(tx).get_artifact(final_model.sha256)
                candidate = replace(candidate, final_model_sha256=final_model.sha256)
                CandidateStore(tx).save_candidate(candidate)
            if final_model is not None and reference is not None and not search.state.final:
                self._classify(tx, search, candidate, final_model, reference)
            elif final_model is not None:
                order_deployable(tx, search, candidate, self._settings.max_evaluation_attempts)
            search = record_value(tx, search, candidate, evaluation, answers)
            advance(tx, search, self._settings)

        self._uow.write(work)

    def record_value(self, lease: LeaseRef, metric: Metric, value: float, uncertainty: float | None) -> None:
        """End an EVALUATE job of another metric than accuracy with its value.

        Raises:
            LeaseLostError: somebody else has the job by now; nothing is written.
        """

        def work(tx: Transaction) -> None:
            payload = read_payload(EvaluatePayload, JobStore(tx).get_job(lease.job_id).payload)
            search = SearchStore(tx).lock_search(payload.search_id)
            job = JobStore(tx).lock_job_of_lease(lease)
            evaluation = _evaluated(tx, payload, metric, value, uncertainty)
            complete_job(tx, job, {metric.name: value})
            candidate = CandidateStore(tx).get_candidate(payload.candidate_id)
            advance(tx, record_value(tx, search, candidate, evaluation), self._settings)

        self._uow.write(work)

    def _classify(
        self,
        tx: Transaction,
        search: Search,
        candidate: Candidate,
        model: ConvertedModel,
        reference: ReferencePredictions,
    ) -> None:
        """Keep what the float network predicts as the reference, and have the device classify the same images."""
        ArtifactStore(tx).get_artifact(reference.images_sha256)
        record = ClassificationRecord(
            id=new_id(IdPrefix.CLASSIFICATION),
            source=EvaluationSource.EVALUATED,
            images_sha256=reference.images_sha256,
            num_images=len(reference.labels),
            num_classes=reference.num_classes,
            num_correct=top1(reference.predictions, reference.labels).num_correct,
            model_sha256=model.sha256,
            source_sha256=model.sha256,
            dtype=Dtype.FP32,
            batch=1,
            search_id=search.id,
            candidate_id=candidate.id,
            arch_id=candidate.arch_id,
            predictions=compress_predictions(reference.predictions),
            created_at=tx.now(),
        )
        store_compared(tx, record, reference.labels)
        images = ImageChoice(sha256=reference.images_sha256, num_images=len(reference.labels))
        self._classification.order(tx, search, candidate, images)


def _evaluated(
    tx: Transaction, payload: EvaluatePayload, metric: Metric, value: float, uncertainty: float | None
) -> Evaluation:
    return Evaluation(
        id=new_id(IdPrefix.EVALUATION),
        search_id=payload.search_id,
        candidate_id=payload.candidate_id,
        metric=metric,
        value=value,
        uncertainty=uncertainty,
        source=EvaluationSource.EVALUATED,
        attempt=payload.attempt,
        supernet_version_id=payload.supernet_version_id,
        created_at=tx.now(),
    )
