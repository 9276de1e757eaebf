"""How the chosen candidates of a what-if get their latencies on the new board, and how far they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from server.core.database.transaction import Transaction
from server.core.database.wakeups import Topic
from server.fleet.device import HardwareProfile
from server.fleet.store import HardwareStore
from server.jobs.completion import stop_job
from server.jobs.job import NewJob
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.jobs.states import JobKind, JobState
from server.latency_tables.batch import BatchEntry, EntryState
from server.latency_tables.progress import observed
from server.measuring.evidence import find_reusable
from server.measuring.measurement import MeasurementRecord
from server.measuring.network_orders import NetworkOrder, queue_network
from server.measuring.orders import profiles_from
from server.measuring.store import MeasurementStore
from server.searches.what_if.payloads import WhatIfPayload
from server.searches.what_if.store import WhatIfStore
from server.searches.what_if.what_if import ChosenNetwork, WhatIf
from server.spaces.architecture import ArchitectureDocument
from server.spaces.store import ArchitectureStore

MAX_ATTEMPTS = 3


def order_all(
    tx: Transaction, what_if: WhatIf, chosen: Sequence[ChosenNetwork], settings: SearchSettings
) -> tuple[ChosenNetwork, ...]:
    """Chosen networks, each with its latency where that is known, else with the job that brings it."""
    profile = HardwareStore(tx).get_hardware(what_if.hardware_key)
    records = ArchitectureStore(tx).get_architectures([one.arch_id for one in chosen])
    sources = {arch_id: ArchitectureDocument.of(record.architecture) for arch_id, record in records.items()}
    return tuple(_ordered(tx, what_if, profile, one, sources[one.arch_id], settings) for one in chosen)


def _ordered(
    tx: Transaction,
    what_if: WhatIf,
    profile: HardwareProfile,
    network: ChosenNetwork,
    source: ArchitectureDocument,
    settings: SearchSettings,
) -> ChosenNetwork:
    spec = what_if.spec
    device, wanted = spec.device, spec.measurement
    if wanted.reuse:
        profiles, policy = profiles_from(wanted.profile), wanted.validity_policy
        known = find_reusable(tx, network.latency_key, profile, device.device_type, profiles, policy)
        if known is not None:
            return _measured(network, known)
    labels = ",".join(f"{key}={value}" for key, value in sorted(device.labels.items()))
    order = NetworkOrder(
        source=source,
        latency_key=network.latency_key,
        arch_id=network.arch_id,
        device=device,
        measurement=wanted,
        priority=spec.priority,
        owner=what_if.owner,
        purpose="what-if",
        accepts=f"{wanted.profile}:{wanted.validity_policy}:{device.device_type}:{device.npu_only}:{labels}",
    )
    return replace(network, job_id=queue_network(tx, order, profile, settings.max_evaluation_attempts).id)


def as_they_stand(tx: Transaction, what_if: WhatIf) -> tuple[ChosenNetwork, ...]:
    """The chosen networks with what their jobs have come to."""
    entries = [_entry(what_if, place, one) for place, one in enumerate(what_if.chosen)]
    found = observed(tx, entries)
    measured = MeasurementStore(tx).get_many({one.measurement_id for one in found if one.measurement_id is not None})
    return tuple(_after(one, entry, measured) for one, entry in zip(what_if.chosen, found, strict=True))


def stop_measuring(tx: Transaction, what_if: WhatIf) -> tuple[ChosenNetwork, ...]:
    """Stop the jobs of a locked one, those apart that another one waits for; the networks as they end."""
    others = {
        one.job_id
        for other in WhatIfStore(tx).measuring(what_if.hardware_key)
        if other.id != what_if.id
        for one in other.chosen
    }
    ended = []
    for one in as_they_stand(tx, what_if):
        if one.state.final:
            ended.append(one)
            continue
        if one.job_id is not None and one.job_id not in others:
            job = JobStore(tx).get_job(one.job_id)
            following = job.id_in_result("next_job_id")
            current = job if following is None else JobStore(tx).get_job(following)
            if current.state in (JobState.QUEUED, JobState.LEASED):
                stop_job(tx, current.id)
        ended.append(replace(one, state=EntryState.FAILED, reason="cancelled by a user"))
    return tuple(ended)


def queue_work(tx: Transaction, what_if: WhatIf) -> None:
    """Have a worker plan or fit, as the state says; one order for each time it comes there."""
    JobStore(tx).add_job(
        NewJob(
            kind=JobKind.WHAT_IF,
            payload=WhatIfPayload(what_if_id=what_if.id).to_json(),
            dedupe_key=f"what-if:{what_if.id}:{what_if.state.value}:{what_if.num_rounds}",
            max_attempts=MAX_ATTEMPTS,
            priority=what_if.spec.priority,
            owner=what_if.owner,
        )
    )
    tx.wake(Topic.WORKER_JOBS)


def _entry(what_if: WhatIf, place: int, one: ChosenNetwork) -> BatchEntry:
    """A chosen network as tables and reports keep theirs, whose progress is read in one way."""
    return BatchEntry(
        batch_id=what_if.id,
        number=place + 1,
        id=one.candidate_id,
        latency_key=one.latency_key,
        arch_id=one.arch_id,
        job_id=one.job_id,
        state=one.state,
        reason=one.reason,
        latency_us=one.latency_us,
        flags=one.flags,
        measurement_id=one.measurement_id,
    )


def _after(one: ChosenNetwork, entry: BatchEntry, measured: Mapping[str, MeasurementRecord]) -> ChosenNetwork:
    if entry.measurement_id is not None and entry.measurement_id in measured:
        return _measured(one, measured[entry.measurement_id])
    return replace(one, state=entry.state, reason=entry.reason)


def _measured(one: ChosenNetwork, record: MeasurementRecord) -> ChosenNetwork:
    return replace(
        one,
        state=EntryState.MEASURED,
        reason="",
        latency_us=record.stats.p50_us,
        low_us=record.stats.ci95_low_us,
        high_us=record.stats.ci95_high_us,
        flags=tuple(flag.validity for flag in record.flags),
        measurement_id=record.id,
    )
