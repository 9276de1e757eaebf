"""A runtime that a package brings, held to the protocol: its errors are named, and end a job, never an agent.

It runs in measuring processes, which are killed where it hangs; building it has a time of its own, since the agent
builds it too, to say what it can do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from device_agent.failures import JobFailedError, RuntimeUnavailableError
from device_agent.runtime.base import (
    Classifier,
    Clock,
    LayerTimer,
    Loaded,
    Output,
    Runtime,
    RuntimeFacts,
    Session,
    SessionSettings,
)
from nas_engine.domain.errors import EngineError
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measuring.layer_times import LayerProfile
from nas_engine.domain.plugins.declarations import RuntimeDeclaration
from nas_engine.domain.plugins.doors import Brought, PluginError, described
from nas_engine.domain.plugins.guard import Guard

T = TypeVar("T")
BUILD_TIMEOUT_S = 60.0


def make_brought(found: Brought[RuntimeDeclaration], document: Mapping[str, Any]) -> Runtime:
    """Build what a package brings, with its settings from a document.

    Raises:
        RuntimeUnavailableError: it cannot be built, is none, or the settings are none of its own.
    """
    declaration = found.declaration
    guard = Guard(found, BUILD_TIMEOUT_S)

    def build() -> tuple[Runtime, RuntimeFacts]:
        make = declaration.resolve()
        runtime = make() if declaration.settings is None else make(_settings(declaration, document))
        return runtime, runtime.facts

    if declaration.settings is None and document:
        raise RuntimeUnavailableError(f"runtime {declaration.name} takes no --runtime-settings")
    try:
        runtime, facts = guard.call("building it", build)
        if not isinstance(facts, RuntimeFacts) or facts.name != declaration.name:
            raise guard.fault(f"its facts are {facts!r}: they must be RuntimeFacts with the name it is declared by")
    except EngineError as error:
        raise RuntimeUnavailableError(f"runtime {error}") from error
    # Its package is part of what latencies are filed under, like any engine's version.
    versions = tuple(sorted({*facts.versions, (found.provider.package, found.provider.version)}))
    facts, provider = replace(facts, versions=versions), str(found.provider)
    if isinstance(runtime, LayerTimer):
        return BroughtLayerTimer(runtime, facts, provider, runtime)
    return BroughtRuntime(runtime, facts, provider)


class BroughtRuntime:
    """`Runtime`: hands each call on; whatever it raises that the protocol does not know fails the job by its name."""

    def __init__(self, runtime: Runtime, facts: RuntimeFacts, provider: str) -> None:
        self._runtime = runtime
        self._who = f"runtime {facts.name} of {provider}"
        self.facts = facts

    @property
    def clock(self) -> Clock:
        return self._runtime.clock

    def load(self, path: Path, settings: SessionSettings) -> Loaded:
        loaded = _named(self._who, FailureType.INIT_FAILED, lambda: self._runtime.load(path, settings))
        if not isinstance(loaded, Loaded):
            raise JobFailedError(FailureType.INIT_FAILED, f"{self._who}: load returned a {type(loaded).__name__}")
        return replace(loaded, session=_Session(loaded.session, self._who))

    def load_classifier(self, path: Path, settings: SessionSettings) -> Classifier:
        loaded = _named(self._who, FailureType.INIT_FAILED, lambda: self._runtime.load_classifier(path, settings))
        return _Classifier(loaded, self._who)


class BroughtLayerTimer(BroughtRuntime):
    """A `BroughtRuntime` whose engine has a profiler."""

    def __init__(self, runtime: Runtime, facts: RuntimeFacts, provider: str, timer: LayerTimer) -> None:
        super().__init__(runtime, facts, provider)
        self._timer = timer

    def layer_times(self, path: Path, settings: SessionSettings, clock_budget_s: float) -> LayerProfile | None:
        found: object = _named(
            self._who, FailureType.RUN_FAILED, lambda: self._timer.layer_times(path, settings, clock_budget_s)
        )
        if found is None or isinstance(found, LayerProfile):
            return found
        kind = type(found).__name__
        raise JobFailedError(FailureType.RUN_FAILED, f"{self._who}: layer_times returned a {kind}")


class _Session:
    def __init__(self, session: Session, who: str) -> None:
        self._session = session
        self._who = who

    def run(self) -> None:
        try:
            self._session.run()
        except JobFailedError:
            raise
        except Exception as error:
            raise JobFailedError(FailureType.RUN_FAILED, f"{self._who}: {described(error)}") from error

    def last_npu_ns(self) -> int | None:
        return _named(self._who, FailureType.RUN_FAILED, self._session.last_npu_ns)

    def outputs(self) -> Sequence[Output]:
        return _named(
            self._who,
            FailureType.RUN_FAILED,
            lambda: [np.array(output) for output in self._session.outputs()],
        )

    def close(self) -> None:
        _named(self._who, FailureType.RUN_FAILED, self._session.close)


class _Classifier:
    def __init__(self, classifier: Classifier, who: str) -> None:
        self._classifier = classifier
        self._who = who

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        return _named(self._who, FailureType.INIT_FAILED, lambda: self._classifier.input_shape)

    def outputs(self, x: npt.NDArray[np.float32]) -> Output:
        found = np.asarray(_named(self._who, FailureType.RUN_FAILED, lambda: self._classifier.outputs(x)))
        if not np.issubdtype(found.dtype, np.number) or not np.all(np.isfinite(found)):
            raise JobFailedError(FailureType.RUN_FAILED, f"{self._who}: it answered NaN, an infinity or no numbers")
        return found

    def close(self) -> None:
        _named(self._who, FailureType.RUN_FAILED, self._classifier.close)


def _named(who: str, failure: FailureType, call: Callable[[], T]) -> T:
    try:
        return call()
    except JobFailedError:
        raise
    except Exception as error:
        raise JobFailedError(failure, f"{who}: {described(error)}") from error


def _settings(declaration: RuntimeDeclaration, document: Mapping[str, Any]) -> Any:
    """Read a dataclass without pydantic: known fields only, each of the type of its default where it has one."""
    kind: Any = declaration.settings
    known = {field.name: field for field in dataclasses.fields(kind)}
    for name, value in document.items():
        if name not in known:
            raise PluginError(f"--runtime-settings: unknown {name!r}: known are {', '.join(known) or 'none'}")
        default = known[name].default
        if default is dataclasses.MISSING or default is None:
            continue
        # Strictly: a boolean is no number, an integer is a floating-point number.
        fits = (int, float) if type(default) is float else (type(default),)
        if type(value) not in fits:
            expected = type(default).__name__
            raise PluginError(f"--runtime-settings: {name} is {value!r}: it must be of type {expected}")
    try:
        return kind(**document)
    except (TypeError, ValueError) as error:
        raise PluginError(f"--runtime-settings: {error}") from error
