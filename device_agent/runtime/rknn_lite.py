"""The RK3588's NPU through rknn-toolkit-lite2. Not board-tested: no board was at hand when this was written.

Facts it rests on (rknn_lite.py 2.5.0): methods log and return -1 or None instead of raising, but may also raise on odd
hosts, so every call is wrapped and its code checked; load_rknn accepts any bytes; float64 inputs are refused;
`reuse_outputs` avoids an allocation per run; the NPU's own time is only on the private `rknn_runtime.get_run_perf`,
which is looked for and not relied on.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from device_agent.failures import JobFailedError, RuntimeUnavailableError
from device_agent.runtime.base import (
    Classifier,
    Clock,
    Loaded,
    MonotonicClock,
    Output,
    RuntimeFacts,
    SessionSettings,
)
from device_agent.runtime.rknn_check import RknnFacts, check_rknn
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import DeviceClass, Dtype
from nas_engine.domain.measuring.batch import may_be_batch, own_batch

PLATFORM = "rk3588"
CORE_MASKS = {"0x1": 1, "0x2": 2, "0x4": 4, "0x3": 3, "0x7": 7}
_API_VERSION = re.compile(r"(?:API|api)[^0-9]*(\d+(?:\.\d+)+)")
_DRIVER_VERSION = re.compile(r"(?:DRV|[Dd]river)[^0-9]*(\d+(?:\.\d+)+)")
_log = logging.getLogger(__name__)


class RknnLiteRuntime:
    """rknnlite.api.RKNNLite on this board.

    Args:
        versions: of librknnrt and the driver, as found by the agent's probe.
        core_masks: masks that passed the probe, the default first.
        make: builds the library's object; None imports it. Tests give a stand-in.
    """

    def __init__(
        self,
        *,
        versions: tuple[tuple[str, str], ...] = (),
        core_masks: tuple[str, ...] = ("0x1",),
        make: Callable[[], Any] | None = None,
    ) -> None:
        self._make = make or _import_rknnlite()
        self._versions = tuple(sorted(versions))
        self._core_masks = core_masks
        self._clock = MonotonicClock()

    @property
    def facts(self) -> RuntimeFacts:
        """Describe a real board: its numbers are measured on the NPU."""
        return RuntimeFacts(
            name="rknnlite",
            device_class=DeviceClass.BOARD,
            versions=self._versions,
            dtypes=(Dtype.FP16, Dtype.W8A8),
            model_formats=("rknn",),
            core_masks=self._core_masks,
            uses_processor=False,
            has_npu_time=False,
        )

    @property
    def clock(self) -> Clock:
        """Give the board's monotonic clock: `time.time` can be set, and is never used for durations."""
        return self._clock

    def load(self, path: Path, settings: SessionSettings) -> Loaded:
        """Check the file's header in Python, then load and initialise it, checking every return code."""
        start_ns = time.perf_counter_ns()
        facts = check_rknn(path.read_bytes(), PLATFORM)
        lite, loaded_ns, initialised_ns = self._initialised(path, facts, settings)
        try:
            session = _RknnSession(lite, _fixed_inputs(facts, settings))
        except JobFailedError:
            _release(lite)
            raise
        return Loaded(session, loaded_ns - start_ns, initialised_ns - loaded_ns)

    def load_classifier(self, path: Path, settings: SessionSettings) -> Classifier:
        """As `load`; the model must have one input."""
        facts = check_rknn(path.read_bytes(), PLATFORM)
        if len(facts.input_shapes) != 1:
            raise JobFailedError(
                FailureType.MODEL_REJECTED, f"a classifier has one input, this model {len(facts.input_shapes)}"
            )
        lite, _, _ = self._initialised(path, facts, settings)
        return _RknnClassifier(lite, facts.input_shapes[0])

    def _initialised(self, path: Path, facts: RknnFacts, settings: SessionSettings) -> tuple[Any, int, int]:
        """The library's object with the model on the NPU, and when it was loaded and initialised."""
        mask = CORE_MASKS.get(settings.core_mask or self._core_masks[0])
        if mask is None:
            raise JobFailedError(FailureType.UNSUPPORTED, f"core mask {settings.core_mask!r}: use {list(CORE_MASKS)}")
        lite = self._make()
        try:
            call_rknn(lambda: lite.load_rknn(str(path)), FailureType.MODEL_REJECTED, "load_rknn")
            loaded_ns = time.perf_counter_ns()
            call_rknn(lambda: lite.init_runtime(core_mask=mask), FailureType.INIT_FAILED, "init_runtime")
        except JobFailedError as error:
            _release(lite)
            library = dict(self._versions).get("librknnrt", "of an unknown version")
            made_by = f"the model is made by toolkit {facts.toolkit_version or 'unknown'}, librknnrt is {library}"
            raise JobFailedError(error.type, f"{error.message}; {made_by}") from error
        initialised_ns = time.perf_counter_ns()
        self._versions = tuple(sorted((dict(self._versions) | dict(sdk_versions(lite))).items()))
        return lite, loaded_ns, initialised_ns


def call_rknn(call: Callable[[], Any], type: FailureType, name: str) -> Any:
    """Call the library; turn whatever way it fails in into a typed error.

    Raises:
        JobFailedError: of `type`; the call raised, or returned a code other than 0.
    """
    try:
        code = call()
    except Exception as error:  # the library raises AttributeError and worse on hosts it does not know
        raise JobFailedError(type, f"{name} raised {type_name(error)}: {error}") from error
    if code is None or (isinstance(code, int) and code != 0):
        raise JobFailedError(type, f"{name} returned {code}: see the library's log on the device")
    return code


def sdk_versions(lite: Any) -> tuple[tuple[str, str], ...]:
    """Versions of the library and the driver, as get_sdk_version tells them once the runtime stands."""
    try:
        text = str(lite.get_sdk_version())
    except Exception as error:  # the version is wanted for the record; a job does not fail for it
        _log.warning("get_sdk_version raised %s: %s", type_name(error), error)
        return ()
    matches = [("librknnrt", _API_VERSION.search(text)), ("rknpu-driver", _DRIVER_VERSION.search(text))]
    return tuple((name, match[1]) for name, match in matches if match)


def type_name(error: Exception) -> str:
    """The error's class name."""
    return type(error).__name__


class _RknnSession:
    def __init__(self, lite: Any, inputs: list[Output]) -> None:
        self._lite = lite
        self._inputs = inputs
        self._outputs: list[Output] = []
        self._perf = getattr(getattr(lite, "rknn_runtime", None), "get_run_perf", None)

    def run(self) -> None:
        self._outputs = _inference(self._lite, self._inputs)

    def last_npu_ns(self) -> int | None:
        if self._perf is None:
            return None
        try:
            duration_us = self._perf()
        except Exception:  # private interface: gone or changed, so there is no npu time from now on
            self._perf = None
            return None
        if type(duration_us) in (int, float) and math.isfinite(duration_us) and duration_us > 0:
            return round(1000 * float(duration_us))
        self._perf = None
        return None

    def outputs(self) -> Sequence[Output]:
        return [np.array(o) for o in self._outputs]

    def close(self) -> None:
        self._outputs = []
        _release(self._lite)


class _RknnClassifier:
    """Gives the library normalised float32, the numbers a w8a8 model was calibrated with: the library quantises them
    with the input's own scale. Raw uint8 would be right only for a model converted with mean and std inside, and ours
    are converted without.
    """

    def __init__(self, lite: Any, shape: tuple[int, ...]) -> None:
        self._lite = lite
        self._shape = shape

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self._shape

    def outputs(self, x: npt.NDArray[np.float32]) -> Output:
        """The only output, dequantised by the library."""
        outputs = _inference(self._lite, [_as_library_takes(x)])
        if len(outputs) != 1:
            raise JobFailedError(FailureType.MODEL_REJECTED, f"a classifier has one output, this model {len(outputs)}")
        return np.array(outputs[0])

    def close(self) -> None:
        _release(self._lite)


def _inference(lite: Any, inputs: list[Output]) -> list[Output]:
    try:
        outputs: list[Output] | None = lite.inference(inputs=inputs, reuse_outputs=True)
    except Exception as error:
        raise JobFailedError(FailureType.RUN_FAILED, f"inference raised {type_name(error)}: {error}") from error
    if outputs is None:
        raise JobFailedError(FailureType.RUN_FAILED, "inference returned None: see the library's log on the device")
    return outputs


def _as_library_takes(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """4-D inputs are NHWC, the library's default, whatever the model was exported with."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else x


def _release(lite: Any) -> None:
    try:
        lite.release()
    except Exception as error:  # nothing is lost: the result is there, and the process ends after the job
        _log.warning("release raised %s: %s", type_name(error), error)


def _fixed_inputs(facts: RknnFacts, settings: SessionSettings) -> list[Output]:
    """Standard normal float32 numbers from the job's seed; 4-D inputs are NHWC, the library's default."""
    if not may_be_batch(settings.batch, facts.input_shapes):
        batch = own_batch(facts.input_shapes)
        raise JobFailedError(FailureType.MODEL_REJECTED, f"the model has batch {batch}, the job says {settings.batch}")
    inputs: list[Output] = []
    for index, shape in enumerate(facts.input_shapes):
        values = np.random.default_rng([settings.input_seed, index]).standard_normal(size=shape).astype(np.float32)
        inputs.append(_as_library_takes(values))
    return inputs


def _import_rknnlite() -> Callable[[], Any]:
    try:
        from rknnlite.api import RKNNLite
    except ImportError as error:
        raise RuntimeUnavailableError(
            "rknn-toolkit-lite2 is missing: pip install 'hilnas[agent]' on the board (aarch64, Python below 3.13)"
        ) from error

    def make() -> Any:
        return RKNNLite(verbose=False)

    return make
