"""Answers: measured, simulated, estimated, or "measure it"; what each stands on is part of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from nas_engine.domain.measurement import DeviceClass, HardwareKey, Validity
from server.latencies.predictors.predictor import EstimateMethod, LatencyPredictor
from server.latencies.question import AskedDevice, LatencyQuestion, Network


class AnswerKind(StrEnum):
    """What an answer is; kinds are never mixed under one name."""

    MEASURED = "measured"
    SIMULATED = "simulated"
    ESTIMATED = "estimated"
    MEASURE_IT = "measure_it"


class MatchedBy(StrEnum):
    """How a measurement was found to be one of the network that is asked for."""

    ARCHITECTURE = "architecture"
    STRUCTURE = "structure"
    MODEL = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMeasurement:
    """The newest measurement of one network by devices of one type under one hardware key.

    Attributes:
        num_measurements: how many there are of the same under the same key.
    """

    id: str
    arch_id: str | None
    latency_key: str
    device_type: str
    device_class: DeviceClass
    device_id: str | None
    hardware_key: str
    profile: str
    p50_us: float
    ci95_low_us: float
    ci95_high_us: float
    validity: Validity
    created_at: datetime
    num_measurements: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A latency that nobody measured.

    Attributes:
        method: what it comes from.
        source_id: of the predictor, or of the latency table.
        predictor_id: of the predictor, also where that is made of a table.
        low_us, high_us: interval; None where nothing says how wide it is.
        nominal: share of new measurements that the interval is made to hold; None without an interval.
        coverage: share of networks left out that it did hold; None where that is not known.
        num_left_out: networks that the coverage was found on.
        num_networks: measured networks that the estimate stands on.
        num_operators: measured operators that it stands on; 0 without a table.
        validation: how it was validated, in words.
        is_stale: so much was measured since, or changed in table and reports, that it is to be fitted anew.
    """

    method: EstimateMethod
    source_id: str
    predictor_id: str
    hardware_key: str
    value_us: float
    low_us: float | None
    high_us: float | None
    nominal: float | None
    coverage: float | None
    num_left_out: int
    num_networks: int
    num_operators: int
    validation: str
    is_stale: bool = False

    @property
    def num_measurements(self) -> int:
        """Measurements that it stands on."""
        return self.num_networks + self.num_operators


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyAnswer:
    """The answer for one network on one device type.

    Attributes:
        network, device: what was asked.
        device_index: place of the device in the question.
        kind: what it is.
        hardware_key: that the value holds for, or that a measurement would be made under; None where none is known.
        is_current: whether a registered device of the type offers that hardware key now.
        measurement: what was measured or simulated; None else.
        matched_by: how the measurement was found; None without one.
        estimate: None unless it is estimated.
        reason: why it must be measured; empty else.
        others: the newest measurements under each other hardware key that the question admits.
        job_id: of the measurement that was queued; None where none was.
        not_queued: why none was queued though that was asked for; empty else.
    """

    network: Network
    device: AskedDevice
    device_index: int
    kind: AnswerKind
    hardware_key: str | None = None
    is_current: bool = False
    measurement: FoundMeasurement | None = None
    matched_by: MatchedBy | None = None
    estimate: Estimate | None = None
    reason: str = ""
    others: tuple[FoundMeasurement, ...] = ()
    job_id: str | None = None
    not_queued: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyAnswers:
    """Every answer, network by network, and what they refer to.

    Attributes:
        hardware: by hardware key, everything that answers name.
        predictors: by id, those that estimated something.
    """

    question: LatencyQuestion
    answers: tuple[LatencyAnswer, ...]
    hardware: Mapping[str, HardwareKey]
    predictors: Mapping[str, LatencyPredictor]
