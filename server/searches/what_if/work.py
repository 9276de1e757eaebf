"""What-if boards as their workers see them: what a job starts from, and where what it finds goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nas_engine.domain.errors import EngineError
from server.artifacts.store import ArtifactStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.fleet.store import HardwareStore
from server.jobs.completion import complete_job
from server.jobs.failures import FinalFailure
from server.jobs.job import Job, LeaseRef
from server.jobs.payloads import read_payload
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.latencies.predictors.predictor import FitQuality
from server.measuring.measurement import MeasurementKind, measurement_kind
from server.searches.what_if.measuring import order_all
from server.searches.what_if.payloads import WhatIfPayload
from server.searches.what_if.store import WhatIfStore
from server.searches.what_if.what_if import LatencyKind, WhatIf, WhatIfState
from server.searches.what_if.what_ifs import WhatIfs


@dataclass(frozen=True, slots=True)
class WhatIfOrder:
    """One that is to be planned or fitted, as its state says.

    Attributes:
        measured_as: what a latency of the new board is, by the class of its devices.
    """

    what_if: WhatIf
    measured_as: LatencyKind


class WhatIfWork:
    """Starts and ends WHAT_IF jobs, for their workers."""

    def __init__(self, uow: UnitOfWork, what_ifs: WhatIfs, settings: SearchSettings | None = None) -> None:
        self._uow = uow
        self._what_ifs = what_ifs
        self._settings = settings or SearchSettings()

    def start(self, lease: LeaseRef) -> WhatIfOrder:
        """What a leased job is to do. Raises LeaseLostError."""

        def look(tx: Transaction) -> WhatIfOrder:
            job = JobStore(tx).get_job(lease.job_id)
            what_if = WhatIfStore(tx).get_what_if(read_payload(WhatIfPayload, job.payload).what_if_id)
            device_class = HardwareStore(tx).get_hardware(what_if.hardware_key).key.identity.device_class
            simulated = measurement_kind(device_class) is MeasurementKind.SIMULATED
            return WhatIfOrder(what_if, LatencyKind.SIMULATED if simulated else LatencyKind.MEASURED)

        return self._uow.read(look)

    def planned(self, lease: LeaseRef, order: WhatIfOrder, candidate_ids: Sequence[str]) -> None:
        """Order what was chosen, and end the job. Raises LeaseLostError: nothing is written then."""

        def work(tx: Transaction) -> None:
            what_if, job = _locked(tx, lease, order)
            if what_if.state is WhatIfState.PLANNING:
                try:
                    chosen = self._what_ifs.chosen(tx, what_if, list(candidate_ids), 1)
                except EngineError as error:
                    _fail(tx, what_if, str(error))
                else:
                    ordered = order_all(tx, what_if, chosen, self._settings)
                    changed = replace(what_if, chosen=ordered, state=WhatIfState.MEASURING)
                    WhatIfStore(tx).save_what_if(changed)
            complete_job(tx, job, {"what_if_id": what_if.id})

        self._uow.write(work)

    def fitted(self, lease: LeaseRef, order: WhatIfOrder, artifact_sha256: str, quality: FitQuality) -> None:
        """Answer with what was found from now on, and end the job. Raises LeaseLostError: nothing is written then."""

        def work(tx: Transaction) -> None:
            what_if, job = _locked(tx, lease, order)
            if what_if.state is WhatIfState.FITTING:
                ArtifactStore(tx).get_artifact(artifact_sha256)
                changed = replace(
                    what_if,
                    state=WhatIfState.COMPLETED,
                    reason="",
                    artifact_sha256=artifact_sha256,
                    quality=quality,
                    num_fitted=quality.num_left_out,
                    finished_at=tx.now(),
                )
                WhatIfStore(tx).save_what_if(changed)
            complete_job(tx, job, {"what_if_id": what_if.id})

        self._uow.write(work)

    def give_up(self, lease: LeaseRef, order: WhatIfOrder, reason: str) -> None:
        """Say why nothing could be planned or fitted, and end the job. Raises LeaseLostError."""

        def work(tx: Transaction) -> None:
            what_if, job = _locked(tx, lease, order)
            if not what_if.state.final:
                _fail(tx, what_if, reason)
            complete_job(tx, job, {"what_if_id": what_if.id, "trouble": reason})

        self._uow.write(work)


def lock_what_if_of(tx: Transaction, job: Job) -> WhatIf:
    """Lock what a job's end concerns, before the job."""
    return WhatIfStore(tx).lock_what_if(read_payload(WhatIfPayload, job.payload).what_if_id)


def work_failed(tx: Transaction, job: Job, failure: FinalFailure) -> None:
    """Fail the what-if whose job failed for good."""
    what_if = lock_what_if_of(tx, job)
    if not what_if.state.final:
        _fail(tx, what_if, failure.message)


def _locked(tx: Transaction, lease: LeaseRef, order: WhatIfOrder) -> tuple[WhatIf, Job]:
    what_if = WhatIfStore(tx).lock_what_if(order.what_if.id)
    return what_if, JobStore(tx).lock_job_of_lease(lease)


def _fail(tx: Transaction, what_if: WhatIf, reason: str) -> None:
    failed = replace(what_if, state=WhatIfState.FAILED, reason=reason, finished_at=tx.now())
    WhatIfStore(tx).save_what_if(failed)
