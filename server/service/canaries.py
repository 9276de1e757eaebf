"""When a device runs its golden model, and what is expected of it: the device's own first run is its baseline."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from nas_engine.domain.measurement import DeviceClass
from server.service.errors import InvalidValueError
from server.service.ports.unit_of_work import Transaction, UnitOfWork
from server.service.values.artifact import ModelFormat, WeightsOrigin
from server.service.values.device import CanaryRecord, Device
from server.service.values.payloads import MeasurePayload


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenModel:
    """A model whose speed and outputs are known: an artifact in one format."""

    sha256: str
    size_bytes: int
    format: ModelFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class CanarySettings:
    """When canaries run.

    Attributes:
        every_s: longest time between two canaries of a device that measures.
        device_classes: classes that have canaries. Emulated devices have none: their host's own noise is larger than
            what a canary could show.
        tolerance: share by which the speed may be off; None leaves it to the measurement profile (3 %).
    """

    every_s: float = 600.0
    device_classes: frozenset[DeviceClass] = frozenset({DeviceClass.BOARD, DeviceClass.SIMULATED})
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if not self.every_s >= 0:
            raise InvalidValueError(f"canaries every {self.every_s} s: it must be 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryPlan:
    """The golden model a device is to run around a measurement.

    Attributes:
        model: the artifact.
        baseline_us: the device's median; None before its first.
        output_digest: what its outputs must hash to; empty where not known.
        tolerance: share the speed may be off; None leaves it to the profile.
    """

    model: GoldenModel
    baseline_us: float | None = None
    output_digest: str = ""
    tolerance: float | None = None


class Canaries:
    """Plans canaries.

    Args:
        uow: transactions.
        golden: at most one golden model per format.
        settings: when.
        golden_key: latency key under which workers file golden models in further formats; empty for none.
    """

    def __init__(
        self,
        uow: UnitOfWork,
        golden: Sequence[GoldenModel],
        settings: CanarySettings | None = None,
        golden_key: str = "",
    ) -> None:
        self._uow = uow
        self._golden = {model.format: model for model in golden}
        self._settings = settings or CanarySettings()
        self._golden_key = golden_key
        self._lock = threading.Lock()
        self._seen_epochs: dict[str, int] = {}

    def plan(self, device: Device, payload: MeasurePayload) -> CanaryPlan | None:
        """The canary for a job on a device; None where none is due or there is no golden model in its format.

        One is due after `every_s`, after a failure that blamed the device, and when its agent was started anew. (Each
        replica of the server remembers starts for itself: at worst a start has one canary per replica.)
        """
        if device.device_class not in self._settings.device_classes:
            return None
        model = self._golden.get(payload.model_format) or self._uow.read(lambda tx: self._filed(tx, payload))
        if model is None:
            return None

        with self._lock:
            restarted = self._seen_epochs.get(device.id) != device.instance_epoch

        def look(tx: Transaction) -> CanaryPlan | None:
            last = device.last_canary_at
            fresh = last is not None and tx.now() - last < timedelta(seconds=self._settings.every_s)
            if fresh and not restarted and device.num_failures_in_a_row == 0:
                return None
            return CanaryPlan(
                model=model,
                baseline_us=_baseline_us(tx.devices.last_good_canary(device.id), model.sha256),
                tolerance=self._settings.tolerance,
            )

        plan = self._uow.read(look)
        with self._lock:
            self._seen_epochs[device.id] = device.instance_epoch
        return plan

    def _filed(self, tx: Transaction, payload: MeasurePayload) -> GoldenModel | None:
        """The golden model that a worker made in the format of a job."""
        if not self._golden_key:
            return None
        export = tx.artifacts.export(self._golden_key, payload.model_format, tuple(WeightsOrigin), None)
        if export is None:
            return None
        size_bytes = tx.artifacts.get(export.sha256).size_bytes
        return GoldenModel(sha256=export.sha256, size_bytes=size_bytes, format=payload.model_format)


def _baseline_us(last_good: CanaryRecord | None, sha256: str) -> float | None:
    """The first median, which every later record still tells: its own median over its ratio."""
    if last_good is None or last_good.artifact_sha256 != sha256:
        return None
    return last_good.median_us if last_good.ratio is None else last_good.median_us / last_good.ratio
