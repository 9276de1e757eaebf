"""The pages in a real Chromium: scripts run under the content security policy, charts are drawn, news arrive."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Dialog, Page, sync_playwright

from tests.support.processes.api_process import RunningServer, running_server
from tests.support.worlds.api_world import NOISY, World, latency_spec

pytestmark = pytest.mark.browser
_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_WAIT_MS = 20_000
# Pixels of a canvas that are not transparent: an empty chart has none.
_INK = """selector => { const canvas = document.querySelector(selector + ' canvas'); if (!canvas) return 0;
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let ink = 0; for (let i = 3; i < data.length; i += 4) ink += data[i] > 0; return ink; }"""


@dataclass
class _Tab:
    """One tab, with everything the browser complained about."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def ink(self, selector: str) -> int:
        self.page.wait_for_function(f"({_INK})('{selector}') > 50", timeout=_WAIT_MS)
        return int(self.page.evaluate(_INK, selector))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    if _CHROMIUM is None:
        pytest.skip("no Chromium is installed here: the page tests are left out")
    with running_server(tmp_path_factory.mktemp("pages") / "home") as running:
        yield running


@pytest.fixture(scope="module")
def hands(server: RunningServer) -> Iterator[World]:
    """Worker and board on the server's database."""
    world = World.open(server.home)
    yield world
    world.close()


@pytest.fixture
def tab(server: RunningServer) -> Iterator[_Tab]:
    """A tab that is signed in."""
    with sync_playwright() as started:
        # Containers run tests as root, where Chromium's sandbox cannot work.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = started.chromium.launch(executable_path=_CHROMIUM, args=options)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        found = _Tab(page)
        page.on("console", lambda message: found.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: found.complaints.append(str(error)))
        page.goto(f"{server.url}/login")
        page.fill("input[name=token]", server.token)
        page.click("main button")
        page.wait_for_url(f"{server.url}/", timeout=_WAIT_MS)
        yield found
        browser.close()


def test_a_search_is_followed_live_to_its_front(tab: _Tab, server: RunningServer, hands: World, tmp_path: Path) -> None:
    board = hands.enrol()
    with server.sdk() as nas:
        search_id = nas.searches.create(latency_spec(4, measurement={"validity_policy": "accept_flagged"})).id
    tab.page.goto(f"{server.url}/searches/{search_id}")
    tab.page.wait_for_selector("text=0 of 4", timeout=_WAIT_MS)
    hands.step([[0, 0, 0, 0], [1, 1, 1, 1]])
    hands.convert_all()
    hands.measure_all(board, flags=NOISY)
    tab.page.wait_for_selector("text=2 of 4", timeout=_WAIT_MS)
    hands.step([[2, 2, 2, 2], [3, 3, 3, 3]])
    hands.convert_all()
    hands.measure_all(board, p50_us=900.0, flags=NOISY)
    hands.step(last=True)
    tab.page.wait_for_selector("#progress .chip.completed", timeout=_WAIT_MS)
    assert tab.ink("#front-chart") > 50
    assert tab.ink("#hypervolume-chart") > 50
    axes = (
        "['xAxis', 'yAxis'].map(name => echarts.getInstanceByDom(document.getElementById('%s')).getOption()[name][0])"
    )
    across, up = tab.page.evaluate(axes % "front-chart")
    assert [across["name"], up["name"]] == ["latency p50 [µs]", "MACs"]
    front = hands.client(server.token).get(f"/api/v1/searches/{search_id}/front").json()
    ends = [one for point in front["points"] for one in point["candidate"]["values"] if one["name"] == "latency_us"]
    assert across["min"] < min(one["low"] for one in ends)
    assert across["max"] > max(one["high"] for one in ends)
    assert tab.page.evaluate(axes % "hypervolume-chart")[0]["name"] == "evaluated candidates"
    assert tab.page.inner_text("#front-kind") == "measured latency, board device"
    tab.page.screenshot(path=tmp_path / "search.png", full_page=True)
    tab.page.click("#candidates >> text=MACs")
    tab.page.wait_for_selector("#candidates th[aria-sort=ascending] >> text=MACs", timeout=_WAIT_MS)
    tab.page.click("#candidates a >> nth=0")
    tab.page.wait_for_selector("img.picture", timeout=_WAIT_MS)
    assert tab.page.evaluate("document.querySelector('img.picture').naturalWidth") > 0
    tab.page.screenshot(path=tmp_path / "candidate.png", full_page=True)
    tab.page.goto(f"{server.url}/latencies")
    assert tab.ink("#latency-chart") > 50
    tab.page.screenshot(path=tmp_path / "latencies.png", full_page=True)
    assert tab.complaints == []


def test_no_page_scrolls_sideways_on_a_telephone_and_pictures_follow_the_theme(
    tab: _Tab, server: RunningServer, hands: World
) -> None:
    board = hands.enrol("bench-9", "telephone-board")
    with server.sdk() as nas:
        spec = latency_spec(2, name="a search with a rather long name", device={"device_type": "telephone-board"})
        search_id = nas.searches.create(spec).id
        hands.step([[0, 0, 1, 1], [1, 1, 0, 0]])
        hands.convert_all()
        hands.measure_all(board)
        candidate_id = next(iter(nas.searches.candidates(search_id))).id
    tab.page.set_viewport_size({"width": 390, "height": 844})
    pages = ("/", f"/searches/{search_id}", f"/candidates/{candidate_id}", "/latencies", "/fleet", "/api-reference")
    for path in pages:
        tab.page.goto(f"{server.url}{path}")
        tab.page.wait_for_selector("table", timeout=_WAIT_MS)
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390, path
    tab.page.goto(f"{server.url}/candidates/{candidate_id}")
    back = "getComputedStyle(document.querySelector('img.picture')).backgroundColor"
    for scheme, colour in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(0, 0, 0)")):
        tab.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert tab.page.evaluate(back) == colour
    assert tab.complaints == []


def test_a_board_is_quarantined_only_once_that_was_confirmed(tab: _Tab, server: RunningServer, hands: World) -> None:
    hands.enrol("bench-10", "asked-board")
    asked: list[str] = []

    def answer(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss() if len(asked) == 1 else dialog.accept()

    tab.page.on("dialog", answer)
    tab.page.goto(f"{server.url}/fleet")
    button = "tr:has-text('bench-10') button:has-text('quarantine')"
    with server.sdk() as nas:
        tab.page.click(button)
        assert nas.devices.get("bench-10").state.value == "active"
        tab.page.click(button)
        tab.page.wait_for_selector("tr:has-text('bench-10') .chip.quarantined", timeout=_WAIT_MS)
    assert asked == ["Quarantine bench-10? It gets no jobs until somebody resumes it."] * 2


def test_a_search_is_cancelled_from_its_page(tab: _Tab, server: RunningServer) -> None:
    with server.sdk() as nas:
        search_id = nas.searches.create(
            {"space": {"id": "spos"}, "objectives": [{"metric": "macs"}], "budget": {"num_candidates": 5}}
        ).id
    tab.page.goto(f"{server.url}/searches/{search_id}")
    tab.page.on("dialog", lambda dialog: dialog.accept())
    tab.page.click("text=Pause")
    tab.page.wait_for_selector("text=Resume", timeout=_WAIT_MS)
    tab.page.click("text=Cancel")
    tab.page.wait_for_selector("#progress .chip.cancelled", timeout=_WAIT_MS)
    assert tab.complaints == []
