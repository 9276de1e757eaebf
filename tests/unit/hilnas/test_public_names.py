"""What `import hilnas` gives."""

from __future__ import annotations

from pathlib import Path

import pytest

import hilnas
from hilnas import plugins, public


@pytest.mark.parametrize("name", plugins.__all__)
def test_every_name_that_packages_declare_with_is_there(name: str) -> None:
    assert getattr(hilnas, name) is getattr(plugins, name)
    assert name in dir(hilnas)


@pytest.mark.parametrize("name", public.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(hilnas, name) is getattr(public, name)
    assert name in dir(hilnas)


def test_a_name_that_is_none_is_refused_with_those_there_are() -> None:
    with pytest.raises(AttributeError, match="no attribute 'conect'.*connect"):
        hilnas.conect  # noqa: B018


def test_connect_finds_address_and_token_as_the_command_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HILNAS_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HILNAS_HOME", str(tmp_path))
    (tmp_path / "admin.token").write_text("nas_local\n")
    monkeypatch.delenv("HILNAS_TOKEN", raising=False)
    with hilnas.connect() as nas:
        assert (nas.url, nas.token) == ("http://127.0.0.1:9", "nas_local")
    monkeypatch.setenv("HILNAS_TOKEN", "nas_given")
    with hilnas.connect() as nas:
        assert nas.token == "nas_given"
    monkeypatch.delenv("HILNAS_TOKEN")
    with hilnas.connect("http://board-farm.example:8080") as nas:
        assert nas.token is None
