"""From a front to a file and its evidence, as the how-to pages print it: a real server, worker and boards."""

from __future__ import annotations

import json
import re
import shlex
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import onnxruntime
import pytest
import torch

from hilnas.cli import main as cli
from hilnas.client.client import Hilnas
from hilnas.client.errors import ProblemError
from server.bootstrap import worker as worker_process
from server.bootstrap.settings import Settings
from server.candidates.states import SearchState
from tests.integration.hilnas.test_how_to_pages import commands_of
from tests.support.processes.agent_process import AgentProcess
from tests.support.processes.api_process import RunningServer, running_server
from tests.support.samples.datasets import write_registry
from tests.support.worlds.worker_world import EVALUATION, TRAINING

BOARD = ("--runtime", "onnxruntime", "--device-type", "cpu-emulator")


@dataclass
class Found:
    """A search that ended, and the boards.

    Attributes:
        front: id of a front member.
        other: id of a complete candidate that is none.
    """

    server: RunningServer
    folder: Path
    agent: AgentProcess
    token: str
    search: str
    front: str
    other: str


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    folder = tmp_path_factory.mktemp("shipping")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    datasets = write_registry(folder, {"stripes": 3})
    with running_server(folder / "home", "--datasets-file", str(datasets)) as server, server.sdk() as nas:
        process = worker_process.build(Settings(home=server.home, datasets_file=datasets, worker_device="cpu"))
        process.wakeups.start()
        thread = threading.Thread(target=process.worker.run)
        thread.start()
        token = (server.home / "enrolment.token").read_text().strip()
        port = int(server.grpc_address.rpartition(":")[2])
        served = Found(server, folder, AgentProcess(folder, port, *BOARD, token=token), token, "", "", "")
        try:
            served = _searched(nas, served)
            yield served
        finally:
            served.agent.end()
            process.worker.stop()
            thread.join(60.0)
            process.wakeups.close()
            process.engine.dispose()
            torch.set_num_threads(threads)


def _searched(nas: Hilnas, found: Found) -> Found:
    supernet = nas.supernets.create(TRAINING)
    for _ in nas.supernets.events(supernet.id):
        pass
    spec: dict[str, Any] = {
        "space": TRAINING["space"],
        "supernet": supernet.id,
        "objectives": [{"metric": "top1"}, {"metric": "latency_us"}],
        "algorithm": {"kind": "random"},
        "budget": {"num_candidates": 10},
        "evaluation": EVALUATION,
        "device": {"device_type": "cpu-emulator"},
        "measurement": {"profile": "quick", "validity_policy": "accept_flagged"},
    }
    search = nas.searches.create(spec)
    for _ in nas.searches.events(search.id):
        pass
    assert nas.searches.get(search.id).state is SearchState.COMPLETED, nas.searches.get(search.id).reason
    front = [point.candidate.id for point in nas.searches.front(search.id).points]
    others = [one.id for one in nas.searches.candidates(search.id) if one.id not in front]
    found.search, found.front, found.other = search.id, front[0], others[0]
    return found


@pytest.fixture
def shell(found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Found:
    monkeypatch.setenv("HILNAS_URL", found.server.url)
    monkeypatch.setenv("HILNAS_TOKEN", found.server.token)
    monkeypatch.setenv("HILNAS_HOME", str(tmp_path / "reader"))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    return found


def run(line: str, capsys: pytest.CaptureFixture[str], status: int = 0) -> str:
    got = cli.main(shlex.split(line.removeprefix("$ hilnas ")))
    printed = capsys.readouterr()
    assert got == status, f"{line}: {got} {printed.out} {printed.err}"
    return printed.out if status == 0 else printed.out + printed.err


def test_from_a_front_to_a_board(shell: Found, capsys: pytest.CaptureFixture[str]) -> None:
    lines = commands_of("from_a_front_to_a_board.md")
    models, download, named, explain, measure, *bundle = (line.replace("CANDIDATE", shell.other) for line in lines)
    assert "spos-" not in run(models, capsys), "no front member, so not exported yet"
    with shell.server.sdk() as nas:
        arch_id = next(one.arch_id for one in nas.searches.candidates(shell.search) if one.id == shell.other)
        before = nas.searches.get(shell.search)
    file = run(download, capsys).strip()
    assert file == f"spos-{arch_id[:12]}-fp32.onnx"
    assert file in run(models, capsys)
    run(named, capsys)
    assert Path("model.onnx").read_bytes() == Path(file).read_bytes()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    assert said["hilnas.weights"] == "inherited"
    assert (said["hilnas.space"], said["hilnas.arch_id"], said["hilnas.search"]) == ("spos", arch_id, shell.search)
    assert said["hilnas.version"]
    with shell.server.sdk() as nas:
        after = nas.searches.get(shell.search)
        assert (after.state, after.progress.front_size) == (before.state, before.progress.front_size)
        candidate = next(one for one in nas.searches.candidates(shell.search) if one.id == shell.other)
        assert candidate.test_top1 is not None
        with pytest.raises(ProblemError, match="exported already"):
            nas.candidates.export(shell.other)
    printed = run(explain, capsys)
    assert "->" in printed
    assert "measured" in printed
    assert "latency [us]" in printed, "a unit in brackets is no markup"
    with shell.server.sdk() as nas:
        order = f"hilnas candidates explain {nas.searches.candidate(shell.other).short_id} --measure"
        assert f"no layer was timed: order it with `{order}`" in " ".join(printed.split())
        before_measuring = nas.candidates.explain(shell.other)
        assert nas.candidates.layers(shell.other).tables == []
    printed = run(measure, capsys)
    assert "time per block, measured on an emulated device: onnxruntime " in printed
    assert "time [us]" in printed
    with shell.server.sdk() as nas:
        _check_layers(nas, shell.other)
        was, now = (
            {one.arch_id for one in found.neighbours if one.latency_source == "measured"}
            for found in (before_measuring, nas.candidates.explain(shell.other))
        )
        assert len(now - was) == min(3, len(before_measuring.neighbours) - len(was))
        assert not was - now
        jobs = [one for one in nas.jobs.all() if one.priority == -100]
        assert len(jobs) > len(now - was), "and one for its own layers"
        assert nas.searches.get(shell.search).progress == after.progress, "an explanation steers no search"
    for line in bundle:
        run(line, capsys)
    with zipfile.ZipFile("evidence.zip") as archive:
        layers = [name for name in archive.namelist() if name.endswith("layers.json")]
        assert [json.loads(archive.read(name))["source"].split()[0] for name in layers] == ["onnxruntime"]


def _check_layers(nas: Hilnas, candidate: str) -> None:
    """Times per block lie in the network's order beside its MACs, and add up."""
    found = nas.candidates.layers(candidate)
    (table,) = found.tables
    assert (table.kind, table.device_class) == ("measured", "emulated")
    assert table.num_runs is not None
    assert table.num_runs >= 5
    known = nas.searches.candidate(candidate)
    assert sum(block.macs or 0 for block in table.blocks) == known.macs
    assert sum(block.time.value for block in table.blocks) == pytest.approx(table.total.value)
    assert sum(block.share for block in table.blocks) == pytest.approx(1.0)
    named = [block for block in table.blocks if block.block is not None]
    assert sum(block.time.value for block in named) > 0.5 * table.total.value, "most of it is found in a block"
    assert named[0].layers
    assert table.measurement_id is not None
    profile = nas.measurements.layers(table.measurement_id)
    assert profile.total == table.total
    assert len(profile.layers) == sum(len(block.layers) for block in table.blocks)


def test_explained_differences_are_those_of_the_candidates(shell: Found, capsys: pytest.CaptureFixture[str]) -> None:
    with shell.server.sdk() as nas:
        explained = nas.candidates.explain(shell.front)
        candidates = {one.id: one for one in nas.searches.candidates(shell.search)}
    own = candidates[shell.front]
    assert own.latency is not None
    assert explained.latency_us == own.latency.p50_us
    measured = [one for one in explained.neighbours if one.candidate_id is not None]
    assert measured, "ten of some dozen candidates: some differ in one choice"
    for one in measured:
        other = candidates[str(one.candidate_id)]
        differing = [a != b for a, b in zip(own.genotype, one.genotype, strict=True)]
        assert sum(differing) == 1
        assert other.latency is not None
        assert one.latency_source == "measured"
        assert one.latency_difference_us == pytest.approx(other.latency.p50_us - own.latency.p50_us)
        assert one.latency_interval_us is not None
        assert one.macs_difference == (other.macs or 0) - (own.macs or 0)
        assert one.top1_difference == pytest.approx((other.top1 or 0) - (own.top1 or 0))
        assert one.top1_is_paired
    assert any("paired, image by image" in note for note in explained.notes)
    assert {one.latency_source for one in explained.neighbours} <= {"measured", "predicted", "table"}
    assert json.loads(run(f"candidates explain {shell.front} --json", capsys))["neighbours"]


def test_what_was_timed_is_called_a_probe_and_never_the_model(shell: Found) -> None:
    headers = {"Authorization": f"Bearer {shell.server.token}"}
    with httpx2.Client(base_url=shell.server.url, headers=headers) as http, shell.server.sdk() as nas:
        http.post("/login", data={"token": shell.server.token})
        page = http.get(f"/candidates/{shell.front}").text
        assert "Latency probe (random weights)" in page
        assert "Measured model" not in page
        (model,) = nas.candidates.models(shell.front)
        assert model.download_path is not None
        answer = http.get(model.download_path)
        assert answer.headers["content-disposition"] == f'attachment; filename="{model.file_name}"'
        bare = http.get(f"/api/v1/artifacts/{model.sha256}").headers["content-disposition"]
        assert bare == f'attachment; filename="{(model.sha256 or "")[:16]}.onnx"'
        assert http.get(f"/api/v1/artifacts/{model.sha256}", params={"name": '../x"\r\n'}).status_code == 422


def test_is_it_really_faster(shell: Found, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, pin, check, again = (
        line.replace("CANDIDATE", shell.front) for line in commands_of("is_it_really_faster.md")
    )
    run(bundle, capsys)
    unknown = run(check, capsys, status=4)
    with shell.server.sdk() as nas:
        fingerprint = nas.candidates.evidence_key().fingerprint
    assert f"intact, signer unknown: {fingerprint}" in unknown
    assert f"intact, signed by {fingerprint}" in run(f"{check} --key {fingerprint}", capsys)
    assert fingerprint in (shell.server.home.parent / "home.log").read_text(), "said at the start"
    run(pin, capsys)
    assert f"intact, signed by {fingerprint}" in run(check, capsys)
    mode = (shell.server.home / "evidence.key").stat().st_mode & 0o777
    assert mode == 0o600
    with zipfile.ZipFile("evidence.zip") as archive:
        names = archive.namelist()
        measurement = next(name for name in names if name.endswith("measurement.json"))
        samples = json.loads(archive.read(measurement.replace("measurement.json", "samples.json")))
        assert sum(len(block["e2e_ns"]) for block in samples["blocks"]) > 10
        folder = measurement.rpartition("/")[0]
        assert json.loads(archive.read(f"{folder}/environment.json"))
        assert json.loads(archive.read("search.json"))["spec"]["budget"]["num_candidates"] == 10
        assert [name for name in names if name.startswith("probe/")] != []
    run("candidates bundle " + shell.front + " --out again.zip", capsys)
    assert Path("again.zip").read_bytes() == Path("evidence.zip").read_bytes()
    changed = bytearray(Path("evidence.zip").read_bytes())
    changed[len(changed) // 3] ^= 1
    Path("changed.zip").write_bytes(changed)
    assert "not intact" in run("verify changed.zip", capsys, status=1)
    # A second board of the type, the first one gone.
    shell.agent.end()
    port = int(shell.server.grpc_address.rpartition(":")[2])
    shell.agent = AgentProcess(shell.folder, port, *BOARD, name="bench-2", token=shell.token)
    printed = run(again.replace("25", "1000"), capsys)
    assert re.search(r"measured again: same: .* in the bundle .*; difference [-+]?\d.*, up to .* is the same", printed)
    status = cli.main(["bundles", "verify", "evidence.zip", "--on", "cpu-emulator", "--within-percent", "0", "--json"])
    said = json.loads(capsys.readouterr().out)["measured_again"]
    # Nothing counts as the same then, so that the interval alone decides which of the others it is.
    beyond = abs(said["difference_us"]) > said["interval_us"]
    assert (said["verdict"], status) == (("not the same", 1) if beyond else ("cannot be told", 6))
    assert said["difference_us"] == pytest.approx(said["after_us"] - said["before_us"])
    assert said["interval_us"] > 0
    with shell.server.sdk() as nas:
        first, second = (nas.devices.get(name).id for name in ("bench-1", "bench-2"))
    assert f"device: {first} in the bundle, {second} now" in said["remarks"]
