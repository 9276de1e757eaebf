"""What packages bring is held to its protocol: what raises, hangs or answers nonsense is named, and fails alone."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Literal, cast

import numpy as np
import pytest

from device_agent.failures import JobFailedError, RuntimeUnavailableError
from device_agent.runtime.base import Loaded, MonotonicClock, RuntimeFacts, SessionSettings
from device_agent.runtime.brought import make_brought
from device_agent.runtime.settings_schema import settings_schema
from hilnas.v1 import control_pb2
from hilnas.wire import identity_to_proto
from nas_engine.cost.prediction.predictor import MetricPredictor
from nas_engine.domain.errors import InvalidGenotypeError
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import DeviceClass, DeviceIdentity, Dtype
from nas_engine.domain.metric import Goal
from nas_engine.domain.metrics import MACS
from nas_engine.domain.objective import Objective
from nas_engine.domain.plugins.declarations import (
    AlgorithmDeclaration,
    RuntimeDeclaration,
)
from nas_engine.domain.plugins.doors import Brought, PluginError, Provider
from nas_engine.domain.plugins.guard import Guard
from nas_engine.domain.search_space import Form
from nas_engine.search.algorithm import SearchAlgorithm, SearchProblem
from nas_engine.search.algorithms.random_search import RandomSearch
from nas_engine.search.brought import BroughtAlgorithm
from nas_engine.settings.algorithms import RandomSearchSettings
from nas_engine.spaces.brought import BroughtSpace, probe
from server.fleet.converters import capabilities_from_proto
from server.fleet.device import DeviceCapabilities, RuntimeDescription
from tests.support.fakes.space import StagedSpace
from tests.support.paths import ROOT

WHO = Provider("their-package", "4.2")
PROBLEM = SearchProblem(space=StagedSpace(), objectives=(Objective(MACS, Goal.MINIMIZE),))


def guard(timeout_s: float = 20.0) -> Guard:
    declaration = AlgorithmDeclaration(name="theirs", title="", implementation="a:b")
    return Guard(Brought(declaration, WHO), timeout_s)


class Changed:
    """Another object with some of its answers replaced; those that are functions are called."""

    def __init__(self, inner: Any, **answers: Any) -> None:
        self._inner, self._answers = inner, answers

    def __getattr__(self, name: str) -> Any:
        return self._answers[name] if name in self._answers else getattr(self._inner, name)


def always(answer: Any) -> Callable[..., Any]:
    return lambda *_: answer


def raises(*_: Any) -> Any:
    raise RuntimeError("broken inside")


def runs_out(*_: Any) -> Any:
    raise MemoryError("no room")


def hangs(*_: Any) -> Any:
    time.sleep(60)


def exits(*_: Any) -> Any:
    sys.exit(4)


def test_a_call_that_hangs_is_given_up_and_not_asked_again() -> None:
    guarded = guard(0.2)
    with pytest.raises(PluginError, match=r"theirs of their-package 4\.2: decode did not return within 0\.2 s"):
        guarded.call("decode", hangs)
    start_s = time.monotonic()
    with pytest.raises(PluginError, match="nothing more is asked of it until this process starts anew"):
        guarded.call("decode", lambda: 1)
    assert time.monotonic() - start_s < 0.2


class TestSpaces:
    @pytest.mark.parametrize(
        ("answers", "reason"),
        [
            ({"space_id": "other"}, "its space_id is 'other'"),
            ({"genes": ()}, "no non-empty list of Gene"),
            ({"size": float("nan")}, "its size is nan"),
            ({"num_classes": True}, "its num_classes is True"),
            ({"input_shapes": ((3, 0, 32),)}, "each above 0"),
            ({"parameters": {"width": float("nan")}}, "no JSON document of finite numbers"),
        ],
    )
    def test_nonsense_about_itself_is_named(self, answers: dict[str, Any], reason: str) -> None:
        with pytest.raises(PluginError, match=rf"theirs of their-package 4\.2: .*{reason}"):
            BroughtSpace(Changed(StagedSpace(), **answers), "staged", guard())

    @pytest.mark.parametrize(
        ("answers", "reason"),
        [
            ({"canonical": raises}, "canonical raised RuntimeError: broken inside"),
            ({"canonical": exits}, "canonical raised SystemExit: 4"),
            ({"canonical": always((99,) * 12)}, "is no genotype of it"),
            ({"canonical": always((0,))}, "is no genotype of it"),
        ],
    )
    def test_what_canonical_does_is_named(self, answers: dict[str, Any], reason: str) -> None:
        space = BroughtSpace(Changed(StagedSpace(), **answers), "staged", guard())
        with pytest.raises(PluginError, match=rf"theirs of their-package 4\.2: .*{reason}"):
            space.canonical((0,) * 12)

    def test_what_is_no_architecture_and_no_graph_is_named(self) -> None:
        inner = StagedSpace()
        space = BroughtSpace(Changed(inner, decode=always(None), graph=always(3)), "staged", guard())
        with pytest.raises(PluginError, match="decode returned a NoneType"):
            space.decode((0,) * 12)
        with pytest.raises(PluginError, match="graph returned a int"):
            space.graph(inner.decode((0,) * 12), Form.DEPLOYED)

    def test_its_own_errors_stay_as_they_are(self) -> None:
        with pytest.raises(InvalidGenotypeError, match="genotype has 1 genes"):
            BroughtSpace(StagedSpace(), "staged", guard()).canonical((0,))

    def test_one_that_contradicts_itself_is_found_when_it_is_tried_out(self) -> None:
        with pytest.raises(PluginError, match="genotype_of"):
            probe(Changed(StagedSpace(), genotype_of=always((1,) * 12)), "staged")


class TestAlgorithms:
    def algorithm(self, **answers: Any) -> BroughtAlgorithm:
        inner = RandomSearch(PROBLEM, RandomSearchSettings(batch_size=4), seed=1)
        return BroughtAlgorithm(Changed(inner, **answers), PROBLEM, guard())

    @pytest.mark.parametrize(
        ("answers", "call", "reason"),
        [
            ({"batch_size": float("nan")}, lambda a: a.batch_size, "batch_size is nan"),
            ({"batch_size": 0}, lambda a: a.batch_size, "between 1 and"),
            ({"ask": raises}, lambda a: a.ask(2), "ask raised RuntimeError: broken inside"),
            ({"ask": always([(0,) * 12] * 2)}, lambda a: a.ask(2), "which it has asked before"),
            ({"ask": always([(0,) * 12, (1, *(0,) * 11)])}, lambda a: a.ask(1), "ask(1) returned 2 genotypes"),
            ({"ask": always([(99,) * 12])}, lambda a: a.ask(1), "ask returned"),
            ({"ask": always([(0, 0, 3, 3) * 3])}, lambda a: a.ask(1), "not canonical"),
            ({"state": lambda: {"mean": float("nan")}}, lambda a: a.state(), "state is no JSON document"),
            ({"report": lambda: {"best": float("inf")}}, lambda a: a.report(), "report is no JSON document"),
            ({"report": lambda: 3}, lambda a: a.report(), "report raised TypeError"),
            ({"pick_models": always([5])}, lambda a: a.pick_models([(1.0,)]), "pick_models returned"),
            ({"front": lambda: [3]}, lambda a: a.front(), "something else than observations"),
            ({"remeasures": "yes"}, lambda a: a.remeasures, "remeasures is 'yes'"),
            ({"predictors": raises}, lambda a: a.predictors(), "predictors raised RuntimeError"),
            ({"predictors": always(3)}, lambda a: a.predictors(), "something else than models by metric"),
            ({"predictors": always({MACS: 3})}, lambda a: a.predictors(), "something else than models by metric"),
            ({"predictors": always({})}, lambda a: a.predictors(), "no model of macs"),
            ({"tell": exits}, lambda a: a.tell([]), "tell raised SystemExit"),
        ],
    )
    def test_nonsense_is_named(
        self, answers: dict[str, Any], call: Callable[[BroughtAlgorithm], Any], reason: str
    ) -> None:
        with pytest.raises(PluginError) as caught:
            call(self.algorithm(**answers))
        assert str(caught.value).startswith("theirs of their-package 4.2: ")
        assert reason in str(caught.value)

    def test_one_that_remeasures_and_predicts_is_believed(self) -> None:
        models = {MACS: MetricPredictor(PROBLEM.space.genes, MACS)}
        algorithm = self.algorithm(remeasures=True, predictors=always(models))
        assert (algorithm.remeasures, algorithm.predictors()) == (True, models)

    def test_one_that_says_nothing_of_either_does_neither(self) -> None:
        old = SimpleNamespace(batch_size=1)  # of a package that is older than both
        algorithm = BroughtAlgorithm(cast("SearchAlgorithm", old), PROBLEM, guard())
        assert (algorithm.remeasures, algorithm.predictors()) == (False, None)

    def test_a_checkpoint_remembers_what_was_asked(self) -> None:
        first, second = self.algorithm(), self.algorithm()
        asked = first.ask(4)
        second.load_state(first.state())
        assert second.num_asked == 4
        repeating = self.algorithm(load_state=always(None), ask=always(asked[:1]))
        repeating.load_state(first.state())
        with pytest.raises(PluginError, match="asked before"):
            repeating.ask(1)
        assert second.ask(4) == first.ask(4)


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    verbose: int = 0
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ManySettings:
    path: str
    threads: int | None = None
    mode: Literal["fast", "exact"] = "fast"
    shape: tuple[int, ...] = (1, 3)
    scale: float = 1.0
    traced: bool = False


def any_identity() -> DeviceIdentity:
    return DeviceIdentity(
        board_model="bench",
        device_class=DeviceClass.EMULATED,
        runtime="theirs",
        runtime_versions=(("engine", "9"),),
        clocks_profile="default",
        core_mask="any",
    )


class TheirRuntime:
    facts = RuntimeFacts(
        name="theirs",
        device_class=DeviceClass.EMULATED,
        versions=(("engine", "9"),),
        dtypes=(Dtype.FP32,),
        model_formats=("onnx",),
        core_masks=("any",),
        uses_processor=True,
        has_npu_time=False,
    )
    clock = MonotonicClock()

    def __init__(self, settings: EngineSettings) -> None:
        if settings.verbose == 3:
            raises()

    def load(self, path: Any, settings: SessionSettings) -> Loaded:
        return Loaded(Changed(None, run=raises, outputs=raises), 0, 0)

    def load_classifier(self, path: Any, settings: SessionSettings) -> Any:
        return Changed(None, outputs=always(np.array([[0.5, np.nan]])))


class TestRuntimes:
    def made(self, **settings: Any) -> Any:
        place = f"{__name__}:TheirRuntime"
        declaration = RuntimeDeclaration(name="theirs", title="", implementation=place, settings=EngineSettings)
        return make_brought(Brought(declaration, WHO), settings)

    def test_its_package_is_part_of_the_hardware_key(self) -> None:
        assert self.made(scale=2).facts.versions == (("engine", "9"), ("their-package", "4.2"))

    @pytest.mark.parametrize(
        ("settings", "reason"),
        [
            ({"speed": 1}, "unknown 'speed': known are verbose, scale"),
            ({"verbose": True}, "verbose is True: it must be of type int"),
            ({"verbose": "1"}, "verbose is '1'"),
            ({"verbose": 3}, "building it raised RuntimeError: broken inside"),
        ],
    )
    def test_settings_and_building_are_named(self, settings: dict[str, Any], reason: str) -> None:
        with pytest.raises(RuntimeUnavailableError, match=rf"theirs of their-package 4\.2: .*{reason}"):
            self.made(**settings)

    def test_what_raises_or_answers_nan_fails_the_job_by_its_name(self) -> None:
        runtime = self.made()
        session = runtime.load(ROOT, SessionSettings(format="onnx")).session
        with pytest.raises(JobFailedError, match=r"theirs of their-package 4\.2: RuntimeError: broken inside"):
            session.run()
        classifier = runtime.load_classifier(ROOT, SessionSettings(format="onnx"))
        with pytest.raises(JobFailedError, match=r"theirs of their-package 4\.2: its outputs hold NaN"):
            classifier.outputs(np.zeros((1, 2), np.float32))

    @pytest.mark.parametrize(
        ("answers", "asked", "failure", "reason"),
        [
            ({"run": exits}, "run", FailureType.RUN_FAILED, "SystemExit: 4"),
            ({"run": runs_out}, "run", FailureType.OUT_OF_MEMORY, "MemoryError: no room"),
            ({"outputs": always([np.full(2, np.inf)])}, "outputs", FailureType.OUTPUT_MISMATCH, "NaN or infinities"),
            ({"outputs": always(["a"])}, "outputs", FailureType.RUN_FAILED, "it answered <U1, which are no numbers"),
            ({"outputs": always(None)}, "outputs", FailureType.RUN_FAILED, "TypeError"),
            ({"last_npu_ns": always(float("nan"))}, "last_npu_ns", FailureType.RUN_FAILED, "last_npu_ns is nan"),
            ({"last_npu_ns": always(-5)}, "last_npu_ns", FailureType.RUN_FAILED, "last_npu_ns is -5"),
            ({"last_npu_ns": always("3")}, "last_npu_ns", FailureType.RUN_FAILED, "last_npu_ns is '3'"),
        ],
    )
    def test_each_answer_of_a_session_is_held_to_the_protocol(
        self, monkeypatch: pytest.MonkeyPatch, answers: Any, asked: str, failure: FailureType, reason: str
    ) -> None:
        monkeypatch.setattr(TheirRuntime, "load", always(Loaded(Changed(None, **answers), 0, 0)))
        session = self.made().load(ROOT, SessionSettings(format="onnx")).session
        with pytest.raises(JobFailedError, match=re.escape(reason)) as caught:
            getattr(session, asked)()
        assert caught.value.type is failure
        assert "theirs of their-package 4.2" in str(caught.value)

    @pytest.mark.parametrize("duration", [float("nan"), -1, None, "5", True])
    def test_times_of_loading_are_whole_nanoseconds(self, monkeypatch: pytest.MonkeyPatch, duration: Any) -> None:
        monkeypatch.setattr(TheirRuntime, "load", always(Loaded(Changed(None), 0, duration)))
        with pytest.raises(JobFailedError, match=r"theirs of their-package 4\.2: init_ns is .*whole nanoseconds"):
            self.made().load(ROOT, SessionSettings(format="onnx"))

    @pytest.mark.parametrize(
        ("told", "reason"),
        [
            ([float("nan")], "its clock says nan"),
            ([3, 2], "its clock went back by 1 ns"),
            ([KeyError("gone")], "KeyError: 'gone'"),
        ],
    )
    def test_its_clock_tells_whole_nanoseconds_and_never_goes_back(
        self, monkeypatch: pytest.MonkeyPatch, told: list[Any], reason: str
    ) -> None:
        rest = iter(told)

        def now_ns() -> Any:
            found = next(rest)
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(TheirRuntime, "clock", Changed(None, now_ns=now_ns))
        clock = self.made().clock
        for _ in told[:-1]:
            clock.now_ns()
        with pytest.raises(JobFailedError, match=rf"theirs of their-package 4\.2: {reason}"):
            clock.now_ns()

    def test_a_runtime_without_a_clock_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(TheirRuntime, "clock")
        with pytest.raises(JobFailedError, match=r"theirs of their-package 4\.2: AttributeError"):
            _ = self.made().clock

    @pytest.mark.parametrize(
        "change",
        [{"core_masks": ()}, {"model_formats": ["onnx"]}, {"versions": ((1, None),)}, {"dtypes": ("fp32",)}],
    )
    def test_facts_that_an_agent_cannot_go_by_are_refused(
        self, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
    ) -> None:
        monkeypatch.setattr(TheirRuntime, "facts", replace(TheirRuntime.facts, **change))
        (name,) = change
        with pytest.raises(RuntimeUnavailableError, match=rf"theirs of their-package 4\.2: .*wrong: {name} is"):
            self.made()

    def test_agents_report_the_schema_of_its_settings(self) -> None:
        declaration = RuntimeDeclaration(name="theirs", title="", implementation="a:b", settings=ManySettings)
        schema = settings_schema(Brought(declaration, WHO))
        assert schema["required"] == ["path"]
        assert schema["properties"] == {
            "path": {"type": "string"},
            "threads": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
            "mode": {"enum": ["fast", "exact"], "default": "fast"},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "scale": {"type": "number", "default": 1.0},
            "traced": {"type": "boolean", "default": False},
        }
        described = RuntimeDescription(title="", package="p", version="1", settings_schema_json="{}")
        capabilities = DeviceCapabilities(identity=any_identity(), runtime=described)
        assert DeviceCapabilities.from_json(capabilities.to_json()) == capabilities

    @pytest.mark.parametrize("text", ["", "[1]", "{", '{"a": NaN}', "[" * 5000])
    def test_a_server_leaves_out_what_is_no_schema(self, text: str) -> None:
        said = control_pb2.Capabilities(identity=identity_to_proto(any_identity()))
        said.runtime.settings_schema_json = text
        assert capabilities_from_proto(said).runtime is None
        said.runtime.settings_schema_json = '{"type": "object"}'
        found = capabilities_from_proto(said).runtime
        assert found is not None
        assert found.settings_schema_json == '{"type":"object"}'

    def test_settings_that_need_pydantic_are_refused(self) -> None:
        with pytest.raises(PluginError, match="agents have no pydantic"):
            RuntimeDeclaration(name="theirs", title="", implementation="a:b", settings=RandomSearchSettings)
