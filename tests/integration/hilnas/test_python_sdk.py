"""The SDK against a served API: the same calls blocking and awaited, waiting, tables, pictures, and errors in words."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

import hilnas
from hilnas.client.search_resources import Search
from tests.support.worlds.api_world import ADMIN, World, latency_spec
from tests.support.worlds.served_world import served

_ARCHITECTURES = ([0, 0, 0, 0], [1, 1, 1, 1], [3, 3, 3, 3])
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World.open(tmp_path_factory.mktemp("sdk"))
    yield world
    world.close()


@pytest.fixture(scope="module")
def url(world: World) -> Iterator[str]:
    with served(world) as url:
        yield url


@pytest.fixture(scope="module")
def search_id(world: World, url: str) -> str:
    """A search that is over, of three candidates that a board measured."""
    device = world.enrol()
    with hilnas.connect(url, ADMIN) as nas:
        search = nas.searches.create(latency_spec(name=HOSTILE))
    world.step(_ARCHITECTURES)
    world.convert_all()
    world.measure_all(device)
    world.step(last=True)
    return search.id


@pytest.fixture
def nas(url: str) -> Iterator[hilnas.Hilnas]:
    with hilnas.connect(url, ADMIN) as nas:
        yield nas


def test_both_clients_answer_alike(url: str, nas: hilnas.Hilnas, search_id: str, tmp_path: Path) -> None:
    async def ask() -> list[object]:
        async with hilnas.connect_async(url, ADMIN) as other:
            search = await other.searches.get(search_id)
            downloaded = tmp_path / "back"
            (tmp_path / "file").write_bytes(b"x" * 3_000_000)
            stored = await other.artifacts.upload(tmp_path / "file")
            await other.artifacts.download(stored.sha256, downloaded)
            assert downloaded.read_bytes() == (tmp_path / "file").read_bytes()
            return [
                search.name,
                await search.front(),
                await search.hypervolume(),
                [one.id async for one in search.candidates()],
                [one.id for one in await other.searches.all().to_list()],
                [event.type async for event in search.events()],
                b"".join([chunk async for chunk in other.searches.export_candidates(search_id, "text/csv")]),
                (await search.to_pandas()).to_dict(),
                (await search.wait()).state,
                (await other.version()).version,
            ]

    search = nas.searches.get(search_id)
    assert anyio.run(ask) == [
        search.name,
        search.front(),
        search.hypervolume(),
        [one.id for one in search.candidates()],
        [one.id for one in nas.searches.all()],
        [event.type for event in search.events()],
        b"".join(nas.searches.export_candidates(search_id, "text/csv")),
        search.to_pandas().to_dict(),
        search.wait().state,
        nas.version().version,
    ]


def test_what_does_not_end_is_waited_for_no_longer_than_wanted_and_what_failed_is_raised(
    nas: hilnas.Hilnas, search_id: str
) -> None:
    search = nas.searches.create(latency_spec())
    with pytest.raises(TimeoutError, match="is running after 0.1 s.*it goes on") as late:
        search.wait(0.1, poll_s=0.05)
    assert isinstance(late.value, hilnas.WaitTimeoutError)
    search.cancel()
    with pytest.raises(hilnas.UnsuccessfulError, match="cancelled by a user") as caught:
        search.wait()
    assert isinstance(caught.value.ended, Search)
    assert search.wait(check=False).state.value == "cancelled"
    assert search.refresh().state.value == "cancelled"


def test_tables_of_pandas_hold_values_with_their_intervals(nas: hilnas.Hilnas, search_id: str) -> None:
    search = nas.searches.get(search_id)
    candidates = search.to_pandas()
    assert list(candidates["seq"]) == [1, 2, 3]
    assert {"id", "arch_id", "macs", "latency_us", "latency_us_low", "latency_us_high"} <= set(candidates.columns)
    assert (candidates["latency_us_low"] <= candidates["latency_us"]).all()
    assert len(search.front().to_pandas()) == len(search.front().points)
    assert list(search.hypervolume().to_pandas()["num_evaluated"]) == [1, 2, 3]
    latencies = nas.measurements.all().to_pandas()
    assert len(latencies) == 3
    assert latencies["stats.p50_us"].min() > 0
    assert list(nas.searches.all().to_pandas()["id"])[-1] == search_id


def test_without_pandas_the_line_that_installs_it_is_said(
    nas: hilnas.Hilnas, search_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)  # as Python itself marks what cannot be imported
    with pytest.raises(ImportError, match=r"pip install 'hilnas\[pandas\]'"):
        nas.searches.get(search_id).to_pandas()


def test_pandas_is_not_imported_before_a_table_is_asked_for(url: str) -> None:
    code = (
        f"import sys, hilnas\nnas = hilnas.connect({url!r}, {ADMIN!r})\n"
        "repr(nas.searches.all()), nas.searches.all()._repr_html_()\nassert 'pandas' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_notebook_sees_the_front_drawn_and_nothing_of_it_is_run(nas: hilnas.Hilnas, search_id: str) -> None:
    search = nas.searches.get(search_id)
    front = search.front()
    shown = front._repr_html_()
    assert shown == search.front()._repr_html_()
    picture = ET.fromstring(shown[shown.index("<svg") : shown.index("</svg>") + len("</svg>")])
    circles = [one for one in picture.iter() if one.tag.endswith("circle")]
    assert len(circles) == len(front.points)
    texts = [one.text or "" for one in picture.iter() if one.tag.endswith("text")]
    assert "latency p50 [us]" in texts
    assert "MACs" in texts
    # Lines and texts take the page's own colour, on light and on dark ground; there is no ground of our own.
    assert picture.get("fill") == "currentColor"
    assert "black" not in shown
    assert "white;" not in shown
    whole = search._repr_html_()
    assert "<svg" in whole
    assert "<script" not in whole
    assert "&lt;script&gt;" in whole
    assert "<svg" in search.hypervolume()._repr_html_()
    table = nas.searches.all()._repr_html_()
    assert "<script" not in table
    assert "<td" in table


def test_a_listing_that_was_shown_is_still_there(nas: hilnas.Hilnas, search_id: str) -> None:
    candidates = nas.searches.candidates(search_id)
    assert candidates._repr_html_().count("<tr>") == 4
    repr(candidates)
    assert [one.seq for one in candidates] == [1, 2, 3]


def test_a_repr_is_a_line(nas: hilnas.Hilnas, search_id: str) -> None:
    search = nas.searches.get(search_id)
    for shown in (search, search.front(), next(search.candidates()), next(nas.measurements.all()), nas):
        assert len(repr(shown)) < 300
    assert repr(search).startswith(f"Search(id='{search_id}'")


@pytest.mark.parametrize("id", ["../../../etc/passwd", "a/b", "a?b", "a#b", "ä", "%2e%2e", "a b"])
def test_whatever_an_id_holds_it_stays_an_id(nas: hilnas.Hilnas, id: str) -> None:
    with pytest.raises(LookupError) as caught:
        nas.searches.get(id)
    assert isinstance(caught.value, hilnas.NotFoundError)


@pytest.mark.parametrize(
    ("id", "says"),
    [(id, "give the id, the name or the number of a supernet") for id in ("", ".", "..")]
    + [("x:cancel", "holds a colon, which no path takes: give the id of the supernet")],
)
def test_what_names_nothing_is_refused_before_it_is_sent(nas: hilnas.Hilnas, id: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        nas.supernets.get(id)


def test_a_missing_and_a_wrong_token_are_told_in_words_of_python(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HILNAS_HOME", str(tmp_path))
    monkeypatch.delenv("HILNAS_TOKEN", raising=False)
    with hilnas.Hilnas(url) as nas, pytest.raises(hilnas.AuthenticationError) as none:
        next(nas.searches.all())
    assert "wants a token, and none was found: pass hilnas.connect(token=" in str(none.value)
    assert "header" not in str(none.value)
    monkeypatch.setenv("HILNAS_TOKEN", "nas_x_wrong")
    with hilnas.connect(url) as nas, pytest.raises(hilnas.AuthenticationError, match="refused the token .from HILNAS"):
        next(nas.searches.all())


def test_a_server_that_is_not_there_is_a_connection_error() -> None:
    async def ask() -> None:
        async with hilnas.connect_async("http://127.0.0.1:9", "nas_x") as nas:
            await nas.version()

    with pytest.raises(ConnectionError, match="no answer from http://127.0.0.1:9"):
        anyio.run(ask)
