"""Networks as they are shipped: the ONNX file of a retraining or a front member, and what is converted of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from nas_engine.domain.measuring.environment import Dtype
from server.access.principal import Principal
from server.artifacts.artifact import ModelFormat, WeightsOrigin
from server.artifacts.file_names import model_file_name
from server.candidates.candidate import Candidate
from server.candidates.candidate_store import CandidateStore
from server.candidates.search import Search
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.wakeups import Topic
from server.core.paging import MAX_PAGE_SIZE, PageRequest
from server.fleet.selection import converter_labels, format_for
from server.fleet.store import HardwareStore
from server.jobs.job import Job, JobQuery, JobTarget, NewJob
from server.jobs.payloads import read_payload
from server.jobs.queue import JobStore
from server.jobs.states import JobKind, JobState
from server.measuring.payloads import ConvertPayload
from server.training.networks.network import Network
from server.training.networks.store import NetworkStore
from server.training.training import DeployableState

_MadeOf = tuple[str, str]
"""Id of the search space, and of the architecture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainedModel:
    """What a retraining gives to be shipped; the file is an artifact already.

    Attributes:
        latency_key: of the network in the data type of the RKNN file.
    """

    arch_id: str
    onnx_sha256: str
    latency_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployableModel:
    """One model file of a retraining or a front member.

    Attributes:
        dtype: fp32, fp16 or w8a8.
        target: chip of an RKNN file; None for ONNX.
        sha256: artifact; None unless READY.
        cpu_operators: operators the converter left on the processor.
        job_id: that makes or made it; None for ONNX, which comes with the training or evaluation.
        space_id, arch_id: what it is a network of.
    """

    format: ModelFormat
    dtype: str
    target: str | None = None
    weights: WeightsOrigin
    state: DeployableState
    reason: str = ""
    sha256: str | None = None
    cpu_operators: tuple[str, ...] = ()
    job_id: str | None = None
    created_at: datetime
    space_id: str
    arch_id: str

    @property
    def file_name(self) -> str:
        """What the file is called for whoever saves it."""
        return model_file_name(self.space_id, self.arch_id, self.dtype, self.format, self.weights, self.target)

    @property
    def download_path(self) -> str | None:
        """Where it is downloaded under its name; None unless READY."""
        return None if self.sha256 is None else f"/api/v1/artifacts/{self.sha256}?name={quote(self.file_name)}"


class DeployableModels:
    """Use cases of model files that are shipped."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def of_network(self, network_id: str) -> tuple[DeployableModel, ...]:
        """Model files of a network that was trained here. Raises NotFoundError."""

        def look(tx: Transaction) -> tuple[DeployableModel, ...]:
            network = NetworkStore(tx).get_training(network_id)
            if network.weights is None or network.onnx_sha256 is None:
                return ()
            made_of = (network.spec.space.id, network.arch_id or network.onnx_sha256)
            onnx = _onnx(network.onnx_sha256, WeightsOrigin.RETRAINED, network.weights.created_at, made_of)
            return (onnx, *_converted(tx, JobQuery(kinds=(JobKind.CONVERT,), network_id=network_id), made_of))

        return self._uow.read(look)

    def of_candidate(self, candidate_id: str) -> tuple[DeployableModel, ...]:
        """List model files with inherited weights: of front members, and of what was exported. Raises NotFoundError."""

        def look(tx: Transaction) -> tuple[DeployableModel, ...]:
            candidate = CandidateStore(tx).get_candidate(candidate_id)
            if candidate.final_model_sha256 is None:
                return ()
            made_at = candidate.finished_at or candidate.created_at
            made_of = (candidate.record.architecture.space_id, candidate.arch_id)
            onnx = _onnx(candidate.final_model_sha256, WeightsOrigin.INHERITED, made_at, made_of)
            return (onnx, *_converted(tx, JobQuery(kinds=(JobKind.CONVERT,), candidate_id=candidate_id), made_of))

        return self._uow.read(look)


def order_retrained(tx: Transaction, network: Network, model: RetrainedModel, max_attempts: int) -> None:
    """Queue the conversion that a network's spec asks for, if it asks for one."""
    wanted = network.spec
    if not wanted.wants_rknn or network.weights is None:
        return
    payload = ConvertPayload(
        arch_id=model.arch_id,
        latency_key=model.latency_key,
        hardware_key="",
        format=ModelFormat.RKNN,
        dtype=Dtype(wanted.rknn_dtype),
        batch=1,
        weights=WeightsOrigin.RETRAINED,
        supernet_version_id=network.weights.id,
        source_sha256=model.onnx_sha256,
        calibration_dataset=network.spec.dataset,
        calibration_form=network.spec.image_form,
        target_platform=wanted.rknn_target,
        deploys=True,
    )
    _queue(tx, payload, max_attempts, owner=network.owner, network_id=network.id)


def order_deployable(tx: Transaction, search: Search, candidate: Candidate, max_attempts: int) -> None:
    """Queue the conversion of a front member's model where the search's device runs RKNN files."""
    device = search.spec.device
    if device is None or search.hardware_key is None or candidate.final_model_sha256 is None:
        return
    runtime = HardwareStore(tx).get_hardware(search.hardware_key).key.identity.runtime
    if format_for(runtime) is ModelFormat.ONNX:
        return
    payload = ConvertPayload(
        arch_id=candidate.arch_id,
        latency_key=candidate.latency_key or candidate.final_model_sha256,
        hardware_key="",
        format=ModelFormat.RKNN,
        dtype=device.dtype,
        batch=device.batch,
        weights=WeightsOrigin.INHERITED,
        supernet_version_id=search.supernet_version_id,
        search_id=search.id,
        candidate_id=candidate.id,
        source_sha256=candidate.final_model_sha256,
        deploys=True,
    )
    # Not one of the search's own jobs: those are stopped when it ends, which is just when this one begins.
    _queue(tx, payload, max_attempts, owner=search.owner, candidate_id=candidate.id, priority=search.spec.priority)


def _queue(
    tx: Transaction,
    payload: ConvertPayload,
    max_attempts: int,
    *,
    owner: Principal | None,
    network_id: str | None = None,
    candidate_id: str | None = None,
    priority: int = 0,
) -> None:
    JobStore(tx).add_job(
        NewJob(
            kind=JobKind.CONVERT,
            payload=payload.to_json(),
            dedupe_key=f"deploy:{network_id or candidate_id}:{payload.source_sha256}:{payload.dtype}",
            priority=priority,
            max_attempts=max_attempts,
            target=JobTarget(labels=converter_labels(ModelFormat.RKNN)),
            network_id=network_id,
            candidate_id=candidate_id,
            owner=owner,
        )
    )
    tx.wake(Topic.WORKER_JOBS)


def _onnx(sha256: str, weights: WeightsOrigin, created_at: datetime, made_of: _MadeOf) -> DeployableModel:
    return DeployableModel(
        format=ModelFormat.ONNX,
        dtype="fp32",
        weights=weights,
        state=DeployableState.READY,
        sha256=sha256,
        created_at=created_at,
        space_id=made_of[0],
        arch_id=made_of[1],
    )


def _converted(tx: Transaction, query: JobQuery, made_of: _MadeOf) -> Sequence[DeployableModel]:
    """What conversions of trained networks gave, oldest first; those made only for measuring are left out."""
    jobs = reversed(JobStore(tx).page_of_jobs(query, PageRequest(MAX_PAGE_SIZE)).items)
    pairs = [(job, read_payload(ConvertPayload, job.payload)) for job in jobs]
    return [
        _of_job(job, payload, made_of)
        for job, payload in pairs
        if payload.source_sha256 is not None and payload.format is ModelFormat.RKNN
    ]


def _of_job(job: Job, payload: ConvertPayload, made_of: _MadeOf) -> DeployableModel:
    state, sha256 = DeployableState.CONVERTING, None
    operators: tuple[str, ...] = ()
    match job.state:
        case JobState.DONE:
            state = DeployableState.READY
            sha256, operators = _result(job)
        case JobState.FAILED | JobState.CANCELLED:
            state = DeployableState.FAILED
        case _:
            pass
    reason = job.failure_message if state is not DeployableState.READY else ""
    return DeployableModel(
        format=payload.format,
        dtype=payload.dtype,
        target=payload.target_platform,
        weights=payload.weights,
        state=state,
        reason="cancelled" if job.state is JobState.CANCELLED else reason,
        sha256=sha256,
        cpu_operators=operators,
        job_id=job.id,
        created_at=job.finished_at or job.created_at,
        space_id=made_of[0],
        arch_id=made_of[1],
    )


def _result(job: Job) -> tuple[str | None, tuple[str, ...]]:
    match job.result:
        case {"sha256": str(sha256), **rest}:
            operators = rest.get("cpu_operators")
            return sha256, tuple(map(str, operators)) if isinstance(operators, list | tuple) else ()
        case _:
            return None, ()
