"""The command's front door, and what it shows of spaces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hilnas.cli import main as cli
from nas_engine.spaces.registry import create_space, space_ids
from tests.support.commands import spaces


@pytest.mark.parametrize(("argv", "status"), [([], 2), (["--help"], 0), (["help"], 0), (["nonsense"], 2)])
def test_usage_lists_every_command(argv: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == status
    printed = capsys.readouterr()
    assert "NOUN VERB" in printed.out + printed.err


def _json(argv: list[str], capsys: pytest.CaptureFixture[str]) -> object:
    assert spaces.main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_space_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    listed = _json(["list"], capsys)
    assert isinstance(listed, list)
    assert "spos" in {space["id"] for space in listed}


def test_a_space_is_shown_with_its_genes(capsys: pytest.CaptureFixture[str]) -> None:
    shown = _json(["show", "spos", "-p", "stage_repeats=[1,1,1,1]"], capsys)
    assert isinstance(shown, dict)
    assert [gene["name"] for gene in shown["genes"]] == [f"stage{i}.block0" for i in range(4)]


def test_a_genotype_decodes_like_the_published_name_it_stands_for(capsys: pytest.CaptureFixture[str]) -> None:
    by_name = _json(["decode", "spos", "-a", "spos-all-shuffle5", "--num-classes", "10"], capsys)
    by_genes = _json(["decode", "spos", "-a", json.dumps([1] * 20), "--num-classes", "10"], capsys)
    assert by_name == by_genes


def test_equal_seeds_draw_equal_architectures(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["sample", "spos", "-n", "3", "--seed", "7"]
    first = _json(argv, capsys)
    assert isinstance(first, list)
    assert len({document["arch_id"] for document in first}) == 3
    assert _json(argv, capsys) == first


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["decode", "nope", "-a", "[1]"], "unknown search space 'nope'"),
        (["decode", "spos", "-a", "[1]"], "this space has 20"),
        (["decode", "spos", "-a", json.dumps([9] * 20)], "gene 0"),
        (["decode", "spos", "-a", "spos-unheard-of"], "not a published model"),
        (["show", "spos", "-p", "stem_stride"], "name=value"),
        (["show", "spos", "-p", "stem_stride=x"], "not JSON"),
    ],
)
def test_what_cannot_be_read_is_one_line_on_stderr(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert spaces.main(argv) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_an_architecture_is_exported_with_seeded_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["-p", "input_size=32", "-p", "stage_repeats=[1,1,1,1]", "-a", "[0,1,2,3]"]
    files = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for file in files:
        assert spaces.main(["decode", "spos", *small, "--onnx", str(file), "--json"]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    assert b"hilnas.arch_id" in files[0].read_bytes()


def test_an_architecture_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.svg"
    assert spaces.main(["decode", "spos", "-a", "spos-searched", "--svg", str(file)]) == 0
    assert file.read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.parametrize(
    ("space_id", "name"), [(space_id, name) for space_id in space_ids() for name in create_space(space_id).named]
)
def test_every_published_model_is_read_in_the_spaces_own_form_too(
    space_id: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    document = create_space(space_id).named[name].document
    own_form = document if isinstance(document, str) else json.dumps(document)
    by_name = _json(["decode", space_id, "--architecture", name], capsys)
    assert _json(["decode", space_id, "--architecture", own_form], capsys) == by_name
    assert isinstance(by_name, dict)
    assert {"arch_id", "macs", "params", "input_shape"} <= set(by_name)
    assert ("note" in by_name) == (by_name["genotype"] is None)


def test_a_warning_of_the_engine_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    named = create_space("densenas-mbv2").named
    name, published = next((name, one) for name, one in named.items() if isinstance(one.document, str))
    contradicting = published.document.replace("], 1, ", "], 7, ", 1).replace("], 2, ", "], 7, ", 1)  # type: ignore[union-attr]
    assert contradicting != published.document
    assert spaces.main(["decode", "densenas-mbv2", "-a", contradicting, "--json"]) == 0
    warned = capsys.readouterr()
    assert warned.err.startswith("warning: net_config entry ")
    assert "number of stack layers is 7" in warned.err
    assert _json(["decode", "densenas-mbv2", "-a", name], capsys) == json.loads(warned.out)
