"""The page on accuracy on devices: its commands run as they stand, with a real server and a real agent."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hilnas.cli import main as cli
from hilnas.client.client import Hilnas
from nas_engine.domain.measuring.image_set import ImageSetFile
from tests.support.processes.agent_process import AgentProcess
from tests.support.processes.api_process import RunningServer, running_server

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "on_device_accuracy.md"
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)


def template_classifier(images: ImageSetFile) -> bytes:
    """An ONNX model that compares an image with the mean image of every class: simple, and far better than chance."""
    x_NCHW = images.inputs(0, images.header.num_images)
    means = [x_NCHW[images.labels_N == label].mean(axis=0).ravel() for label in range(images.header.num_classes)]
    means_DK = np.stack(means, axis=1).astype(np.float32)
    bias_K = (-0.5 * (means_DK**2).sum(axis=0)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"], axis=1),
            helper.make_node("Gemm", ["flat", "w", "b"], ["y"]),
        ],
        "templates",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, images.header.input_shape(1))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, images.header.num_classes])],
        [numpy_helper.from_array(means_DK, "w"), numpy_helper.from_array(bias_K, "b")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(onnx.ModelProto.SerializeToString(made))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "home") as server:
        token = (server.home / "enrolment.token").read_text().strip()
        port = int(server.grpc_address.rpartition(":")[2])
        options = ("--runtime", "onnxruntime", "--device-type", "emulated", "--poll-s", "1")
        agent = AgentProcess(tmp_path, port, *options, token=token)
        try:
            deadline = time.monotonic() + 60.0
            while not list(server.sdk().devices.all()):
                assert time.monotonic() < deadline, agent.log
                time.sleep(0.1)
            yield server
        finally:
            agent.end()


def test_the_commands_of_the_page_give_a_models_accuracy(
    bench: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HILNAS_URL", bench.url)
    monkeypatch.setenv("HILNAS_TOKEN", bench.token)
    monkeypatch.setenv("COLUMNS", "200")
    commands = [line[len("$ hilnas ") :] for block in CONSOLE.findall(PAGE.read_text()) for line in block.splitlines()]
    pack, show, measure = (shlex.split(command) for command in commands)
    assert cli.main(pack) == 0
    with Path("test.images").open("rb") as stream:
        images = ImageSetFile(stream)
        Path("model.onnx").write_bytes(template_classifier(images))
    assert cli.main(show) == 0
    assert "300 images of 28x28" in capsys.readouterr().out
    assert cli.main(measure) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert re.search(r"top-1 \d\d(\.\d)? ± \d(\.\d)? % of 300 images, measured in fp32", printed)
    with Hilnas(bench.url, bench.token) as nas:
        (found,) = nas.classifications.all()
        assert found.top1 > 0.5
        assert found.standard_error == pytest.approx((found.top1 * (1 - found.top1) / 300) ** 0.5)
        assert len(nas.classifications.get(found.id).predictions) == 300
    assert cli.main([*measure, "--num-images", "20", "--json"]) == 0
    both = json.loads(capsys.readouterr().out)
    assert (both["classification"]["num_images"], both["measurement"]["label"]) == (20, "model.onnx")
    assert cli.main([*measure, "--num-images", "301"]) == 1
    assert "300 images" in capsys.readouterr().err
