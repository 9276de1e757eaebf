"""Makes the golden model for RKNN boards, once per installation: their canaries need it."""

from __future__ import annotations

import threading

import structlog

from nas_engine.domain.errors import EngineError
from nas_engine.domain.measuring.environment import Dtype
from server.artifacts.artifact import ModelExport, ModelFormat, WeightsOrigin
from server.artifacts.store import ArtifactStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import ServiceError
from server.core.ids import IdPrefix, new_id
from server.fleet.store import DeviceStore
from server.measuring.canaries.golden import GOLDEN_KEY, golden_architecture, golden_onnx
from server.measuring.worker.rknn import RknnMaker

_log = structlog.get_logger("hilnas.worker")


def make_golden_when_needed(uow: UnitOfWork, rknn: RknnMaker, stopped: threading.Event, look_s: float = 2.0) -> None:
    """Make the golden model once there is a board that runs RKNN files: a converter takes seconds to start.

    Ends when that is done or `stopped` is set.
    """
    while not stopped.wait(look_s):
        try:
            needed = uow.read(_is_needed)
        except Exception as error:  # whatever keeps the database away: the next look tells
            _log.warning("devices could not be looked at", error=str(error))
            continue
        if needed:
            make_golden(uow, rknn)
            return


def _is_needed(tx: Transaction) -> bool:
    store = DeviceStore(tx)
    devices = (device for kind in store.count_devices_by_type() for device in store.devices_of_type(kind))
    return any(ModelFormat.RKNN.value in device.capabilities.model_formats for device in devices)


def make_golden(uow: UnitOfWork, rknn: RknnMaker) -> bool:
    """Convert and file the golden model where there is none yet; True where this call did.

    A failure is logged and nothing else: boards then measure without canaries, as before.
    """
    try:
        if uow.read(lambda tx: ArtifactStore(tx).find_export(GOLDEN_KEY, ModelFormat.RKNN, tuple(WeightsOrigin), None)):
            return False
        arch_id = golden_architecture().arch_id
        made = rknn.make(golden_onnx(), Dtype.FP16, calibration=None, arch_id=arch_id)
    except (EngineError, ServiceError) as error:
        _log.warning("no golden model for RKNN boards", error=str(error))
        return False

    def work(tx: Transaction) -> None:
        ArtifactStore(tx).add_export(
            ModelExport(
                id=new_id(IdPrefix.EXPORT),
                arch_id=arch_id,
                latency_key=GOLDEN_KEY,
                format=ModelFormat.RKNN,
                weights=WeightsOrigin.RANDOM,
                sha256=made.model_sha256,
                cpu_operators=made.cpu_operators,
                created_at=tx.now(),
            )
        )

    uow.write(work)
    return True
