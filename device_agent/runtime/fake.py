"""A runtime without an engine: latency follows from the model's bytes, faults from a model that asks for them.

It serves tests and soaks. Its numbers are labelled simulated. Any bytes are a model; bytes that are a JSON object
with the key `hilnas_fake` say themselves how they behave:

    {"hilnas_fake": 1, "latency_us": 900.0, "noise": 0.01, "fault": "crash" | "hang" | "reject" | "init" | "oom" |
     "run" | "nan", "predictions": [3, 1, 4], "num_classes": 10}

It classifies images with its scripted predictions, over and over; a model without a script classifies nothing: no
accuracy is made up.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from device_agent.failures import JobFailedError
from device_agent.runtime.base import (
    Classifier,
    Clock,
    Loaded,
    MonotonicClock,
    Output,
    RuntimeFacts,
    Session,
    SessionSettings,
    VirtualClock,
)
from device_agent.runtime.simulated import SimulatedSession
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import DeviceClass, Dtype

FAKE_VERSION = "1"
_LOAD_NS, _INIT_NS = 200_000, 1_000_000
_BASE_US, _US_PER_KIB = 150.0, 2.0
_SPREAD = 0.1  # models of one size differ by up to this share, as their digests say
_HANG_S = 3600.0
_MAX_SCRIPT_BYTES = 4096


class FakeFault(Enum):
    """What a scripted model does wrong."""

    NONE = "none"
    CRASH = "crash"  # the process dies of a signal
    HANG = "hang"  # a run does not come back
    REJECT = "reject"
    INIT = "init"
    OUT_OF_MEMORY = "oom"
    RUN = "run"
    NAN = "nan"


@dataclass(frozen=True, slots=True)
class FakeBehaviour:
    """How one model behaves: microseconds per run, relative noise, fault; the classes it predicts, and of how many."""

    latency_us: float
    noise: float = 0.005
    fault: FakeFault = FakeFault.NONE
    predictions: tuple[int, ...] = ()
    num_classes: int = 0


def behaviour_of(data: bytes) -> FakeBehaviour:
    """Scripted where the bytes say so, else by size and digest: larger models are slower.

    Raises:
        JobFailedError: MODEL_REJECTED; a script that cannot be read.
    """
    if data[:1] == b"{" and len(data) <= _MAX_SCRIPT_BYTES and b'"hilnas_fake"' in data:
        try:
            script = json.loads(data)
            behaviour = FakeBehaviour(
                latency_us=float(script.get("latency_us", _BASE_US)),
                noise=float(script.get("noise", 0.005)),
                fault=FakeFault(script.get("fault", "none")),
                predictions=tuple(int(p) for p in script.get("predictions", ())),
                num_classes=int(script.get("num_classes", 0)),
            )
        except (ValueError, TypeError) as error:
            raise JobFailedError(FailureType.MODEL_REJECTED, f"fake model cannot be read: {error}") from error
        if not (math.isfinite(behaviour.latency_us) and behaviour.latency_us > 0 and 0 <= behaviour.noise <= 0.3):
            raise JobFailedError(FailureType.MODEL_REJECTED, f"fake model is out of range: {behaviour}")
        return behaviour
    share = int.from_bytes(hashlib.sha256(data).digest()[:4]) / 2**32
    return FakeBehaviour((_BASE_US + _US_PER_KIB * len(data) / 1024.0) * (1.0 + _SPREAD * share))


class FakeRuntime:
    """Gives latencies and predictions that follow from the model's bytes; see the module."""

    def __init__(self, *, slowdown: float = 1.0, real_time: bool = False) -> None:
        self._slowdown = slowdown
        self._clock: Clock = MonotonicClock() if real_time else VirtualClock()

    @property
    def facts(self) -> RuntimeFacts:
        """A simulated device that takes anything."""
        return RuntimeFacts(
            name="fake",
            device_class=DeviceClass.SIMULATED,
            versions=(("fake", FAKE_VERSION),),
            dtypes=tuple(Dtype),
            model_formats=("onnx", "rknn", "fake"),
            core_masks=("fake",),
            uses_processor=False,
            has_npu_time=False,
        )

    @property
    def clock(self) -> Clock:
        return self._clock

    def load(self, path: Path, settings: SessionSettings) -> Loaded:
        """Behave as the model says; one noise sequence per model and seed, so that results repeat exactly."""
        data = path.read_bytes()
        behaviour = behaviour_of(data)
        _fail_on_load(behaviour.fault)
        value = np.nan if behaviour.fault is FakeFault.NAN else 1.0
        seed = int.from_bytes(hashlib.sha256(data).digest()[:8])
        session = _FakeSession(
            self._clock,
            max(1, round(behaviour.latency_us * 1e3 * self._slowdown)),
            noise=behaviour.noise,
            rng=np.random.default_rng([seed, settings.input_seed]),
            output=np.array([value, float(seed % 1000)], dtype=np.float64),
            npu_share=None,
        )
        session.fault = behaviour.fault
        return Loaded(session, _LOAD_NS, _INIT_NS)

    def load_classifier(self, path: Path, settings: SessionSettings) -> Classifier:
        """Answer as the model's script says.

        Raises:
            JobFailedError: UNSUPPORTED; there is no script, or it names no predictions.
        """
        behaviour = behaviour_of(path.read_bytes())
        if not behaviour.predictions or behaviour.num_classes <= max(behaviour.predictions):
            raise JobFailedError(
                FailureType.UNSUPPORTED, "a fake device computes nothing: script predictions and num_classes"
            )
        return _FakeClassifier(self.load(path, settings).session, behaviour)


class _FakeSession(SimulatedSession):
    fault = FakeFault.NONE

    def run(self) -> None:
        match self.fault:
            case FakeFault.CRASH:
                os.abort()
            case FakeFault.HANG:
                time.sleep(_HANG_S)
            case FakeFault.RUN:
                raise JobFailedError(FailureType.RUN_FAILED, "fake model fails while running")
            case _:
                super().run()


class _FakeClassifier:
    def __init__(self, session: Session, behaviour: FakeBehaviour) -> None:
        self._session = session
        self._behaviour = behaviour
        self._num_answered = 0

    @property
    def input_shape(self) -> None:
        return None

    def outputs(self, x: npt.NDArray[np.float32]) -> Output:
        """One run per batch, then the next predictions as one-hot rows."""
        self._session.run()
        script = self._behaviour.predictions
        hot = [script[(self._num_answered + row) % len(script)] for row in range(len(x))]
        self._num_answered += len(x)
        one = np.nan if self._behaviour.fault is FakeFault.NAN else 1.0
        outputs_NK = np.zeros((len(x), self._behaviour.num_classes), dtype=np.float32)
        outputs_NK[np.arange(len(x)), hot] = one
        return outputs_NK

    def close(self) -> None:
        self._session.close()


def _fail_on_load(fault: FakeFault) -> None:
    match fault:
        case FakeFault.REJECT:
            raise JobFailedError(FailureType.MODEL_REJECTED, "fake model asks to be rejected")
        case FakeFault.INIT:
            raise JobFailedError(FailureType.INIT_FAILED, "fake model fails to initialise")
        case FakeFault.OUT_OF_MEMORY:
            raise JobFailedError(FailureType.OUT_OF_MEMORY, "fake model takes too much memory")
        case _:
            return
