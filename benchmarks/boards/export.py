"""Export of SPOS-224 sub-networks: from the layer graph against torch.onnx.export, in one run.

Ours is the whole way from a genotype to ONNX bytes (decode, layer graph, BN folded, serialised), with
the supernet's weights in memory; the peers get the extracted torch module ready-made and write to
memory too. Peers run once unmeasured first. Outputs of all three are compared in ONNX Runtime.
Needs the `bench` extra (onnxscript). The goals: 100x faster than the dynamo exporter, 20x faster than
the TorchScript exporter.
"""

from __future__ import annotations

import argparse
import io
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from comparison import Row, report

from nas_engine.domain.search_space import Form, SearchSpace, sample_genotype
from nas_engine.evaluation.parity import compare, require_parity, run_onnx
from nas_engine.export.onnx import export_onnx
from nas_engine.export.random_weights import random_weights
from nas_engine.spaces.registry import create_space
from nas_engine.supernet.subnet import Subnet, extract

OURS, DYNAMO, TORCHSCRIPT = "layer graph", "torch dynamo", "torch TorchScript"
GOALS = {DYNAMO: 100.0, TORCHSCRIPT: 20.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--subnets", type=int, default=3, help="random sub-networks (default 3)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)

    space = create_space("spos")
    rng = np.random.default_rng(arguments.seed)
    seconds: dict[str, list[float]] = {OURS: [], DYNAMO: [], TORCHSCRIPT: []}
    worst = 0.0
    for number in range(arguments.subnets + 1):
        found, error = _one_subnet(space, sample_genotype(space.genes, rng), rng)
        worst = max(worst, error)
        if number:  # the first one warms everybody up
            for exporter, value in found.items():
                seconds[exporter].append(value)
    report(_rows(seconds), arguments.json)
    print(f"medians over {arguments.subnets} sub-networks; largest relative difference of the outputs {worst:.1e}")


def _rows(seconds: dict[str, list[float]]) -> list[Row]:
    ours_ms = 1e3 * statistics.median(seconds[OURS])
    rows = []
    for peer, goal in GOALS.items():
        peer_ms = 1e3 * statistics.median(seconds[peer])
        rows.append(Row(f"SPOS-224 export vs {peer} (goal {goal:.0f}x)", ours_ms, peer_ms, peer_ms / ours_ms, "ms"))
    return rows


def _one_subnet(
    space: SearchSpace, genotype: tuple[int, ...], rng: np.random.Generator
) -> tuple[dict[str, float], float]:
    """Seconds per exporter, and the largest relative difference of the peers' outputs from ours."""
    graph = space.graph(space.decode(genotype), Form.DEPLOYED)
    assert graph is not None
    weights, stats = random_weights(graph, seed=0)
    module = extract(graph, {name: torch.from_numpy(array) for name, array in weights.items()}, stats)
    images_NCHW = rng.standard_normal((1, *graph.input_shape), dtype=np.float32)

    def ours() -> bytes:
        decoded = space.graph(space.decode(genotype), Form.DEPLOYED)
        assert decoded is not None
        return export_onnx(decoded, weights, stats)

    models = {OURS: ours()}
    seconds = {OURS: statistics.median(_timed(ours)[0] for _ in range(7))}
    for name, dynamo in ((TORCHSCRIPT, False), (DYNAMO, True)):
        seconds[name], models[name] = _timed(lambda dynamo=dynamo: _torch_export(module, images_NCHW, dynamo=dynamo))
    answers = {name: run_onnx(model, images_NCHW) for name, model in models.items()}
    worst = 0.0
    for name in (TORCHSCRIPT, DYNAMO):
        parity = compare(answers[name], answers[OURS])
        require_parity(parity)
        worst = max(worst, parity.max_relative_error)
    return seconds, worst


def _torch_export(module: Subnet, images_NCHW: np.ndarray, *, dynamo: bool) -> bytes:
    """A model as bytes, with torch's defaults but for the opset (the newest that boards' converters take)."""
    buffer = io.BytesIO()
    example = (torch.from_numpy(images_NCHW),)
    if dynamo:
        program = torch.onnx.export(module, example, dynamo=True, opset_version=18, verbose=False)
        assert program is not None
        program.save(buffer)
    else:
        torch.onnx.export(module, example, buffer, dynamo=False, opset_version=17)
    return buffer.getvalue()


def _timed(action: Callable[[], bytes]) -> tuple[float, bytes]:
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()
