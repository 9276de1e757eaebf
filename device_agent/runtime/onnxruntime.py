"""ONNX Runtime on the processor: an emulator of a board, never mixed with numbers of real ones."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
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
from device_agent.runtime.onnx_check import check_onnx
from device_agent.runtime.onnx_profile import MAX_PROFILE_BYTES, MIN_PROFILED, read_profile
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import DeviceClass, Dtype
from nas_engine.domain.measuring.batch import may_be_batch, own_batch
from nas_engine.domain.measuring.layer_times import MAX_PROFILED_RUNS, LayerProfile

_NUMPY_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(bool)": np.bool_,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(uint16)": np.uint16,
    "tensor(int16)": np.int16,
    "tensor(uint32)": np.uint32,
    "tensor(int32)": np.int32,
    "tensor(uint64)": np.uint64,
    "tensor(int64)": np.int64,
}
# What ONNX Runtime raises for a model that it does not take: types, shapes, operators. It would say the same again.
_REFUSALS = frozenset({"Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented"})
_MEMORY_WORDS = ("bad_alloc", "Failed to allocate", "out of memory")


class OnnxRuntime:
    """onnxruntime's CPU execution provider, set up for timing.

    One intra-op thread count given explicitly (left to itself the engine reads the host's cores, not the affinity,
    onnxruntime discussion 10916), one inter-op thread, sequential, no spinning, so that an idle session takes nothing
    from its neighbours.

    Args:
        cpus: processors to pin this process to; empty leaves the affinity alone.
    """

    def __init__(self, cpus: tuple[int, ...] = ()) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise RuntimeUnavailableError("onnxruntime is missing: pip install 'hilnas[agent]' onnxruntime") from error
        if cpus:
            try:
                os.sched_setaffinity(0, cpus)
            except OSError as error:
                raise RuntimeUnavailableError(f"cannot pin to processors {cpus}: {error}") from error
        self._engine: Any = onnxruntime
        self._engine.set_default_logger_severity(3)
        self._clock = MonotonicClock()
        self._cpus = cpus

    @property
    def facts(self) -> RuntimeFacts:
        """An emulated device on the processor."""
        return RuntimeFacts(
            name="onnxruntime",
            device_class=DeviceClass.EMULATED,
            versions=(("onnxruntime", str(self._engine.__version__)),),
            dtypes=(Dtype.FP32, Dtype.FP16, Dtype.W8A8),
            model_formats=("onnx",),
            core_masks=(",".join(map(str, self._cpus)) or "any",),
            uses_processor=True,
            has_npu_time=False,
        )

    @property
    def clock(self) -> Clock:
        return self._clock

    def load(self, path: Path, settings: SessionSettings) -> Loaded:
        """Check the bytes, then build a session from them: never from a path, so nothing beside it can be read."""
        start_ns = time.perf_counter_ns()
        data = path.read_bytes()
        check_onnx(data)
        loaded_ns = time.perf_counter_ns()
        session = self._session(data, settings)
        init_ns = time.perf_counter_ns() - loaded_ns
        declared = session.get_inputs()
        inputs = {one.name: _fixed_input(one, settings, index) for index, one in enumerate(declared)}
        shapes = [x.shape for x in inputs.values()]
        if not may_be_batch(settings.batch, shapes):
            message = f"the model has batch {own_batch(shapes)}, the job says {settings.batch}"
            raise JobFailedError(FailureType.MODEL_REJECTED, message)
        return Loaded(_OnnxSession(session, inputs), loaded_ns - start_ns, init_ns)

    def load_classifier(self, path: Path, settings: SessionSettings) -> Classifier:
        """As `load`; the model must have one input and one output."""
        data = path.read_bytes()
        check_onnx(data)
        session = self._session(data, settings)
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise JobFailedError(
                FailureType.MODEL_REJECTED,
                f"a classifier has one input and one output, this model {len(inputs)} and {len(outputs)}",
            )
        _fixed_input(inputs[0], settings, 0)  # refuses shapes and types that cannot be fed
        return _OnnxClassifier(session, inputs[0])

    def layer_times(self, path: Path, settings: SessionSettings, clock_budget_s: float) -> LayerProfile | None:
        """As `LayerTimer`: one run to get warm, then as many as fit into the budget, each kernel in whole
        microseconds.
        """
        data = path.read_bytes()
        check_onnx(data)
        with tempfile.TemporaryDirectory(prefix="hilnas-layers-") as folder:
            session = self._session(data, settings, profile_prefix=str(Path(folder) / "run"))
            inputs = {i.name: _fixed_input(i, settings, index) for index, i in enumerate(session.get_inputs())}
            timed = _OnnxSession(session, inputs)
            end_ns, num_runs = time.perf_counter_ns() + round(clock_budget_s * 1e9), 0
            while num_runs <= MIN_PROFILED or (num_runs < MAX_PROFILED_RUNS and time.perf_counter_ns() < end_ns):
                timed.run()
                num_runs += 1
            file = Path(session.end_profiling())
            timed.close()
            if file.stat().st_size > MAX_PROFILE_BYTES:
                return None
            return read_profile(file.read_bytes(), num_runs, f"onnxruntime {self._engine.__version__} profiler")

    def _session(self, data: bytes, settings: SessionSettings, profile_prefix: str = "") -> Any:
        try:
            options = self._engine.SessionOptions()
            if profile_prefix:
                options.enable_profiling = True
                options.profile_file_prefix = profile_prefix
            options.intra_op_num_threads = settings.num_threads
            options.inter_op_num_threads = 1
            options.execution_mode = self._engine.ExecutionMode.ORT_SEQUENTIAL
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            return self._engine.InferenceSession(data, sess_options=options, providers=["CPUExecutionProvider"])
        except Exception as error:
            refused = type(error).__name__ in _REFUSALS
            otherwise = FailureType.MODEL_REJECTED if refused else FailureType.INIT_FAILED
            raise JobFailedError(_failure(error, otherwise), f"onnxruntime: {error}") from error


class _OnnxSession:
    def __init__(self, session: Any, inputs: dict[str, Output]) -> None:
        self._session = session
        self._inputs = inputs
        self._outputs: list[Output] = []

    def run(self) -> None:
        try:
            self._outputs = self._session.run(None, self._inputs)
        except Exception as error:
            message = f"onnxruntime: {error}{_drawn(self._inputs)}"
            raise JobFailedError(_failure(error, FailureType.RUN_FAILED), message) from error

    def last_npu_ns(self) -> int | None:
        return None

    def outputs(self) -> Sequence[Output]:
        return [np.array(o) for o in self._outputs]

    def close(self) -> None:
        self._session = None
        self._outputs = []


class _OnnxClassifier:
    def __init__(self, session: Any, declared: Any) -> None:
        self._session = session
        self._name: str = declared.name
        self._dtype = _NUMPY_TYPES[declared.type]
        self._shape = tuple(int(d) for d in declared.shape)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self._shape

    def outputs(self, x: npt.NDArray[np.float32]) -> Output:
        """The only output; a model of integers is given integers only, never rounded fractions."""
        converted = x.astype(self._dtype)
        if np.issubdtype(self._dtype, np.integer) and not np.array_equal(converted.astype(np.float32), x):
            raise JobFailedError(
                FailureType.MODEL_REJECTED,
                f"input {self._name} takes {np.dtype(self._dtype).name}, the image set's preprocessing gives other "
                "numbers: pack it with --mean 0 --std 1",
            )
        try:
            (output,) = self._session.run(None, {self._name: converted})
        except Exception as error:
            raise JobFailedError(_failure(error, FailureType.RUN_FAILED), f"onnxruntime: {error}") from error
        return np.array(output)

    def close(self) -> None:
        self._session = None


def _fixed_input(declared: Any, settings: SessionSettings, index: int) -> Output:
    """Standard normal numbers from the job's seed, or integers of the job's range for this input, in its shape."""
    shape = tuple(declared.shape)
    if not all(isinstance(d, int) and d > 0 for d in shape):
        raise JobFailedError(
            FailureType.MODEL_REJECTED,
            f"input {declared.name} has the dynamic shape {shape}: export it with static ones",
        )
    dtype = _NUMPY_TYPES.get(declared.type)
    if dtype is None:
        raise JobFailedError(FailureType.MODEL_REJECTED, f"input {declared.name} is of type {declared.type}: not known")
    rng = np.random.default_rng([settings.input_seed, index])
    if np.issubdtype(dtype, np.integer) or dtype is np.bool_:
        lowest, highest = settings.input_ranges.get(declared.name, (0, 1))
        limits = np.iinfo(np.uint8 if dtype is np.bool_ else np.dtype(dtype).name)
        smallest, largest = (0, 1) if dtype is np.bool_ else (limits.min, limits.max)
        if not smallest <= lowest <= highest <= largest:
            raise JobFailedError(
                FailureType.MODEL_REJECTED,
                f"input {declared.name} is of type {declared.type} and holds {smallest} to {largest}: it cannot carry "
                f"{lowest} to {highest}",
            )
        return rng.integers(lowest, highest, size=shape, endpoint=True).astype(dtype)
    return rng.standard_normal(size=shape).astype(dtype)


def _drawn(inputs: Mapping[str, Output]) -> str:
    """Whose the numbers were that a model failed over."""
    integers = [f"{name} {x.min()}..{x.max()}" for name, x in inputs.items() if x.dtype.kind in "iub"]
    fractions = [name for name, x in inputs.items() if x.dtype.kind == "f"]
    shown = ""
    if integers:
        shown += f" (integers drawn by the agent, not the user's: {', '.join(integers)}; --input-range says others)"
    if fractions:
        shown += f" (fractions drawn by the agent, not the user's, normally distributed: {', '.join(fractions)})"
    return shown


def _failure(error: Exception, otherwise: FailureType) -> FailureType:
    text = str(error)
    if isinstance(error, MemoryError) or any(word in text for word in _MEMORY_WORDS):
        return FailureType.OUT_OF_MEMORY
    return otherwise
