"""onnx's reference evaluator as a runtime of an agent."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from hilnas_onnx_reference import ReferenceSettings
from onnx.reference import ReferenceEvaluator

from device_agent.runtime.base import Loaded, MonotonicClock, Output, RuntimeFacts, SessionSettings
from device_agent.runtime.onnx_check import check_onnx
from nas_engine.domain.measurement import DeviceClass, Dtype


class ReferenceRuntime:
    """`Runtime`: runs ONNX on the processor. What it raises is reported as the job's failure, under its name."""

    def __init__(self, settings: ReferenceSettings) -> None:
        self._settings = settings
        self.clock = MonotonicClock()
        self.facts = RuntimeFacts(
            name="onnx-reference",
            device_class=DeviceClass.EMULATED,
            versions=(("onnx", onnx.__version__),),
            dtypes=(Dtype.FP32,),
            model_formats=("onnx",),
            core_masks=("any",),
            uses_processor=True,
            has_npu_time=False,
        )

    def load(self, path: Path, settings: SessionSettings) -> Loaded:
        start_ns = time.perf_counter_ns()
        session = self.load_classifier(path, settings)
        return Loaded(session, 0, time.perf_counter_ns() - start_ns)

    def load_classifier(self, path: Path, settings: SessionSettings) -> Session:
        data = path.read_bytes()
        check_onnx(data)  # bounded and static, before any engine reads it
        model = onnx.load_from_string(data)
        return Session(ReferenceEvaluator(model, verbose=self._settings.verbose), model, settings.input_seed)


class Session:
    """`Session` and `Classifier`: one model with one input."""

    def __init__(self, evaluator: ReferenceEvaluator, model: onnx.ModelProto, seed: int) -> None:
        (declared,) = model.graph.input
        self.input_shape = tuple(axis.dim_value for axis in declared.type.tensor_type.shape.dim)
        self._evaluator, self._name = evaluator, declared.name
        self._x = np.random.default_rng(seed).standard_normal(self.input_shape).astype(np.float32)
        self._outputs: list[Output] = []

    def run(self) -> None:
        self._outputs = self._evaluator.run(None, {self._name: self._x})

    def outputs(self, x: np.ndarray | None = None) -> Sequence[Output] | Output:
        """Those of the last run; or, of images, the model's only one."""
        return self._outputs if x is None else self._evaluator.run(None, {self._name: x})[0]

    def last_npu_ns(self) -> int | None:
        return None  # it uses no accelerator

    def close(self) -> None:
        self._outputs = []
