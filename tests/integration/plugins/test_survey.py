"""Packages are looked at in a process of their own: whatever an import does there is named, and does nothing here."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from device_agent.failures import RuntimeUnavailableError
from device_agent.runtime.select import check_runtime
from nas_engine.domain.plugins.declarations import AlgorithmDeclaration, SpaceDeclaration
from nas_engine.domain.plugins.door_survey import Inspection, called_in_process, resolved, survey
from nas_engine.domain.plugins.doors import Brought, Declared, Door, PluginError, Provider, declared
from tests.support.packages import lay_out

DECLARE = (
    "from hilnas import AlgorithmDeclaration\nIT = AlgorithmDeclaration(name={0!r}, title='', implementation={1!r})\n"
)
RUNTIME = """from hilnas import RuntimeDeclaration
IT = RuntimeDeclaration(name="theirs", title="", implementation={0!r})
"""
GOOD = DECLARE.format("good", "json:loads")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def titles(declaration: AlgorithmDeclaration, argument: str | None) -> str:
    """An examiner: called in the other process."""
    return f"{argument}{declaration.name}"


def looked_at(*, timeout_s: float = 30.0, argument: str = "") -> dict[str, str]:
    """What is said of each: its description, or its problem."""
    place = f"{__name__}:titles"
    inspection = Inspection(
        door=Door.ALGORITHMS,
        kind=AlgorithmDeclaration,
        examiner=place,
        argument=argument,
        shipped=("nsga2",),
    )
    found = survey([inspection], timeout_s=timeout_s)[Door.ALGORITHMS]
    said = {name: str(one.description) for name, one in found.found.items()}
    return said | {problem.name: str(problem) for problem in found.problems}


def test_every_fault_is_named_with_its_package_and_the_others_stay(folder: Path) -> None:
    faults = {
        "absent": "import no_such_module\n",
        "exits": "import sys\nsys.exit(7)\n",
        "ends": "import os\nprint('on purpose', flush=True)\nos._exit(3)\n",
        "dies": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
        "other-type": "IT = 3\n",
        "other-name": DECLARE.format("unlike", "json:loads"),
        "heavy": "import torch\n" + DECLARE.format("heavy", "json:loads"),
        "nsga2": GOOD,
    }
    for name, source in faults.items():
        lay_out(folder, f"brings-{name}", "hilnas.algorithms", name, source, version="2.1")
    lay_out(folder, "brings-good", "hilnas.algorithms", "good", GOOD)
    said = looked_at(argument="<>")
    assert said.pop("good") == "<>good"
    expected = {
        "absent": "No module named 'no_such_module'",
        "exits": "SystemExit: 7",
        "ends": "ended the process with exit status 3: on purpose",
        "dies": "ended the process with signal SIGSEGV",
        "other-type": "is a int: it must be a AlgorithmDeclaration",
        "other-name": "its declaration is called 'unlike'",
        "heavy": "its declaration imports torch",
        "nsga2": "hilnas itself has one of that name",
    }
    assert said.keys() == expected.keys()
    for name, reason in expected.items():
        assert f"{name} of brings-{name} 2.1 (hilnas.algorithms) is left out: " in said[name]
        assert reason in said[name]
    assert "brings_ends" not in sys.modules


def test_one_that_hangs_is_given_up_in_time(folder: Path) -> None:
    lay_out(folder, "a-sleeper", "hilnas.algorithms", "sleeper", "import time\ntime.sleep(600)\n")
    lay_out(folder, "brings-good", "hilnas.algorithms", "good", GOOD)
    start_s = time.monotonic()
    said = looked_at(timeout_s=3.0)
    assert said["good"] == "good"
    assert "did not import and answer within 3 s" in said["sleeper"]
    assert time.monotonic() - start_s < 120


def test_of_two_packages_that_bring_one_name_neither_is_used_and_both_are_named(folder: Path) -> None:
    lay_out(folder, "first", "hilnas.algorithms", "good", GOOD)
    lay_out(folder, "second", "hilnas.algorithms", "good", GOOD, version="3.0")
    lay_out(folder, "third", "hilnas.algorithms", "other", DECLARE.format("other", "json:loads"))
    found: Declared[AlgorithmDeclaration] = declared(Door.ALGORITHMS, AlgorithmDeclaration)
    assert list(found.brought) == ["other"]
    assert {str(problem) for problem in found.problems} == {
        "good of first 1.0 (hilnas.algorithms) is left out: second 3.0 brings the same name: uninstall all but one",
        "good of second 3.0 (hilnas.algorithms) is left out: first 1.0 brings the same name: uninstall all but one",
    }
    with pytest.raises(PluginError, match="good of first 1.0"):
        found.get("good")


def test_nothing_is_started_where_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert looked_at() == {}


def test_an_implementation_that_ends_its_process_does_not_end_this_one(folder: Path) -> None:
    (folder / "deadly.py").write_text("import os\nos._exit(5)\n")
    lay_out(folder, "brings-deadly", "hilnas.algorithms", "late", DECLARE.format("late", "deadly:Thing"))
    found = declared(Door.ALGORITHMS, AlgorithmDeclaration).get("late")
    with pytest.raises(PluginError, match=r"late of brings-deadly 1\.0.*exit status 5"):
        resolved(Door.ALGORITHMS, AlgorithmDeclaration, found)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module\n", "No module named 'no_such_module'"),
        ("import os\nos._exit(6)\n", "ended the process with exit status 6"),
        (RUNTIME.format("deadly_engine:Engine"), "ended the process with exit status 5"),
        (RUNTIME.format("json:no_such_engine"), "json:no_such_engine cannot be imported"),
    ],
)
def test_an_agent_does_not_start_with_a_runtime_at_fault(folder: Path, source: str, reason: str) -> None:
    (folder / "deadly_engine.py").write_text("import os\nos._exit(5)\n")
    lay_out(folder, "brings-runtime", "hilnas.runtimes", "theirs", source)
    with pytest.raises(RuntimeUnavailableError) as caught:
        check_runtime("theirs")
    assert "theirs of brings-runtime 1.0" in str(caught.value)
    assert reason in str(caught.value)
    with pytest.raises(RuntimeUnavailableError, match="unknown runtime 'nobody': use one of onnxruntime, .*, theirs"):
        check_runtime("nobody")
    assert check_runtime("fake") == "fake"


def test_a_question_to_a_package_that_is_not_there_is_refused() -> None:
    with pytest.raises(PluginError, match="no installed package brings 'nobody'"):
        called_in_process(Door.ALGORITHMS, AlgorithmDeclaration, f"{__name__}:titles", "nobody", None)


def test_a_declaration_says_what_it_lacks() -> None:
    with pytest.raises(PluginError, match="write package.module:attribute"):
        SpaceDeclaration(name="x", title="", implementation="module")
    with pytest.raises(PluginError, match="use up to 100 letters"):
        SpaceDeclaration(name="a b", title="", implementation="a:b")
    missing = SpaceDeclaration(name="x", title="", implementation="json:no.such")
    with pytest.raises(PluginError, match="json:no.such cannot be imported: AttributeError"):
        missing.resolve()
    assert not Brought(missing, Provider("mine", "1")).is_built_in
