"""Conversions and a search for a simulated RK3588, through running services; see compose_check.sh.

Standard library only: it runs with the system's Python.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
from typing import Any

from compose_check import CheckError, Services, check, spec  # type: ignore[import-not-found]

NUM_CANDIDATES = 4
CONVERT = """
set -e
cd /tmp
hilnas spaces decode spos --architecture spos-searched --onnx model.onnx > /dev/null
hilnas models convert model.onnx
python -c 'import numpy as n; n.save("images.npy", n.random.default_rng(0).random((8, 3, 224, 224), "float32"))'
hilnas models convert model.onnx --dtype w8a8 --calibration images.npy --output model-w8a8.rknn
stat --format '%n %s bytes' model.onnx model.rknn model-w8a8.rknn
"""


def connect(services: Services) -> None:
    """Find the port and the admin token; wait for the simulated board."""
    services.url = "http://" + services.compose("port", "server", "8080")
    services.token = services.compose("exec", "-T", "server", "cat", "/data/admin.token")
    services.until(
        lambda: True if "rk3588-sim" in {d["name"] for d in services.items("/api/v1/devices")} else None,
        "the simulated board has enrolled",
    )
    services.say(f"healthy at {services.url}")


def search_spec() -> dict[str, Any]:
    """The example of the how-to, for the simulated board in int8."""
    document = spec()
    document["device"] = {"device_type": "rk3588-sim", "dtype": "w8a8"}
    document["measurement"] = {"profile": "quick"}
    document["budget"]["num_candidates"] = NUM_CANDIDATES
    return document


def follow(services: Services, search_id: str) -> None:
    """Wait until the search is over; every candidate has a simulated latency."""

    def ended() -> dict[str, Any] | None:
        search: dict[str, Any] = services.call(f"/api/v1/searches/{search_id}")
        return search if search["state"] in ("completed", "failed", "cancelled") else None

    search = services.until(ended, "the search ends")
    check(search["state"] == "completed", f"the search {search['state']}: {search['reason']}")
    candidates = services.items(f"/api/v1/searches/{search_id}/candidates", page_size=100)
    states = sorted(c["state"] for c in candidates)
    check(states == ["complete"] * NUM_CANDIDATES, f"candidates are {states}")
    check(all(c["latency"]["kind"] == "simulated" for c in candidates), "a latency is not marked as simulated")
    latencies_us = sorted(c["latency"]["p50_us"] for c in candidates)
    services.say(f"{NUM_CANDIDATES} candidates, simulated {json.dumps(latencies_us)} us")


def main() -> int:
    """The whole check; 0 when everything is as it should be."""
    services = Services(sys.argv[1:])
    try:
        connect(services)
        for line in services.compose("exec", "-T", "worker", "sh", "-c", CONVERT).splitlines():
            services.say(line)
        search_id = services.call("/api/v1/searches", search_spec())["id"]
        services.say(f"created {search_id}")
        follow(services, search_id)
    except (CheckError, subprocess.CalledProcessError, urllib.error.URLError) as error:
        services.say(f"FAILED: {error}")
        return 1
    services.say("everything is as it should be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
