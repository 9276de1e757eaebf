"""Queues the measurements that answers lack, as any other measurement is queued."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast

from nas_engine.domain.errors import EngineError
from nas_engine.domain.measuring.environment import HardwareKey
from server.access.principal import Principal
from server.artifacts.artifacts import Artifacts
from server.artifacts.model_check import ModelCheck, ModelFacts
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import InvalidSpecError, ServiceError
from server.fleet.device import HardwareProfile
from server.fleet.device_spec import DeviceSpec
from server.fleet.sharing.sharing import refusal
from server.fleet.store import HardwareStore
from server.jobs.job import Job, JobTarget
from server.jobs.settings import SearchSettings
from server.latencies.answer import AnswerKind, LatencyAnswer, LatencyAnswers
from server.latencies.networks import NetworkReader
from server.latencies.question import LatencyQuestion
from server.measuring.network_orders import NetworkOrder, queue_network
from server.measuring.queries import Latencies, ModelMeasurementSpec
from server.spaces.architecture import ArchitectureDocument, ArchitectureRecord
from server.spaces.catalog import SpaceCatalog
from server.spaces.store import ArchitectureStore

Check = Callable[[Transaction], object]
"""Refuses one more job than its owner may have queued."""


class LatencyOrders:
    """Queues what is to be measured."""

    def __init__(
        self,
        uow: UnitOfWork,
        spaces: SpaceCatalog,
        networks: NetworkReader,
        latencies: Latencies,
        artifacts: Artifacts,
        models: ModelCheck,
        settings: SearchSettings | None = None,
    ) -> None:
        self._uow = uow
        self._spaces = spaces
        self._networks = networks
        self._latencies = latencies
        self._artifacts = artifacts
        self._models = models
        self._settings = settings or SearchSettings()

    def queue(self, found: LatencyAnswers, owner: Principal | None, check: Check) -> LatencyAnswers:
        """Queue the measurement of every answer that is to have one; all jobs in one transaction.

        What cannot be queued says why, and keeps nothing else from it.

        Raises:
            QuotaExceededError: its owner may not have that many; then nothing is queued.
        """
        question = found.question
        wanted = {AnswerKind.MEASURE_IT: question.queue_missing, AnswerKind.ESTIMATED: question.queue_estimated}
        missing = [one for one in found.answers if wanted.get(one.kind, False)]
        facts = self._facts({one.network.model_sha256 for one in missing if one.network.model_sha256 is not None})
        records = self._records(missing)

        def work(tx: Transaction) -> list[LatencyAnswer]:
            ArchitectureStore(tx).put_architectures([one for one in records.values() if not isinstance(one, str)])

            def ordered(one: LatencyAnswer) -> LatencyAnswer:
                if not wanted.get(one.kind, False):
                    return one
                check(tx)
                try:
                    if one.network.model_sha256 is not None:
                        job = self._of_model(found.question, one, facts[one.network.model_sha256], owner)
                    else:
                        job = self._of_architecture(tx, found, one, records[one.network.arch_id or ""], owner)
                except InvalidSpecError as error:
                    return replace(one, not_queued="; ".join(wrong.message for wrong in error.violations))
                except EngineError as error:
                    return replace(one, not_queued=str(error))
                return replace(one, job_id=job.id)

            return [ordered(one) for one in found.answers]

        return replace(found, answers=tuple(self._uow.write(work)))

    def _facts(self, digests: set[str]) -> Mapping[str, ModelFacts | str]:
        """What is known of models, or why they cannot be measured: read before the transaction begins."""
        facts: dict[str, ModelFacts | str] = {}
        for digest in sorted(digests):
            try:
                with self._artifacts.open_unverified(digest) as source:
                    facts[digest] = self._models.check(source, digest)
            except (ServiceError, EngineError) as error:
                facts[digest] = str(error)
        return facts

    def _records(self, missing: Sequence[LatencyAnswer]) -> Mapping[str, ArchitectureRecord | str]:
        """Architectures as they are stored, or why they cannot be: made before the transaction begins."""
        records: dict[str, ArchitectureRecord | str] = {}
        for one in missing:
            architecture, arch_id = one.network.architecture, one.network.arch_id
            if architecture is None or arch_id is None or arch_id in records:
                continue
            try:
                graph = self._spaces.graph(architecture)
                if graph is None:
                    records[arch_id] = f"space {architecture.space_id} has no networks that could be measured"
                else:
                    records[arch_id] = self._spaces.record_of(architecture)
            except EngineError as error:
                records[arch_id] = str(error)
        return records

    def _of_model(
        self, question: LatencyQuestion, one: LatencyAnswer, facts: ModelFacts | str, owner: Principal | None
    ) -> Job:
        if isinstance(facts, str):
            raise EngineError(facts)
        device = one.device
        given = {
            "device_type": device.device_type,
            "runtime": device.runtime,
            "core_mask": device.core_mask,
            "clocks_profile": device.clocks_profile,
            "dtype": device.dtype or facts.dtype,
            **({} if device.batch is None else {"batch": device.batch}),
        }
        spec = ModelMeasurementSpec(
            model_sha256=one.network.model_sha256 or "",
            device=DeviceSpec.model_validate(given),
            measurement=question.measurement,
            priority=question.priority,
        )
        return self._latencies.measure_model(spec, facts, owner=owner)

    def _of_architecture(
        self,
        tx: Transaction,
        found: LatencyAnswers,
        one: LatencyAnswer,
        record: ArchitectureRecord | str,
        owner: Principal | None,
    ) -> Job:
        if isinstance(record, str):
            raise EngineError(record)
        if one.hardware_key is None or not one.is_current:
            what = one.reason or "no device of the type offers its hardware key now"
            raise EngineError(f"{what}: enrol a device that offers it, or ask for less")
        key: HardwareKey = found.hardware[one.hardware_key]
        profile = HardwareProfile(key=key)
        target = JobTarget(device_type=one.device.device_type, pool_key=profile.pool_key)
        if closed := refusal(tx, target, owner):
            raise EngineError(closed)
        HardwareStore(tx).put_hardware(profile)
        question, identity = found.question, key.identity
        device = DeviceSpec(
            device_type=one.device.device_type,
            runtime=identity.runtime,
            core_mask=identity.core_mask,
            dtype=key.dtype,
            batch=key.batch,
            clocks_profile=identity.clocks_profile,
        )
        measurement = question.measurement
        latency_key = self._networks.latency_key(record.architecture, key.dtype, key.batch)
        order = NetworkOrder(
            source=ArchitectureDocument.of(record.architecture),
            latency_key=cast(str, latency_key),
            arch_id=record.arch_id,
            device=device,
            measurement=measurement,
            priority=question.priority,
            owner=owner,
            purpose="latencies",
            interactive=True,
            accepts=f"{device.device_type}:{measurement.profile}:{measurement.validity_policy}",
        )
        return queue_network(tx, order, profile, self._settings.max_evaluation_attempts)
