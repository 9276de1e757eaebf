"""What others bring: example packages in an environment of their own, in real searches; the pages as printed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest

from hilnas.cli import main as cli
from hilnas.client.client import Hilnas
from tests.support.packages import lay_out
from tests.support.paths import ROOT
from tests.support.processes.plugin_environment import PACKAGES, PluginEnvironment, served

HOW_TO = ROOT / "docs" / "how-to"
pytestmark = pytest.mark.xdist_group("doors")  # one environment, one server
FILE = re.compile(r"`([\w.-]+\.yaml)`:\n\n```\w+\n(.*?)```", re.DOTALL)
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
AGENT = (
    *("agent", "--runtime", "onnx-reference", "--runtime-settings", '{"verbose": 0}', "--device-type", "reference"),
    "--insecure",
)
SPACE: dict[str, Any] = {
    "id": "convnext",
    "parameters": {"num_classes": 3, "input_channels": 1, "input_size": 16, "width": 4},
}
EVERYTHING: dict[str, Any] = {
    "space": SPACE,
    "supernet": {"space": SPACE, "dataset": "shapes", "iterations": 6, "batch_size": 30, "augmentation": "none"},
    "objectives": [{"metric": "noisy_top1", "settings": {"standard_deviation": 0.1}}, {"metric": "latency_us"}],
    "constraints": [{"metric": "widest_point_bytes", "maximum": 1000, "settings": {"bytes_per_number": 1}}],
    "algorithm": {"kind": "hill_climb", "batch_size": 2},
    "evaluation": {"num_calibration_batches": 1, "batch_size": 60},
    "budget": {"num_candidates": 4},
    "device": {"device_type": "reference"},
    "measurement": {"profile": "quick", "validity_policy": "accept_flagged"},
}
SLEEPLESS = """from hilnas import Goal, MetricDeclaration, MetricSource
IT = MetricDeclaration(
    name="sleepless", title="", unit="", goal=Goal.MINIMIZE, source=MetricSource.GRAPH, implementation="json:loads"
)
"""
FRAGILE = """from hilnas import RuntimeDeclaration
IT = RuntimeDeclaration(name="fragile", title="", implementation="fragile_code:Fragile")
"""
FRAGILE_CODE = """import os
from dataclasses import replace
from hilnas_onnx_reference import ReferenceSettings
from hilnas_onnx_reference_engine import ReferenceRuntime
class Fragile(ReferenceRuntime):
    def __init__(self):
        super().__init__(ReferenceSettings())
        self.facts = replace(self.facts, name="fragile")
    def load(self, path, settings):
        if os.path.exists({marker!r}):
            os._exit(9)
        return super().load(path, settings)
"""
BROKEN = {
    "does-not-import": ("hilnas.spaces", "halfway", "import no_such_module\n"),
    "ends-processes": ("hilnas.algorithms", "ender", "import os\nos._exit(3)\n"),
    "raises": ("hilnas.metrics", "sleepless", SLEEPLESS),
    "takes-a-name": ("hilnas.spaces", "spos", "IT = None\n"),
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> PluginEnvironment:
    made = PluginEnvironment(tmp_path_factory.mktemp("doors"))
    made.install(*PACKAGES)
    for package, (group, name, source) in BROKEN.items():
        lay_out(made.packages, package, group, name, source)
    return made


@pytest.fixture(scope="module")
def nas(environment: PluginEnvironment) -> Iterator[Hilnas]:
    with ExitStack() as stack:
        found = stack.enter_context(served(environment))
        token = (environment.home / "enrolment.token").read_text().strip()
        environment.variables["HILNAS_ENROLMENT_TOKEN"] = token
        stack.enter_context(environment.running("agent", *AGENT, "--state-dir", "bench"))
        yield found


def _get(nas: Hilnas, path: str, media_type: str) -> str:
    headers = {"Accept": media_type, "Authorization": f"Bearer {nas.token}"}
    return str(httpx2.get(f"{nas.url}{path}", headers=headers, timeout=60.0).text)


def finished(nas: Hilnas, spec: dict[str, Any]) -> Any:
    search = nas.searches.create(spec)
    for _ in nas.searches.events(search.id):
        pass
    return nas.searches.get(search.id)


def test_a_search_runs_on_what_six_packages_bring(nas: Hilnas, environment: PluginEnvironment) -> None:
    environment.until(lambda: any(nas.devices.all()), "the agent has enrolled")
    search = finished(nas, EVERYTHING)
    assert (search.state.value, search.reason) == ("completed", "budget used up")
    assert search.progress.num_complete == 4
    used = {
        ("hilnas.spaces", "convnext", "hilnas-convnext", "0.1.0"),
        ("hilnas.algorithms", "hill_climb", "hilnas-hill-climb", "0.1.0"),
        ("hilnas.datasets", "shapes", "hilnas-shapes", "0.1.0"),
        ("hilnas.metrics", "noisy_top1", "hilnas-noisy-accuracy", "0.1.0"),
        ("hilnas.metrics", "widest_point_bytes", "hilnas-widest-point", "0.1.0"),
    }
    assert {(one.door, one.name, one.package, one.version) for one in search.plugins} == used
    (point, *_) = nas.searches.front(search.id).points
    assert nas.searches.picture(point.candidate.id).startswith("<svg")
    candidates = list(nas.searches.candidates(search.id))
    assert len(candidates) == 4
    for candidate in candidates:
        values = {one.name: one for one in candidate.values}
        assert 0 <= values["noisy_top1"].value <= 1
        assert values["noisy_top1"].uncertainty is not None
        assert 0 < values["widest_point_bytes"].value <= 1000
        assert values["latency_us"].value > 0
    header, *rows = _get(nas, f"/api/v1/searches/{search.id}/candidates", "text/csv").splitlines()
    assert header.endswith(",noisy_top1,noisy_top1_standard_error,widest_point_bytes,widest_point_bytes_standard_error")
    assert len(rows) == 4
    evaluated = {one.metric: one for one in nas.searches.evaluations(point.candidate.id)}
    noisy, latency = evaluated["noisy_top1"], evaluated["latency_us"]
    assert (noisy.package, noisy.package_version) == ("hilnas-noisy-accuracy", "0.1.0")
    assert [one.name for one in noisy.plugins] == ["convnext", "shapes", "noisy_top1"]
    assert (latency.package, [one.name for one in latency.plugins]) == ("hilnas", ["convnext"])
    assert latency.runtime_versions["hilnas-onnx-reference"] == "0.1.0"
    measured = [nas.measurements.get(one.id) for one in nas.measurements.all({"search_id": search.id})]
    assert len(measured) == 4
    for measurement in measured:
        assert measurement.hardware.runtime == "onnx-reference"
        assert measurement.hardware.runtime_versions["hilnas-onnx-reference"] == "0.1.0"


def test_everything_is_listed_with_the_schemas_of_its_settings(nas: Hilnas, environment: PluginEnvironment) -> None:
    algorithms = {algorithm.name: algorithm for algorithm in nas.spaces.algorithms()}
    assert list(algorithms)[:2] == ["nsga2", "random"]
    assert algorithms["nsga2"].package == "hilnas"
    assert algorithms["nsga2"].settings_schema["properties"]["mutation_probability"]["maximum"] == 1
    climb = algorithms["hill_climb"]
    assert (climb.package, climb.version) == ("hilnas-hill-climb", "0.1.0")
    assert climb.settings_schema["properties"]["batch_size"]["description"].startswith("Number of neighbours")
    space = nas.spaces.get("convnext")
    assert (space.package, space.package_version) == ("hilnas-convnext", "0.1.0")
    assert space.parameters_schema is not None
    assert set(space.parameters_schema["properties"]) == {"num_classes", "input_size", "input_channels", "width"}
    assert {kind.name for kind in nas.spaces.dataset_kinds()} >= {"folder", "shapes"}
    assert {dataset.name: dataset.package for dataset in nas.spaces.datasets()}["shapes"] == "hilnas-shapes"
    environment.until(lambda: any(nas.devices.all()), "the agent has enrolled")
    (runtime,) = nas.devices.runtimes()
    assert (runtime.name, runtime.device_types, runtime.num_devices) == ("onnx-reference", ["reference"], 1)
    assert (runtime.package, runtime.version) == ("hilnas-onnx-reference", "0.1.0")
    assert runtime.settings_schema is not None
    assert runtime.settings_schema["properties"] == {"verbose": {"type": "integer", "default": 0}}
    metrics = {metric.name: metric for metric in nas.spaces.metrics()}
    assert next(iter(metrics)) == "top1"
    assert (metrics["top1"].package, metrics["top1"].settings_schema["properties"]) == ("hilnas", {})
    noisy, widest = metrics["noisy_top1"], metrics["widest_point_bytes"]
    assert (noisy.package, noisy.version, noisy.source.value) == ("hilnas-noisy-accuracy", "0.1.0", "evaluated")
    assert noisy.settings_schema["properties"]["standard_deviation"]["maximum"] == 10
    assert (widest.package, widest.source.value, widest.unit) == ("hilnas-widest-point", "graph", "bytes")
    assert widest.settings_schema["properties"]["bytes_per_number"]["default"] == 4


@pytest.mark.parametrize(
    ("change", "pointer", "reason"),
    [
        ({"algorithm": {"kind": "hill_climb", "batch_size": 0}}, "/algorithm/batch_size", "greater than or equal to 1"),
        ({"algorithm": {"kind": "hill_climb", "speed": 3}}, "/algorithm/speed", "unknown: known are batch_size"),
        ({"algorithm": {"kind": "hill_climbing"}}, "/algorithm", "unknown algorithm 'hill_climbing': known are nsga2"),
        ({"algorithm": {"kind": "ender"}}, "/algorithm", "ends-processes 1.0.*exit status 3"),
        ({"space": {"id": "convnext", "parameters": {"width": "wide"}}}, "/space/parameters/width", "valid integer"),
        (
            {"objectives": [{"metric": "noisy_top1", "settings": {"standard_deviation": -1}}]},
            "/objectives/0/settings/standard_deviation",
            "greater than or equal to 0",
        ),
        (
            {"constraints": [{"metric": "widest_point_bytes", "maximum": 100}]},
            "/constraints/0/maximum",
            "feasible range is",
        ),
        ({"constraints": [{"metric": "sleepless", "maximum": 1}]}, "/constraints/0/metric", "unknown name 'sleepless'"),
        ({"space": {"id": "halfway"}}, "/space/id", "does-not-import 1.0.*no_such_module"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place_and_its_package(
    nas: Hilnas, change: dict[str, Any], pointer: str, reason: str
) -> None:
    spec = {"space": SPACE, "objectives": [{"metric": "macs"}], "budget": {"num_candidates": 2}, **change}
    response = httpx2.post(
        f"{nas.url}/api/v1/searches", json=spec, headers={"Authorization": f"Bearer {nas.token}"}, timeout=60.0
    )
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["pointer"] == pointer
    assert re.search(reason, error["detail"])


def test_packages_at_fault_are_named_and_take_nothing_down(nas: Hilnas) -> None:
    found = {plugin.package: plugin for plugin in nas.spaces.plugins()}
    assert {package: plugin.problem for package, plugin in found.items() if plugin.package not in BROKEN} == {
        "hilnas-convnext": None,
        "hilnas-hill-climb": None,
        "hilnas-noisy-accuracy": None,
        "hilnas-shapes": None,
        "hilnas-widest-point": None,
    }
    assert "No module named 'no_such_module'" in str(found["does-not-import"].problem)
    assert "ended the process with exit status 3" in str(found["ends-processes"].problem)
    assert "tried on a small network, it raised TypeError" in str(found["raises"].problem)
    assert "hilnas itself has one of that name" in str(found["takes-a-name"].problem)
    assert nas.spaces.get("spos").package == "hilnas"


def test_a_runtime_that_ends_its_process_is_named_and_its_agent_goes_on(
    nas: Hilnas, environment: PluginEnvironment
) -> None:
    marker = environment.folder / "fragile"
    marker.touch()
    lay_out(environment.packages, "brings-fragile", "hilnas.runtimes", "fragile", FRAGILE)
    (environment.packages / "fragile_code.py").write_text(FRAGILE_CODE.format(marker=str(marker)), encoding="utf-8")
    spec = {
        "space": SPACE,
        "objectives": [{"metric": "latency_us"}, {"metric": "macs"}],
        "algorithm": {"kind": "random", "batch_size": 1},
        "budget": {"num_candidates": 1},
        "device": {"device_type": "fragile"},
        "measurement": {"profile": "quick", "validity_policy": "accept_flagged", "max_attempts": 1, "reuse": False},
    }
    options = ("--runtime", "fragile", "--device-type", "fragile", "--name", "fragile", "--state-dir", "fragile-state")
    with environment.running("fragile-agent", "agent", *options, "--insecure") as agent:
        environment.until(
            lambda: any(device.device_type == "fragile" for device in nas.devices.all()), "the agent has enrolled"
        )
        (failed,) = nas.searches.candidates(finished(nas, spec).id)
        assert failed.state.value in ("failed", "infeasible")
        assert "that ran runtime fragile of brings-fragile 1.0 ended with exit code 9" in failed.reason
        marker.unlink()
        (measured,) = nas.searches.candidates(finished(nas, {**spec, "seed": 7}).id)
        assert measured.state.value == "complete"
        assert agent.poll() is None


def test_the_committed_description_of_the_api_is_the_one_without_what_packages_bring(nas: Hilnas) -> None:
    headers = {"Authorization": f"Bearer {nas.token}"}
    text = httpx2.get(f"{nas.url}/api/v1/openapi.json", headers=headers, timeout=60.0).text
    brought = ("noisy_top1", "widest_point_bytes")
    assert all(name in text for name in brought)
    served = _without(json.loads(text), brought)
    committed = json.loads((ROOT / "tests" / "golden" / "openapi.json").read_text(encoding="utf-8"))
    assert {**served, "info": {**served["info"], "version": "golden"}} == committed


def _without(document: Any, names: Sequence[str]) -> Any:
    """Take the names of metrics out of lists of names, orders and patterns."""
    if isinstance(document, dict):
        return {key: _without(value, names) for key, value in document.items()}
    if isinstance(document, list):
        return [_without(value, names) for value in document if str(value).removeprefix("-") not in names]
    for name in names if isinstance(document, str) else ():
        document = document.replace(f"|{name}", "")
    return document


@pytest.mark.parametrize(
    "page", ["bring_a_space", "bring_an_algorithm", "bring_a_metric", "bring_a_data_set", "bring_a_runtime"]
)
def test_the_page_of_each_door_runs_as_printed(
    page: str,
    nas: Hilnas,
    environment: PluginEnvironment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for variable in ("HILNAS_URL", "HILNAS_TOKEN", "COLUMNS"):
        monkeypatch.setenv(variable, environment.variables[variable])
    monkeypatch.chdir(environment.folder)
    text = (HOW_TO / f"{page}.md").read_text(encoding="utf-8")
    for name, content in FILE.findall(text):
        (environment.folder / name).write_text(content, encoding="utf-8")
    printed: list[str] = []
    for line in (line for block in CONSOLE.findall(text) for line in block.splitlines()):
        words = shlex.split(line.removeprefix("$ "))
        if words[0] == "pip":
            assert words[2].removeprefix("./docs/examples/") in PACKAGES  # it was installed before the server started
        elif words[:2] == ["hilnas", "agent"] and "--device-type" in words:
            environment.until(lambda: any(nas.devices.all()), "the agent that the page starts has enrolled")
            assert words[1:] == [*AGENT]
        elif words[1] in ("spaces", "agent"):  # they look at what is installed where they run
            done = environment.hilnas(*words[1:])
            assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
            printed.append(done.stdout)
        else:
            status = cli.main(words[1:])
            said = capsys.readouterr()
            assert status == 0, f"{line}: {said.out}{said.err}"
            printed.append(said.out)
    assert any("completed" in output or "reference" in output for output in printed)
    for blocks in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        assert blocks in "".join(path.read_text() for path in (ROOT / "docs" / "examples").glob("*/*.py"))
