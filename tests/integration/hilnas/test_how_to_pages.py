"""What how-to pages print is run as it stands: their files are written, their commands called, on a real server."""

from __future__ import annotations

import hashlib
import re
import shlex
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from hilnas.cli import main as cli
from hilnas.client.client import Hilnas
from hilnas.client.core.group import Document
from nas_engine.spaces.tables.files import read_table
from server.bootstrap import worker as worker_process
from server.bootstrap.settings import Settings
from tests.support.processes.api_process import RunningServer, running_server

HOW_TO = Path(__file__).parents[3] / "docs" / "how-to"
FILE = re.compile(r"`([\w.-]+\.(?:csv|json|yaml))`:\n\n```\w+\n(.*?)```", re.DOTALL)
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Shell:
    """A folder, a server with a worker, and the command."""

    server: RunningServer
    capsys: pytest.CaptureFixture[str]

    def run(self, line: str) -> str:
        status = cli.main(shlex.split(line.removeprefix("$ hilnas ")))
        printed = self.capsys.readouterr()
        assert status == 0, f"{line}: {printed.err}"
        return printed.out

    def fails(self, line: str) -> str:
        assert cli.main(shlex.split(line)) == 1
        return self.capsys.readouterr().err


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("pages") / "home") as running:
        process = worker_process.build(Settings(home=running.home, worker_device="cpu"))
        process.wakeups.start()
        thread = threading.Thread(target=process.worker.run)
        thread.start()
        yield running
        process.worker.stop()
        thread.join(60)
        process.wakeups.close()
        process.engine.dispose()


@pytest.fixture
def shell(
    server: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    monkeypatch.setenv("HILNAS_URL", server.url)
    monkeypatch.setenv("HILNAS_TOKEN", server.token)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    return Shell(server, capsys)


def commands_of(page: str) -> list[str]:
    """Write the files of a page into the current folder; its commands in order."""
    text = (HOW_TO / page).read_text(encoding="utf-8")
    for name, content in FILE.findall(text):
        Path(name).write_text(content, encoding="utf-8")
    return [line for block in CONSOLE.findall(text) for line in block.splitlines() if line.startswith("$ ")]


def newest_search(nas: Hilnas) -> str:
    return next(iter(nas.searches.all(limit=1))).id


def test_search_your_own_table(shell: Shell) -> None:
    printed = {line: shell.run(line) for line in commands_of("search_your_own_table.md")}
    assert len(printed) == 6
    show, decode, sample, register, tables, search = printed.values()
    assert "two layers, three runs" in show
    assert "731.9" in decode
    assert "cannot be drawn, exported or measured" in decode
    assert "top1" in sample
    assert "9 rows of top1, latency_us, macs" in register
    assert "my-table" in tables
    assert "completed" in search
    assert "latency from a table of results" in search
    table = read_table(Path("results.csv"))
    with shell.server.sdk() as nas:
        search_id = newest_search(nas)
        front = nas.searches.front(search_id)
        assert front.latency_kind == "table"
        (evaluation, *_) = nas.searches.evaluations(front.points[0].candidate.id)
        assert (evaluation.source.value, evaluation.kind) in {("table", None), ("table", "table")}
        decoded = nas.spaces.decode("my-table", [1, 2])
        assert decoded.arch_id == table.decode((1, 2)).arch_id
        assert decoded.row is not None
        assert decoded.row["top1"].value == 0.716
        assert decoded.note is not None
        assert nas.spaces.decode("my-table", list(table.rows[0])).macs == 1_200_000
        assert {space.id for space in nas.spaces.all()} >= {"spos", "my-table"}
        assert nas.spaces.get("my-table").num_rows == 9
    assert "already: what an id stands for" in shell.fails("spaces register results.json --id my-table")
    Path("bad.csv").write_text("gene1,top1\n0,0.5\n1,70\n")
    assert "row 2: top1 is 70, not a fraction" in shell.fails("spaces register bad.csv --id bad")


def test_a_table_over_http_says_what_it_cannot_do(shell: Shell) -> None:
    commands_of("search_your_own_table.md")
    content = Path("results.json").read_bytes() + b"\n"  # a content that no other test has uploaded
    sha256 = hashlib.sha256(content).hexdigest()
    headers = {"Authorization": f"Bearer {shell.server.token}"}
    with httpx2.Client(base_url=shell.server.url, headers=headers) as http, shell.server.sdk() as nas:
        body = {"id": "by-http", "sha256": sha256}
        refused = http.post("/api/v1/search-spaces", json=body)
        assert refused.status_code == 422
        assert f"PUT it to /api/v1/artifacts/{sha256}" in refused.json()["detail"]
        http.put(f"/api/v1/artifacts/{sha256}", content=content, headers={"Content-Type": "application/json"})
        made = http.post("/api/v1/search-spaces", json=body)
        assert (made.status_code, made.headers["Location"]) == (201, "/api/v1/search-spaces/by-http")
        assert http.post("/api/v1/search-spaces", json=body).status_code == 200
        assert http.post("/api/v1/search-spaces", json={**body, "id": "spos"}).status_code == 409
        assert http.post("/api/v1/search-spaces", json={**body, "id": "../x"}).status_code == 422
        sparse = nas.spaces.decode("by-http", [1, 0])
        assert (sparse.row, sparse.macs) == (None, None)
        assert sparse.note is not None
        assert "no row for this genotype" in sparse.note
        unregistered = nas.spaces.decode("table", [0, 0], {"sha256": sha256})
        assert unregistered.arch_id == nas.spaces.decode("by-http", [0, 0]).arch_id
        spec: Document = {
            "space": {"id": "by-http"},
            "objectives": [{"metric": "top1"}],
            "budget": {"num_candidates": 3},
        }
        search = nas.searches.create(spec)
        for _ in nas.searches.events(search.id):
            pass
        candidate = nas.searches.front(search.id).points[0].candidate
        picture = http.get(f"/api/v1/candidates/{candidate.id}/picture.svg")
        assert picture.status_code == 422
        assert "cannot be drawn, exported or measured" in picture.json()["detail"]
        outside = nas.spaces.decode("densenas-resnet", "densenas-r3")
        assert outside.genotype is None
        assert outside.note is not None
        assert "outside the space's own choices" in outside.note
    assert "table of results" in shell.fails("spaces decode results.json -a [0,0] --onnx x.onnx")


def test_start_warm(shell: Shell) -> None:
    register, plain, known, other = commands_of("start_warm.md")
    shell.run(register)
    assert "warm start" not in shell.run(plain)
    with shell.server.sdk() as nas:
        first = newest_search(nas)
        shell.run(known)
        report = nas.searches.get(newest_search(nas)).progress.report["warm_start"]
        assert (report["num_offered"], report["num_accepted"]) == (4, 3)
        assert report["accepted_from"] == {"architectures": 3}
        assert "allowed are 0=0, 1=1, 2=2" in report["rejected"][0]["reason"]
        shell.run(other.replace("SEARCH", first))
        report = nas.searches.get(newest_search(nas)).progress.report["warm_start"]
        assert report["accepted_from"] == {"search": 3}
        front = [point.candidate.genotype for point in nas.searches.front(first).points]
        asked = [candidate.genotype for candidate in nas.searches.candidates(newest_search(nas), limit=3)]
        assert asked == front[:3]
        spec = nas.searches.get(first).spec
        warm = nas.searches.create(spec, warm_start={"architectures": [[1, 1]]})
        assert warm.spec.warm_start is not None
        assert warm.spec.warm_start.architectures == ([1, 1],)
    assert "takes one search" in shell.fails("search create search.yaml --warm-start srch_a --warm-start srch_b")
    assert "goes with --warm-start" in shell.fails("search create search.yaml --warm-start-max 3")
    assert "table of results" in shell.fails("search create search.yaml --warm-start measured")


def test_ship_a_network(shell: Shell) -> None:
    printed = [shell.run(line) for line in commands_of("ship_a_network.md")]
    assert len(printed) == 5
    answer, bounded, front = printed[2:]
    assert "At <= 600 us: ship " in answer
    assert "validation accuracy 70.2 %, latency 588 us" in answer
    assert "At <= 600 us and MACs <= 2,000,000: ship " in bounded
    assert "validation accuracy 65.5 %" in bounded
    assert "latency from a table of results" in front
    with shell.server.sdk() as nas:
        for found in (nas.searches.answer("ship-it", latency_us=600), nas.searches.answer("ship-it", latency_ms=0.1)):
            assert found.next_steps
            for step in found.next_steps:
                shell.run(f"$ {step.command}")
