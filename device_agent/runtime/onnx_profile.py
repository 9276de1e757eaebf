"""What ONNX Runtime's profiler writes, as times of layers.

It is a list of trace events as Chrome reads them; those of category ``Node`` whose names end with ``_kernel_time`` are
kernels, with ``dur`` in microseconds, ``ts`` their beginning, and among ``args`` the operator and the node's index.
Source: onnxruntime/core/framework/sequential_executor.cc, KernelScope.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.measuring.layer_times import (
    MAX_LAYERS,
    MAX_NAME_CHARACTERS,
    LayerProfile,
    ProfiledLayer,
)
from nas_engine.domain.text import one_line

MIN_PROFILED = 5
MAX_PROFILE_BYTES = 64 * 2**20
_SUFFIX = "_kernel_time"


def read_profile(data: bytes, num_runs: int, source: str) -> LayerProfile | None:
    """Times of every kernel that ran once in each of `num_runs` runs; the first run is left out.

    None where there are none, or more than are kept. Kernels within the branches of a model are part of the kernel that
    they are in.

    Raises:
        InvalidMeasurementError: it is no such file.
    """
    try:
        nodes = (event for event in json.loads(data) if event.get("cat") == "Node")
        events = [event for event in nodes if str(event.get("name", "")).endswith(_SUFFIX)]
        events.sort(key=lambda event: event["ts"])
        kernels: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        start, end = -1, -1
        for event in events:
            if start < event["ts"] < end and event["ts"] + event["dur"] <= end:
                continue  # of a branch: its time is within that of the kernel that took it
            start, end = event["ts"], event["ts"] + event["dur"]
            kernels[str(event["args"].get("node_index", "")), str(event["name"])].append(event)
        layers, times = [], []
        for (_, name), runs in kernels.items():
            if len(runs) == num_runs:
                operator = str(runs[0]["args"].get("op_name", ""))
                short, operator = (
                    one_line(text, MAX_NAME_CHARACTERS) for text in (name.removesuffix(_SUFFIX), operator)
                )
                layers.append(ProfiledLayer(name=short, operator=operator))
                times.append([round(float(run["dur"]) * 1e3) for run in runs[1:]])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InvalidMeasurementError(f"the profiler's file cannot be read: {error!r}") from error
    if not 1 <= len(layers) <= MAX_LAYERS:
        return None
    by_run = zip(*times, strict=True)
    return LayerProfile(source=source, layers=tuple(layers), times_ns=tuple(by_run))
