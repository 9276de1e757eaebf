"""A runtime that a package brings, held to the protocol: its errors are named, and end a job, never an agent.

What it answers is checked here, before anything is made of it: outputs and times that are no numbers are its fault, by
its name.

It runs in measuring processes, which are killed where it hangs; building it has a time of its own, since the agent
builds it too, to say what it can do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
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
    MonotonicClock,
    Output,
    Runtime,
    RuntimeFacts,
    Session,
    SessionSettings,
    VirtualClock,
)
from nas_engine.domain.errors import EngineError
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measurement import DeviceClass, Dtype
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
        if wrong := _wrong_facts(facts):
            raise guard.fault(f"its facts are wrong: {wrong}")
    except EngineError as error:
        raise RuntimeUnavailableError(f"runtime {error}") from error
    # Its package is part of what latencies are filed under, like any engine's version.
    versions = tuple(sorted({*facts.versions, (found.provider.package, found.provider.version)}))
    facts, provider = replace(facts, versions=versions), str(found.provider)
    if isinstance(runtime, LayerTimer):
        return BroughtLayerTimer(runtime, facts, provider, runtime)
    return BroughtRuntime(runtime, facts, provider)


def build_once(declaration: RuntimeDeclaration, document: JsonValue) -> JsonValue:
    """Build it and forget it; called in the process that looks at packages, so that one that ends its process is named.

    What it raises says nothing here: it is built again where its errors are reported.
    """
    with suppress(Exception):
        make = declaration.resolve()
        runtime = make() if declaration.settings is None else make(_settings(declaration, dict(document or {})))  # type: ignore[arg-type]
        _ = runtime.facts
    return None


def _wrong_facts(facts: Any) -> str:
    """What an agent cannot go by; empty where nothing."""
    texts = {"core_masks": facts.core_masks, "model_formats": facts.model_formats}
    for name, given in texts.items():
        if not isinstance(given, tuple) or not given or not all(isinstance(one, str) for one in given):
            return f"{name} is {given!r}: it must be a tuple of at least one text"
    pairs = facts.versions
    if not isinstance(pairs, tuple) or not all(
        isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(one, str) for one in pair) for pair in pairs
    ):
        return f"versions is {pairs!r}: it must be a tuple of pairs of texts, component and version"
    if not isinstance(facts.dtypes, tuple) or not facts.dtypes or not all(isinstance(d, Dtype) for d in facts.dtypes):
        return f"dtypes is {facts.dtypes!r}: it must be a tuple of at least one Dtype"
    if not isinstance(facts.device_class, DeviceClass):
        return f"device_class is {facts.device_class!r}: it must be a DeviceClass"
    return ""


class BroughtRuntime:
    """`Runtime`: hands each call on; whatever it raises that the protocol does not know fails the job by its name."""

    def __init__(self, runtime: Runtime, facts: RuntimeFacts, provider: str) -> None:
        self._runtime = runtime
        self._who = f"runtime {facts.name} of {provider}"
        self.facts = facts

    @property
    def clock(self) -> Clock:
        clock = _named(self._who, FailureType.INIT_FAILED, lambda: self._runtime.clock)
        # Ours are right, and what is timed by them is not to pay for a look at each answer.
        return clock if isinstance(clock, MonotonicClock | VirtualClock) else _Clock(clock, self._who)

    def load(self, path: Path, settings: SessionSettings) -> Loaded:
        loaded = _named(self._who, FailureType.INIT_FAILED, lambda: self._runtime.load(path, settings))
        if not isinstance(loaded, Loaded):
            raise JobFailedError(FailureType.INIT_FAILED, f"{self._who}: load returned a {type(loaded).__name__}")
        for name, given in (("load_ns", loaded.load_ns), ("init_ns", loaded.init_ns)):
            if not _is_duration(given):
                message = f"{self._who}: {name} is {given!r}: it must be whole nanoseconds, at least 0"
                raise JobFailedError(FailureType.INIT_FAILED, message)
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
        except BaseException as error:  # SystemExit too: only what kills the process ends it
            raise _failure(self._who, FailureType.RUN_FAILED, error) from error

    def last_npu_ns(self) -> int | None:
        found = _named(self._who, FailureType.RUN_FAILED, self._session.last_npu_ns)
        if found is not None and not _is_duration(found):
            message = f"{self._who}: last_npu_ns is {found!r}: it must be whole nanoseconds, at least 0, or None"
            raise JobFailedError(FailureType.RUN_FAILED, message)
        return found

    def outputs(self) -> Sequence[Output]:
        found = _named(
            self._who,
            FailureType.RUN_FAILED,
            lambda: [np.array(output) for output in self._session.outputs()],
        )
        for output in found:
            _check_numbers(self._who, output)
        return found

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
        _check_numbers(self._who, found)
        return found

    def close(self) -> None:
        _named(self._who, FailureType.RUN_FAILED, self._classifier.close)


class _Clock:
    """`Clock`: its answers are whole nanoseconds, and never go back."""

    def __init__(self, clock: Clock, who: str) -> None:
        self._clock = clock
        self._who = who
        self._last_ns: int | None = None

    def now_ns(self) -> int:
        found = _named(self._who, FailureType.RUN_FAILED, self._clock.now_ns)
        if not isinstance(found, int | np.integer) or isinstance(found, bool):
            message = f"{self._who}: its clock says {found!r}: it must tell whole nanoseconds"
            raise JobFailedError(FailureType.RUN_FAILED, message)
        if self._last_ns is not None and found < self._last_ns:
            message = f"{self._who}: its clock went back by {self._last_ns - found} ns"
            raise JobFailedError(FailureType.RUN_FAILED, message)
        self._last_ns = int(found)
        return self._last_ns

    def sleep(self, seconds: float) -> None:
        _named(self._who, FailureType.RUN_FAILED, lambda: self._clock.sleep(seconds))


def _is_duration(found: object) -> bool:
    return isinstance(found, int | np.integer) and not isinstance(found, bool) and int(found) >= 0


def _check_numbers(who: str, output: Output) -> None:
    if not np.issubdtype(output.dtype, np.number) and output.dtype != np.bool_:
        raise JobFailedError(FailureType.RUN_FAILED, f"{who}: it answered {output.dtype}, which are no numbers")
    if not np.all(np.isfinite(output)):
        raise JobFailedError(FailureType.OUTPUT_MISMATCH, f"{who}: its outputs hold NaN or infinities")


def _failure(who: str, failure: FailureType, error: BaseException) -> JobFailedError:
    memory = isinstance(error, MemoryError)
    return JobFailedError(FailureType.OUT_OF_MEMORY if memory else failure, f"{who}: {described(error)}")


def _named(who: str, failure: FailureType, call: Callable[[], T]) -> T:
    try:
        return call()
    except JobFailedError:
        raise
    except BaseException as error:  # SystemExit too: only what kills the process ends it
        raise _failure(who, failure, error) from error


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
