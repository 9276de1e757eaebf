"""The inference engines by name: those that ship with the agent, then those that installed packages bring.

Each engine is imported only when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from device_agent.failures import RuntimeUnavailableError
from device_agent.runtime.base import Runtime
from device_agent.runtime.brought import BUILD_TIMEOUT_S, make_brought
from nas_engine.domain.plugins.declarations import RuntimeDeclaration
from nas_engine.domain.plugins.door_survey import called_in_process
from nas_engine.domain.plugins.doors import Brought, Door, PluginError, declared, entries


class RuntimeName(StrEnum):
    """Inference engines that ship with the agent, by their name in hardware keys."""

    ONNXRUNTIME = "onnxruntime"
    RKNNLITE = "rknnlite"
    RK3588_SIM = "rk3588-sim"
    FAKE = "fake"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """Settings of the runtimes that ship; each reads its own.

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


def make_onnxruntime(options: RuntimeOptions) -> Runtime:
    """Build onnxruntime's CPU provider."""
    from device_agent.runtime.onnxruntime import OnnxRuntime

    return OnnxRuntime(options.cpus)


def make_rknnlite(options: RuntimeOptions) -> Runtime:
    """Build the RK3588's NPU."""
    from device_agent.runtime.rknn_lite import RknnLiteRuntime

    return RknnLiteRuntime(versions=options.versions, core_masks=options.core_masks)


def make_rk3588_sim(options: RuntimeOptions) -> Runtime:
    """Build the simulated RK3588."""
    from device_agent.runtime.rk3588_sim import Rk3588SimRuntime

    del options
    return Rk3588SimRuntime()


def make_fake(options: RuntimeOptions) -> Runtime:
    """Build the runtime without an engine."""
    from device_agent.runtime.fake import FakeRuntime

    return FakeRuntime(slowdown=options.slowdown, real_time=options.real_time)


def _ships(name: RuntimeName, title: str, maker: str) -> RuntimeDeclaration:
    place = f"{__name__}:{maker}"
    return RuntimeDeclaration(name=name.value, title=title, implementation=place, settings=RuntimeOptions)


BUILT_IN = (
    _ships(RuntimeName.ONNXRUNTIME, "ONNX Runtime on the processor", "make_onnxruntime"),
    _ships(RuntimeName.RKNNLITE, "the RK3588's NPU through rknn-toolkit-lite2", "make_rknnlite"),
    _ships(RuntimeName.RK3588_SIM, "the RK3588 as its compiler sees it, simulated", "make_rk3588_sim"),
    _ships(RuntimeName.FAKE, "no engine: latencies from a model's bytes, for tests", "make_fake"),
)
"""Runtimes that ship with the agent."""


def check_runtime(name: str, settings: Mapping[str, Any] | None = None) -> str:
    """Return a name that an agent may be started with; what a package brings is imported, and built with its settings,
    in a process of its own.

    Raises:
        RuntimeUnavailableError: there is none of that name, or its package cannot be used, with the reason.
    """
    shipped = tuple(declaration.name for declaration in BUILT_IN)
    if name in shipped:
        return name
    installed = tuple(entry.name for entry in entries(Door.RUNTIMES))
    if name not in installed:
        known = ", ".join((*shipped, *installed))
        raise RuntimeUnavailableError(f"unknown runtime {name!r}: use one of {known}")
    looks = ("nas_engine.domain.plugins.door_survey:import_implementation", "device_agent.runtime.brought:build_once")
    try:
        for look in looks:
            called_in_process(
                Door.RUNTIMES,
                RuntimeDeclaration,
                look,
                name,
                dict(settings or {}),
                shipped=shipped,
                timeout_s=BUILD_TIMEOUT_S,
            )
    except PluginError as error:
        raise RuntimeUnavailableError(f"runtime {error}") from error
    return name


def brought_runtime(name: str) -> str:
    """Name a runtime that a package brings, with package and version; empty where it ships or is not known."""
    try:
        found = declared_runtime(name)
    except RuntimeUnavailableError:
        return ""
    return "" if found.is_built_in else f"runtime {name} of {found.provider}"


def declared_runtime(name: str) -> Brought[RuntimeDeclaration]:
    """Find what is declared of a runtime, and the package that brings it.

    Raises:
        RuntimeUnavailableError: there is none of that name, or its package cannot be used.
    """
    try:
        return declared(Door.RUNTIMES, RuntimeDeclaration, BUILT_IN).get(name)
    except PluginError as error:
        raise RuntimeUnavailableError(str(error)) from error


def create_runtime(name: str, options: RuntimeOptions, settings: Mapping[str, Any] | None = None) -> Runtime:
    """Build the runtime.

    Args:
        name: one that `check_runtime` has let pass.
        options: of those that ship.
        settings: of those that packages bring, as a document.

    Raises:
        RuntimeUnavailableError: its library is missing or does not work here, or the settings are none of its own.
    """
    found = declared_runtime(name)
    if not found.is_built_in:
        return make_brought(found, settings or {})
    if settings:
        raise RuntimeUnavailableError(f"runtime {name} has options of its own and takes no --runtime-settings")
    runtime: Runtime = found.declaration.resolve()(options)
    return runtime
