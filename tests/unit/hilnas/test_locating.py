"""Where SDK and commands find a server and its token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hilnas.client.client import Hilnas
from hilnas.client.errors import ServerAddressError
from hilnas.client.locating import DEFAULT_URL, locate


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HILNAS_URL", "HILNAS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HILNAS_HOME", str(tmp_path))
    return tmp_path


def _serve(home: Path, url: str) -> None:
    (home / "server.json").write_text(json.dumps({"pid": 1, "http_url": url, "grpc_address": ""}))
    (home / "admin.token").write_text("nas_adm_x\n")


def test_without_anything_it_is_the_default_and_says_what_was_not_there(home: Path) -> None:
    place = locate()
    assert (place.url, place.token) == (DEFAULT_URL, None)
    assert str(home / "server.json") in place.url_from
    assert str(home / "admin.token") in place.token_from


def test_the_users_own_server_is_found_with_its_token_on_whichever_address(home: Path) -> None:
    _serve(home, "http://10.1.2.3:4711")
    place = locate()
    assert (place.url, place.token) == ("http://10.1.2.3:4711", "nas_adm_x")
    assert place.url_from == f"from {home / 'server.json'}"
    nas = Hilnas()
    assert (nas.url, nas.token) == ("http://10.1.2.3:4711", "nas_adm_x")
    nas.close()


@pytest.mark.parametrize(
    ("written", "dialled"),
    [("http://0.0.0.0:80", "http://127.0.0.1:80"), ("http://[::]:80", "http://[::1]:80")],
)
def test_a_server_that_listens_everywhere_is_dialled_on_this_machine(home: Path, written: str, dialled: str) -> None:
    _serve(home, written)
    assert locate().url == dialled


def test_the_environment_wins_over_the_home_folder_and_what_is_given_over_both(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _serve(home, "http://127.0.0.1:4711")
    monkeypatch.setenv("HILNAS_URL", "http://nas.example:1")
    monkeypatch.setenv("HILNAS_TOKEN", "nas_of_environment")
    of_environment = locate()
    assert (of_environment.url, of_environment.token) == ("http://nas.example:1", "nas_of_environment")
    assert (of_environment.url_from, of_environment.token_from) == ("from HILNAS_URL", "from HILNAS_TOKEN")
    given = locate("http://nas.example:2", "nas_given")
    assert (given.url, given.token) == ("http://nas.example:2", "nas_given")


def test_the_token_of_this_machine_is_not_sent_elsewhere(home: Path) -> None:
    _serve(home, "http://127.0.0.1:4711")
    assert locate("http://nas.example:1").token is None
    assert locate("http://127.0.0.1:9").token == "nas_adm_x"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"http_url": 3}'])
def test_a_server_file_that_cannot_be_read_is_none(home: Path, content: str) -> None:
    (home / "server.json").write_text(content)
    assert locate().url == DEFAULT_URL


def test_a_token_is_not_in_what_is_printed(home: Path) -> None:
    assert "nas_secret" not in repr(locate(token="nas_secret"))


@pytest.mark.parametrize("written", ["10.1.2.3:4711", "nas.example.org", "localhost:8080/", "[::1]:8080"])
def test_an_address_without_a_scheme_is_taken_as_http(home: Path, written: str) -> None:
    assert locate(written).url == f"http://{written}"


@pytest.mark.parametrize(
    "written",
    ["ftp://host", "http://", "http://host:port", "http://host:0", "http://host:99999", "my host", "http://["],
)
def test_what_is_no_address_is_refused_with_where_it_was_found(
    home: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setenv("HILNAS_URL", written)
    with pytest.raises(ServerAddressError, match=f"(?s)from HILNAS_URL.*{DEFAULT_URL}") as caught:
        locate()
    assert repr(written) in str(caught.value)


@pytest.mark.parametrize("token", ["nas_\u00fcber", "nas_adm_x\nX-More: 1", "nas adm"])
def test_a_token_that_no_header_can_carry_is_refused_without_being_shown(home: Path, token: str) -> None:
    with pytest.raises(ServerAddressError, match="the token .as given.") as caught:
        locate(token=token)
    assert token not in str(caught.value)
