"""The tree of commands: nouns, verbs, old spellings, completion, what is meant, and how commands end."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from typer.main import get_group

from hilnas.cli.exit_status import MEANINGS, ExitStatus
from hilnas.cli.main import main
from hilnas.cli.nouns import NOUNS, OLD_SPELLINGS
from nas_engine.domain.text import did_you_mean


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server is meant, but the one that nobody listens as."""
    monkeypatch.setenv("HILNAS_HOME", str(tmp_path))
    monkeypatch.setenv("HILNAS_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("HILNAS_CONNECT_S", "0")
    monkeypatch.setenv("COLUMNS", "160")


@pytest.mark.parametrize("old", OLD_SPELLINGS)
def test_an_old_spelling_is_its_verb_and_is_not_listed(old: str, capsys: pytest.CaptureFixture[str]) -> None:
    def shown(*words: str) -> str:
        assert main([*words, "--help"]) == 0
        return "\n".join(line for line in capsys.readouterr().out.splitlines() if "Usage:" not in line)

    assert shown(old) == shown(*OLD_SPELLINGS[old])
    assert f"│ {old} " not in shown()


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        (["serch", "list"], "search"),
        (["device", "list"], "devices"),
        (["jobs", "lst"], "list"),
        (["devices", "queu"], "queue"),
        (["search", "list", "--ownr", "me"], "Did you mean --owner?"),
        (["demo", "--kep"], "--keep"),
        (["server", "statsu"], "'status'"),
        (["workers", "lst"], "'list'"),
        (["search", "front", "x", "--dominance", "confidnt"], "confident"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_one_that_was_meant(
    argv: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == ExitStatus.USAGE
    assert meant in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["agent", "--servr", "board:50051"], "there is no option --servr; did you mean --server?"),
        (["agent", "--servr=board:50051"], "there is no option --servr; did you mean --server?"),
        (["agent", "doctr"], "use run, doctor or selftest; did you mean doctor?"),
    ],
)
def test_the_agent_says_the_same_without_typer(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == ExitStatus.USAGE
    assert said in capsys.readouterr().err.splitlines()[0]


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        (["search", "create", "--preset", "spos-imagenet-evolutoin"], "spos-imagenet-evolution"),
        (["supernets", "train", "--preset", "scarlet-imagnet"], "scarlet-imagenet"),
        (["presets", "show", "alphanet"], "alphanet-imagenet"),
        (["spaces", "show", "sposs"], "spos"),
    ],
)
def test_a_mistyped_name_is_answered_with_the_one_that_was_meant(
    argv: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == ExitStatus.FAILED
    _, _, near = capsys.readouterr().err.partition("did you mean ")
    assert meant in near.removesuffix("?\n").split(" or ")


def test_what_is_near_no_known_word_is_left_alone() -> None:
    assert did_you_mean("zebra", ["spos", "scarlet"]) == ""
    assert did_you_mean("SPOS", ["spos"]) == "; did you mean spos?"


@pytest.mark.parametrize("argv", [["search", "list"], ["search", "follow", "x"], ["jobs", "cancel", "job_x"]])
def test_a_command_without_a_server_says_where_it_looked(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == ExitStatus.UNREACHABLE
    (line,) = capsys.readouterr().err.splitlines()
    assert "no answer from http://127.0.0.1:1 (from HILNAS_URL)" in line
    assert "hilnas server" in line


@pytest.mark.parametrize("wait", ["soon", "-1", "nan", "inf"])
def test_a_wait_that_is_none_is_refused(
    wait: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HILNAS_CONNECT_S", wait)
    for argv in (["search", "list"], ["jobs", "cancel", "job_x"]):
        assert main(argv) == ExitStatus.FAILED
        (line,) = capsys.readouterr().err.splitlines()
        assert f"HILNAS_CONNECT_S is '{wait}': give seconds, 0 or more" in line


def test_every_verb_prints_json_but_those_that_run_or_export() -> None:
    without = set()
    for name, noun in NOUNS.items():
        module = importlib.import_module(noun.module)
        if not hasattr(module, "app"):  # `agent` and `version`, which do without typer
            continue
        for verb, command in get_group(module.app).commands.items():
            if not command.hidden and all("--json" not in option.opts for option in command.params):
                without.add(f"{name} {verb}")
    exports = {"search export", "measurements export", "tables export"}  # CSV or lines of JSON, by --format
    assert without == {"server run", "worker run", "demo run", *exports}


def test_every_exit_status_has_a_meaning() -> None:
    assert set(MEANINGS) == set(ExitStatus)


def test_completion_is_installed_by_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "--install-completion" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(set(NOUNS) - {"agent", "version"}))
def test_every_noun_lists_its_verbs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "-h"]) == 0
    assert f"Usage: hilnas {name}" in capsys.readouterr().out


def test_a_verb_may_be_left_out_where_there_is_a_usual_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["workers", "--json"]) == ExitStatus.UNREACHABLE
    assert main(["certs", str(tmp_path / "certs")]) == 0
    assert (tmp_path / "certs" / "server.pem").exists()
    assert main(["server", "--nonsense"]) == ExitStatus.USAGE
    assert "hilnas server run" in capsys.readouterr().err
