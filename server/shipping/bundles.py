"""Evidence bundles: everything that a network's figures rest on, in one signed file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import BinaryIO, TypedDict, cast

from pydantic import BaseModel

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measuring.sample_text import blocks_as_json
from server.artifacts.artifact import ModelFormat, WeightsOrigin
from server.artifacts.artifacts import Artifacts
from server.artifacts.file_names import model_file_name, title_of
from server.artifacts.store import ArtifactStore
from server.candidates.candidate import Candidate, Evaluation
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.search import Search
from server.candidates.search_store import SearchStore
from server.core.database.documents import dumped
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import ConflictError
from server.core.paging import MAX_PAGE_SIZE, PageRequest
from server.jobs.job import Job, JobQuery
from server.jobs.queue import JobStore
from server.jobs.schemas import JobResource
from server.jobs.states import JobKind, JobState
from server.measuring.canaries.store import CanaryStore
from server.measuring.measurement import MeasurementKind, MeasurementQuery, MeasurementRecord
from server.measuring.schemas import MeasurementDetail
from server.measuring.store import MeasurementStore
from server.searches.candidate_routes import CandidateContext, candidate_resource, evaluation_resources
from server.searches.routes import search_resource
from server.shipping.bundle.archive import ArchiveWriter
from server.shipping.bundle.manifest import BundleWriter
from server.shipping.bundle.signing import SigningKey
from server.training.deployables import DeployableModel, DeployableModels
from server.training.networks.network import Network
from server.training.networks.schemas import network_resource
from server.training.networks.store import NetworkStore
from server.training.store import SupernetStore

_NUM_CANARIES = 200
_README = """Evidence of one network that hilnas found: the files to ship, and what their figures rest on.

manifest.json   every other file with its SHA-256, and which network it is
signature.json  the server's Ed25519 signature under manifest.json
models/         the files to ship
probe/          the file that was timed: the same layers with random weights; its answers mean nothing
measurements/   per measurement: statistics, circumstances, canaries, every timed run, and each layer where it was timed
conversions/    how a file was converted for a board, and what the converter printed
candidate.json, evaluations.json, search.json, supernet.json   what was searched, and what was found
network.json    of a network that was trained by itself: how, and what came of it

`hilnas bundles verify FILE` checks this file as it is, before it is unpacked.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeBundle:
    """A bundle in a file that nobody else sees, at its beginning.

    Attributes:
        manifest_sha256: stands for the whole content.
    """

    file: BinaryIO
    size_bytes: int
    manifest_sha256: str
    file_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    """What the database knows of one candidate, or of a network that was trained by itself, read at one moment.

    Attributes:
        candidate: None for a network that no search found.
        network: None for a candidate with inherited weights.
        logs: what converters printed, by the job.
    """

    candidate: Candidate | None
    network: Network | None
    documents: dict[str, tuple[str, JsonValue]]
    measurements: tuple[MeasurementRecord, ...]
    canaries: dict[str, JsonValue]
    jobs: tuple[Job, ...]
    logs: Mapping[str, str]
    cycle_tables: tuple[str, ...]


class _Conversions(TypedDict):
    jobs: tuple[Job, ...]
    logs: Mapping[str, str]


class EvidenceBundles:
    """Use case of evidence bundles."""

    def __init__(self, uow: UnitOfWork, artifacts: Artifacts, models: DeployableModels, key: SigningKey) -> None:
        self._uow = uow
        self._artifacts = artifacts
        self._models = models
        self.key = key

    def make(self, candidate_id: str) -> MadeBundle:
        """Write the bundle of a candidate to disk; equal evidence gives equal bytes.

        Raises:
            NotFoundError: there is no such candidate.
            ConflictError: it has no model to ship yet.
            ArtifactDamagedError: a stored file is lost or corrupted.
        """
        models = [one for one in self._models.of_candidate(candidate_id) if one.sha256 is not None]
        if not models:
            raise ConflictError(
                f"candidate {candidate_id} has no model yet: have it exported (POST "
                f"/api/v1/candidates/{candidate_id}:export), or train it by itself (hilnas candidates retrain)"
            )
        return self._written(self._uow.read(lambda tx: _evidence_of_candidate(tx, candidate_id, models)), models)

    def make_of_network(self, network_id: str) -> MadeBundle:
        """Write the bundle of a network that was trained by itself: with its own files, and with everything that is
        known of the candidate that it is, where a search found it.

        Raises:
            NotFoundError: there is no such network.
            ConflictError: it has no model to ship yet.
            ArtifactDamagedError: a stored file is lost or corrupted.
        """
        models = [one for one in self._models.of_network(network_id) if one.sha256 is not None]
        if not models:
            raise ConflictError(f"network {network_id} has no model: its training is not done, or was done elsewhere")
        return self._written(self._uow.read(lambda tx: _evidence_of_network(tx, network_id, models)), models)

    def _written(self, known: _Evidence, models: Sequence[DeployableModel]) -> MadeBundle:
        with ExitStack() as on_error:
            file = on_error.enter_context(self._artifacts.scratch())
            writer = BundleWriter(ArchiveWriter(file), self.key)
            writer.add("README.txt", "what is in this file", [_README.encode()])
            self._add_models(writer, known, models)
            self._add_measurements(writer, known)
            for path, (what, document) in known.documents.items():
                writer.add_document(path, what, document)
            manifest = writer.finish(_subject(known, models))
            size_bytes = file.tell()
            file.seek(0)
            on_error.pop_all()
        stem = models[0].file_name.rpartition(".")[0]
        return MadeBundle(
            file=file,
            size_bytes=size_bytes,
            manifest_sha256=manifest.sha256,
            file_name=f"{stem}-evidence.zip",
        )

    def _add_models(self, writer: BundleWriter, known: _Evidence, models: Sequence[DeployableModel]) -> None:
        written = set[str]()
        for one in models:
            if one.file_name not in written and one.sha256 is not None:
                written.add(one.file_name)
                writer.add(f"models/{one.file_name}", title_of(one.weights), self._content(one.sha256))
        probe = None if known.candidate is None else probe_of(self._uow, known.candidate)
        if probe is not None:
            writer.add(f"probe/{probe.file_name}", title_of(WeightsOrigin.RANDOM), self._content(probe.sha256))
        for sha256 in known.cycle_tables:
            what = "the converter's table of cycles per layer: simulated, not measured"
            writer.add(f"conversions/{sha256[:16]}.cycles.json", what, self._content(sha256))
        for job in known.jobs:
            document = {**_document(JobResource.of_job(job)), "payload": job.payload, "result": job.result}
            writer.add_document(f"conversions/{job.id}.json", "a conversion: what was asked, and what came", document)
        for job_id, sha256 in known.logs.items():
            writer.add(f"conversions/{job_id}.log.txt", "what the converter printed", self._content(sha256))

    def _add_measurements(self, writer: BundleWriter, known: _Evidence) -> None:
        for record in known.measurements:
            folder = f"measurements/{record.id}"
            document = _document(MeasurementDetail.of(record))
            writer.add_document(f"{folder}/measurement.json", "a latency: statistics, validity, hardware", document)
            writer.add_document(f"{folder}/environment.json", "the device while it measured", record.environment)
            canaries = {
                "before": record.canary_before,
                "after": record.canary_after,
                "of_device": known.canaries.get(record.id),
            }
            writer.add_document(f"{folder}/canaries.json", "runs of the golden model around it", canaries)
            packed = self._uow.read(lambda tx, id=record.id: MeasurementStore(tx).samples_of_measurement(id))  # type: ignore[misc]
            if packed is not None:
                writer.add(f"{folder}/samples.json", "every timed run, nanoseconds", _samples(record.id, packed))
            layers = self._uow.read(lambda tx, id=record.id: MeasurementStore(tx).layers_of_measurement(id))  # type: ignore[misc]
            if layers is not None:
                what = "each layer's time by the runtime's profiler, nanoseconds"
                writer.add_document(f"{folder}/layers.json", what, cast("JsonValue", dumped(layers)))

    def _content(self, sha256: str) -> Iterator[bytes]:
        return self._artifacts.stream(self._artifacts.get(sha256))


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The file that a candidate's latency was measured with."""

    sha256: str
    file_name: str


def probe_of(uow: UnitOfWork, candidate: Candidate) -> Probe | None:
    """Find the file with random weights that was timed for a candidate; None where nothing was exported."""
    sha256 = candidate.model_sha256
    if sha256 is None:
        return None
    exports = uow.read(lambda tx: ArtifactStore(tx).exports_of(candidate.arch_id))
    format = next((one.format for one in exports if one.sha256 == sha256), ModelFormat.ONNX)
    space_id = candidate.record.architecture.space_id
    dtype = "fp32" if format is ModelFormat.ONNX else "board"
    name = model_file_name(space_id, candidate.arch_id, dtype, format, WeightsOrigin.RANDOM)
    return Probe(sha256=sha256, file_name=name)


def _evidence_of_network(tx: Transaction, network_id: str, models: Sequence[DeployableModel]) -> _Evidence:
    """Add what is known of the network to what is known of the candidate that its labels name."""
    network = NetworkStore(tx).get_training(network_id)
    document: dict[str, tuple[str, JsonValue]] = {
        "network.json": ("how it was trained by itself", _document(network_resource(network)))
    }
    candidate_id = network.spec.labels.get("candidate", "")
    candidate = next(iter(CandidateStore(tx).get_candidates([candidate_id])), None) if candidate_id else None
    if candidate is not None and candidate.arch_id == network.arch_id:
        known = _evidence_of_candidate(tx, candidate.id, models)
        return replace(known, network=network, documents={**known.documents, **document})
    query = MeasurementQuery(arch_id=network.arch_id, kinds=(MeasurementKind.MEASURED, MeasurementKind.SIMULATED))
    found = () if network.arch_id is None else MeasurementStore(tx).page_of_measurements(query, PageRequest(20)).items
    return _Evidence(
        candidate=None,
        network=network,
        documents=document,
        measurements=tuple(reversed(found)),
        canaries={record.id: _canaries(tx, record) for record in found},
        **_conversions(tx, models, None),
        cycle_tables=(),
    )


def _conversions(tx: Transaction, models: Sequence[DeployableModel], candidate_id: str | None) -> _Conversions:
    """The conversions of the models, and of what was timed for the candidate."""
    wanted = {one.job_id for one in models if one.job_id is not None}
    jobs = dict(JobStore(tx).get_many(sorted(wanted)))
    if candidate_id is not None:
        query = JobQuery(kinds=(JobKind.CONVERT,), states=(JobState.DONE,), candidate_id=candidate_id)
        page = JobStore(tx).page_of_jobs(query, PageRequest(MAX_PAGE_SIZE))
        jobs |= {job.id: job for job in reversed(page.items)}
    logs = {job.id: log for job in jobs.values() if (log := job.id_in_result("log_sha256")) is not None}
    return _Conversions(jobs=tuple(jobs.values()), logs=logs)


def _evidence_of_candidate(tx: Transaction, candidate_id: str, models: Sequence[DeployableModel]) -> _Evidence:
    candidate = CandidateStore(tx).get_candidate(candidate_id)
    search = SearchStore(tx).get_search(candidate.search_id)
    evaluations = EvaluationStore(tx).evaluations_of_candidates([candidate_id])
    context = CandidateContext.of(tx, [candidate])
    documents: dict[str, tuple[str, JsonValue]] = {
        "candidate.json": ("the candidate with its values", _document(candidate_resource(candidate, context))),
        "evaluations.json": (
            "every value of every metric, and where it comes from",
            [_document(one) for one in evaluation_resources(tx, evaluations, context)],
        ),
        "search.json": ("the search with its spec", _document(search_resource(search))),
    }
    if search.supernet_version_id is not None:
        documents["supernet.json"] = ("the weights that were inherited", _supernet(tx, search.supernet_version_id))
    ids = dict.fromkeys(one.measurement_id for one in evaluations if one.measurement_id is not None)
    measured = MeasurementStore(tx).get_many(ids)
    records = (*_profiled(tx, candidate, search, evaluations), *(measured[one] for one in ids if one in measured))
    wanted = {one.sha256 for one in models}
    exports = ArtifactStore(tx).exports_of(candidate.arch_id)
    used = {one.sha256 for one in exports if one.sha256 == candidate.model_sha256} | wanted
    tables = [one.sha256 for one in exports if one.format is ModelFormat.RKNN_CYCLES and one.sha256 not in used]
    return _Evidence(
        candidate=candidate,
        network=None,
        documents=documents,
        measurements=records,
        canaries={record.id: _canaries(tx, record) for record in records},
        **_conversions(tx, models, candidate_id),
        cycle_tables=tuple(dict.fromkeys(tables)),
    )


def _profiled(
    tx: Transaction, candidate: Candidate, search: Search, evaluations: Sequence[Evaluation]
) -> tuple[MeasurementRecord, ...]:
    """The measurement that timed its layers, where none of its evaluations comes from it."""
    if candidate.latency_key is None or search.hardware_key is None:
        return ()
    record = MeasurementStore(tx).newest_measurement(candidate.latency_key, search.hardware_key, with_layers=True)
    known = {one.measurement_id for one in evaluations}
    return () if record is None or record.id in known else (record,)


def _canaries(tx: Transaction, record: MeasurementRecord) -> JsonValue:
    """Runs of the golden model on the device up to the measurement, newest first."""
    if record.device_id is None:
        return []
    page = CanaryStore(tx).page_of_canaries(record.device_id, PageRequest(_NUM_CANARIES))
    return [
        {
            "id": one.id,
            "median_us": one.median_us,
            "ratio": one.ratio,
            "passed": one.passed,
            "reason": one.reason,
            "taken_at": one.taken_at.isoformat(),
        }
        for one in page.items
        if one.taken_at <= record.created_at
    ]


def _supernet(tx: Transaction, version_id: str) -> JsonValue:
    version = SupernetStore(tx).get_supernet_version(version_id)
    supernet = SupernetStore(tx).get_training(version.supernet_id)
    return {
        "id": supernet.id,
        "version_id": version.id,
        "number": version.number,
        "weights_sha256": version.weights_sha256,
        "statistics": version.statistics,
        "spec": _document(supernet.spec),
    }


def _subject(known: _Evidence, models: Sequence[DeployableModel]) -> dict[str, JsonValue]:
    candidate, network = known.candidate, known.network
    latency = known.measurements[-1] if known.measurements else None
    return {
        **({} if candidate is None else {"candidate_id": candidate.id, "search_id": candidate.search_id}),
        **({} if network is None else {"network_id": network.id}),
        "space": models[0].space_id,
        "arch_id": models[0].arch_id,
        "model": f"models/{models[0].file_name}",
        "model_sha256": models[0].sha256,
        "weights": models[0].weights.value,
        "measurement": None if latency is None else f"measurements/{latency.id}/measurement.json",
    }


def _samples(measurement_id: str, packed: bytes) -> Iterator[bytes]:
    yield f'{{"measurement_id":{json.dumps(measurement_id)},"blocks":'.encode()
    for piece in blocks_as_json(packed):
        yield piece.encode()
    yield b"}"


def _document(model: BaseModel) -> dict[str, JsonValue]:
    return cast("dict[str, JsonValue]", model.model_dump(mode="json"))
