"""The commands by which a person sets up a bench with mutual TLS and measures a model on it; all processes are real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest

from nas_engine.export.onnx import export_onnx
from nas_engine.export.random_weights import random_weights
from server.bootstrap.certificates import Authority, CertificateError
from server.core.home import ENROLMENT_TOKEN_FILE
from tests.support.paths import ROOT
from tests.support.processes.agent_process import AgentProcess
from tests.support.samples.sample_graphs import small_shufflenet

EMULATED = ("--runtime", "onnxruntime", "--device-type", "emulated", "--poll-s", "1")


def command(*arguments: str, home: Path, url: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HILNAS_HOME": str(home), "HILNAS_URL": url, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "hilnas.cli.main", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def with_open_batch(data: bytes) -> bytes:
    """The model as most exporters leave it: any number of images."""
    model = onnx.load_model_from_string(data)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    return bytes(model.SerializeToString())


class Bench:
    """A server process that asks agents for certificates."""

    def __init__(self, folder: Path) -> None:
        self.home, self.folder, self.certs = folder / "home", folder, folder / "certs"
        made = command("certs", str(self.certs), "--host", "127.0.0.1", "--client", "bench-1", home=self.home)
        assert made.returncode == 0, made.stderr
        options = ["--home", str(self.home), "--port", "0", "--grpc-port", "0", "--insecure-no-auth"]
        options += ["--grpc-cert", str(self.certs / "server.pem"), "--grpc-key", str(self.certs / "server.key")]
        options += ["--grpc-client-ca", str(self.certs / "ca.pem")]
        with (folder / "server.log").open("wb") as log:
            self.server = subprocess.Popen(
                [sys.executable, "-m", "hilnas.cli.main", "server", *options], cwd=ROOT, stdout=log, stderr=log
            )
        until((self.home / "server.json").exists, (folder / "server.log").read_text())
        document = json.loads((self.home / "server.json").read_text())
        self.url, self.port = document["http_url"], int(document["grpc_address"].rpartition(":")[2])
        self.agents: list[AgentProcess] = []

    def start(self, name: str, *tls: str) -> AgentProcess:
        token = (self.home / ENROLMENT_TOKEN_FILE).read_text().strip()
        agent = AgentProcess(self.folder, self.port, *EMULATED, *tls, name=name, token=token, insecure=False)
        self.agents.append(agent)
        return agent

    def devices(self) -> list[str]:
        listed = command("devices", "list", "--json", home=self.home, url=self.url)
        assert listed.returncode == 0, listed.stderr
        return [device["name"] for device in json.loads(listed.stdout)]

    def close(self) -> None:
        for agent in self.agents:
            agent.end()
        self.server.terminate()
        self.server.wait(20.0)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(tmp_path)
    yield opened
    opened.close()


def test_a_model_is_measured_over_mutual_tls_by_one_command(bench: Bench, tmp_path: Path) -> None:
    ca, own = ("--ca", str(bench.certs / "ca.pem")), bench.certs / "bench-1"
    without = bench.start("no-certificate", *ca)
    bench.start("bench-1", *ca, "--cert", f"{own}.pem", "--key", f"{own}.key")
    until(lambda: bench.devices() == ["bench-1"], "the board did not enrol: " + bench.agents[1].log)
    assert without.wait(60.0) == 1
    assert "asks for a client certificate: give --cert and --key" in without.log
    graph = small_shufflenet()
    model = tmp_path / "mine.onnx"
    model.write_bytes(with_open_batch(export_onnx(graph, *random_weights(graph, 0))))
    options = ("--device-type", "emulated", "--profile", "quick", "--accept-flagged", "--follow", "--json")
    done = command("measure", str(model), *options, home=bench.home, url=bench.url)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert (measured["label"], measured["kind"], measured["hardware"]["device_class"]) == (
        "mine.onnx",
        "measured",
        "emulated",
    )
    assert measured["stats"]["p50_us"] > 0
    assert "leaves axes of its inputs open" in done.stderr
    assert "measure queued" in done.stderr or "measure leased" in done.stderr
    assert command("devices", "queue", home=bench.home, url=bench.url).returncode == 0
    refused = command("measure", str(model), "--device-type", "toaster", home=bench.home, url=bench.url)
    assert refused.returncode == 1
    assert "toaster" in refused.stderr


def test_an_authority_is_kept_and_keys_are_its_owner_s_alone(tmp_path: Path) -> None:
    first = Authority(tmp_path)
    kept = first.pair.certificate.read_bytes()
    pair = Authority(tmp_path).issue_server(["127.0.0.1", "rig.example"])
    assert first.pair.certificate.read_bytes() == kept
    for key in (first.pair.key, pair.key):
        assert key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(CertificateError, match="another one"):
        first.issue_client("../evil")
    first.pair.key.unlink()
    with pytest.raises(CertificateError, match="only one of"):
        Authority(tmp_path)
