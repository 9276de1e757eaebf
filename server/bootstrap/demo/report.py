"""What the demo prints and writes at the end: the front, Kendall's tau, model files, pictures and a plot."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hilnas.client.client import Hilnas
from nas_engine.domain.uncertainty import Interval, quantity_text
from nas_engine.evaluation.ranking import rank_correlation
from server.bootstrap.demo.specs import DEVICE_TYPE
from server.searches.candidate_schemas import CandidateResource

MAX_FLAGS = 3


def write_report(
    nas: Hilnas, search_id: str, folder: Path, console: Console, *, started_s: float, search_s: float
) -> None:
    """Print the front and write ``report.json``, ``front.svg`` and one ONNX file and one picture per member."""
    candidates = [c for c in nas.searches.candidates(search_id) if c.latency is not None and c.macs is not None]
    front = sorted((p.candidate for p in nas.searches.front(search_id).points), key=_latency_us)
    tau = rank_correlation([float(c.macs or 0) for c in candidates], [_latency_us(c) for c in candidates]).kendall_tau
    (folder / "front").mkdir(exist_ok=True)
    for place, candidate in enumerate(front, start=1):
        stem = folder / "front" / f"{place:02d}-{candidate.arch_id[:12]}"
        stem.with_suffix(".svg").write_text(nas.searches.picture(candidate.id))
        if candidate.final_model_sha256 is not None:
            nas.artifacts.download(candidate.final_model_sha256, stem.with_suffix(".onnx"))
    _plot(candidates, front, folder / "front.svg")
    console.print(_table(front))
    shown = "-" if tau is None else f"{tau:.2f}"
    console.print(f"Kendall's tau of MACs and measured latency, {len(candidates)} candidates: {shown}")
    # Share of the search's wall time for which each board held no lease.
    idle: dict[str, float] = {}
    for device in nas.devices.all(device_type=DEVICE_TYPE):
        busy_s = nas.devices.get(device.id).utilisation_24h * 86_400
        idle[device.name] = round(max(1.0 - busy_s / search_s, 0.0), 3)
    console.print("Share of the search without a job: " + ", ".join(f"{n} {100 * s:.0f} %" for n, s in idle.items()))
    seconds = time.monotonic() - started_s
    report = {
        "seconds": round(seconds, 1),
        "num_candidates": len(list(nas.searches.candidates(search_id))),
        "kendall_tau": tau,
        "device_idle_share": idle,
        "front": [_front_entry(c) for c in front],
    }
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    console.print(f"{seconds:.0f} s in all. Written: {folder}/report.json, {folder}/front.svg, {folder}/front/")


def _front_entry(candidate: CandidateResource) -> dict[str, object]:
    return {
        "architecture": "-".join(map(str, candidate.genotype)),
        "arch_id": candidate.arch_id,
        "top1": candidate.top1,
        "test_top1": candidate.test_top1,
        "device_top1": candidate.device_top1,
        "device_loss": None if candidate.device_accuracy is None else candidate.device_accuracy.loss,
        "latency_p50_us": _latency_us(candidate),
        "latency_standard_error_us": None if candidate.latency is None else candidate.latency.standard_error_us,
        "latency_flags": [] if candidate.latency is None else list(candidate.latency.flags),
        "macs": candidate.macs,
        "params": candidate.params,
    }


def _table(front: Sequence[CandidateResource]) -> Table:
    table = Table(title="Pareto front (latencies measured on an emulated board: this host's CPU)")
    for heading in ("architecture", "top-1 val", "top-1 test", "p50 latency", "MACs", "params", "flags"):
        table.add_column(heading, justify="left" if heading in ("architecture", "flags") else "right")
    for c in front:
        assert c.latency is not None
        table.add_row(
            "-".join(map(str, c.genotype)),
            _percent(c.top1),
            _percent(c.test_top1),
            quantity_text(Interval.of_error(c.latency.p50_us, c.latency.standard_error_us), "us"),
            f"{(c.macs or 0) / 1e6:.2f} M",
            f"{(c.params or 0) / 1e3:.0f} k",
            ", ".join(str(flag) for flag in c.latency.flags[:MAX_FLAGS]),
        )
    return table


def _plot(candidates: Sequence[CandidateResource], front: Sequence[CandidateResource], path: Path) -> None:
    import matplotlib as mpl  # slow to import; only the demo draws with it

    mpl.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    known = [c for c in candidates if c.top1 is not None]
    axes.scatter(
        [_latency_us(c) for c in known], [100 * (c.top1 or 0) for c in known], s=14, color="0.6", label="candidates"
    )
    axes.plot(
        [_latency_us(c) for c in front], [100 * (c.top1 or 0) for c in front], "o-", color="C0", label="Pareto front"
    )
    axes.set_xlabel("measured p50 latency, us")
    axes.set_ylabel("top-1 on validation images, %")
    axes.set_title(f"Fashion-MNIST, {DEVICE_TYPE}")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)
    pyplot.close(figure)


def _latency_us(candidate: CandidateResource) -> float:
    assert candidate.latency is not None
    return candidate.latency.p50_us


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
