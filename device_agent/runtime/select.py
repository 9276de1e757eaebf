"""From a runtime's name to the runtime. Each engine is imported only when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from device_agent.failures import RuntimeUnavailableError
from device_agent.runtime.base import Runtime


class RuntimeName(Enum):
    """Inference engines an agent can measure with, by their name in hardware keys."""

    ONNXRUNTIME = "onnxruntime"
    RKNNLITE = "rknnlite"
    RK3588_SIM = "rk3588-sim"
    FAKE = "fake"

    @classmethod
    def parse(cls, name: str) -> RuntimeName:
        """The runtime of that name.

        Raises:
            RuntimeUnavailableError: there is none.
        """
        try:
            return cls(name)
        except ValueError as error:
            known = ", ".join(r.value for r in cls)
            raise RuntimeUnavailableError(f"unknown runtime {name!r}: use one of {known}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """Settings of the runtimes; each reads its own.

    Attributes:
        cpus: processors to pin the measuring process to (onnxruntime).
        core_masks: NPU masks that passed the probe, default first (rknnlite).
        versions: of libraries and drivers, found by the agent (rknnlite).
        slowdown: factor on latencies (fake).
        real_time: runs take real time (fake).
    """

    cpus: tuple[int, ...] = ()
    core_masks: tuple[str, ...] = ("0x1",)
    versions: tuple[tuple[str, str], ...] = ()
    slowdown: float = 1.0
    real_time: bool = False


def create_runtime(name: RuntimeName, options: RuntimeOptions) -> Runtime:
    """Build the runtime.

    Raises:
        RuntimeUnavailableError: its library is missing or does not work here.
    """
    match name:
        case RuntimeName.ONNXRUNTIME:
            from device_agent.runtime.onnxruntime import OnnxRuntime

            return OnnxRuntime(options.cpus)
        case RuntimeName.RKNNLITE:
            from device_agent.runtime.rknn_lite import RknnLiteRuntime

            return RknnLiteRuntime(versions=options.versions, core_masks=options.core_masks)
        case RuntimeName.RK3588_SIM:
            from device_agent.runtime.rk3588_sim import Rk3588SimRuntime

            return Rk3588SimRuntime()
        case RuntimeName.FAKE:
            from device_agent.runtime.fake import FakeRuntime

            return FakeRuntime(slowdown=options.slowdown, real_time=options.real_time)
