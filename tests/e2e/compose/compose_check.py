"""A search through the services of docker-compose.yml, over the published port; see compose_check.sh.

Standard library only: it runs with the system's Python. Arguments are those of `docker compose` before its command.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
PATIENCE_S = 240.0
LOOK_S = 0.2
NUM_CANDIDATES = 12
EXAMPLE = Path(__file__).resolve().parents[3] / "docs" / "examples" / "compose_search.json"


class CheckError(Exception):
    """What the services did is not what they should do."""


@dataclass
class Services:
    """The running compose project."""

    arguments: list[str]
    url: str = ""
    token: str = ""
    started: float = field(default_factory=time.monotonic)

    def compose(self, *command: str) -> str:
        """Run `docker compose COMMAND`; its output."""
        done = subprocess.run(
            ["docker", "compose", *self.arguments, *command], stdout=subprocess.PIPE, text=True, check=True
        )
        return done.stdout.strip()

    def call(self, path: str, body: object = None, token: str | None = None) -> Any:
        """The JSON answer to a GET, or to a POST where there is a body."""
        given = self.token if token is None else token
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {given}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def items(self, path: str, **filters: str | int) -> list[dict[str, Any]]:
        """One page of a listing."""
        found: list[dict[str, Any]] = self.call(f"{path}?{urllib.parse.urlencode(filters)}")["items"]
        return found

    def until(self, look: Callable[[], T | None], what: str) -> T:
        """Wait until `look` gives something."""
        deadline = time.monotonic() + PATIENCE_S
        while (found := look()) is None:
            if time.monotonic() > deadline:
                raise CheckError(f"not within {PATIENCE_S:.0f} s: {what}")
            time.sleep(LOOK_S)
        return found

    def say(self, text: str) -> None:
        """Progress, with the seconds since the start."""
        sys.stdout.write(f"[compose {time.monotonic() - self.started:5.1f}s] {text}\n")
        sys.stdout.flush()


def check(wanted: bool, complaint: str) -> None:
    """Raises CheckError with the complaint unless it is as wanted."""
    if not wanted:
        raise CheckError(complaint)


def spec() -> dict[str, Any]:
    """The example of the how-to, with less of everything."""
    document: dict[str, Any] = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    document["supernet"] |= {"iterations": 40, "num_threads": 1}
    document["algorithm"]["population_size"] = 4
    document["budget"]["num_candidates"] = NUM_CANDIDATES
    document["evaluation"] |= {"num_validation_batches": 1, "num_calibration_batches": 2}
    return document


def connect(services: Services) -> None:
    """Find the port and the admin token; wait for health and for both boards."""
    services.url = "http://" + services.compose("port", "server", "8080")
    services.token = services.compose("exec", "-T", "server", "cat", "/data/admin.token")
    services.until(lambda: True if services.call("/readyz")["status"] == "ready" else None, "the server is ready")
    boards = services.until(
        lambda: found if len(found := services.items("/api/v1/devices")) == 2 else None, "both boards have enrolled"
    )
    services.say(f"healthy at {services.url}; boards: {', '.join(sorted(board['name'] for board in boards))}")


def check_isolation(services: Services) -> None:
    """Nobody gets in without a token; boards see neither the database nor the admin token."""
    try:
        services.call("/api/v1/searches", token="nas_api_not-a-token")
        raise CheckError("a wrong token was accepted")
    except urllib.error.HTTPError as error:
        check(error.code == 401, f"a wrong token was answered with {error.code}")
    script = (
        "import os, socket, sys\n"
        "assert os.getuid() != 0, 'runs as root'\n"
        "assert 'HILNAS_DATABASE_URL' not in os.environ, 'knows the database'\n"
        "assert not os.path.exists('/artifacts/.') or not os.listdir('/artifacts'), 'sees artifacts'\n"
        "try:\n    socket.create_connection(('database', 5432), 2)\n"
        "except OSError:\n    sys.exit(0)\n"
        "sys.exit('reaches the database')\n"
    )
    services.compose("exec", "-T", "board-1", "python", "-c", script)
    services.say("tokens are asked for; boards cannot reach the database")


def kill_a_working_board(services: Services, search_id: str) -> str:
    """kill -9 of board-2 while it works on a job of the search, not on one that it only holds next; the job's id."""
    device_id = next(b["id"] for b in services.items("/api/v1/devices") if b["name"] == "board-2")

    def held() -> str | None:
        found = services.items("/api/v1/jobs", kind="measure", state="leased", device_id=device_id)
        begun = (job for job in found if job["search_id"] == search_id and job["phase"] != "assigned")
        return next((job["id"] for job in begun), None)

    def caught() -> str | None:
        if held() is None:
            return None
        services.compose("pause", "board-2")
        job_id = held()
        if job_id is None:  # it was ready just before it was stopped
            services.compose("unpause", "board-2")
        return job_id

    job_id = services.until(caught, "board-2 measures")
    services.compose("kill", "board-2")
    return job_id


def follow(services: Services, search_id: str) -> dict[str, Any]:
    """Wait until the search is over."""
    shown = -1

    def ended() -> dict[str, Any] | None:
        nonlocal shown
        search: dict[str, Any] = services.call(f"/api/v1/searches/{search_id}")
        progress = search["progress"]
        if progress["num_complete"] != shown:
            shown = progress["num_complete"]
            services.say(f"{search['state']}: {shown} of {NUM_CANDIDATES} complete, front of {progress['front_size']}")
        return search if search["state"] in ("completed", "failed", "cancelled") else None

    return services.until(ended, "the search ends")


def check_results(services: Services, search_id: str, lost_job: str) -> None:
    """Every candidate complete, one authoritative measurement each, a front with deployable models."""
    candidates = services.items(f"/api/v1/searches/{search_id}/candidates", page_size=100)
    check([c["seq"] for c in candidates] == list(range(1, NUM_CANDIDATES + 1)), "candidates are missing")
    check(len({c["arch_id"] for c in candidates}) == NUM_CANDIDATES, "an architecture was asked twice")
    check(all(c["state"] == "complete" for c in candidates), "a candidate is not complete")
    measured = services.items("/api/v1/measurements", search_id=search_id, page_size=100, include_superseded="true")
    check(len({m["latency_key"] for m in measured}) == len(measured) == NUM_CANDIDATES, "not one measurement each")
    check(all(m["hardware"]["runtime"] == "onnxruntime" and m["stats"]["count"] > 0 for m in measured), "no samples")
    job = services.call(f"/api/v1/jobs/{lost_job}")
    check(job["state"] == "done" and job["attempt"] == 2, f"the killed board's job is {job['state']}")
    taker = next(m["device_id"] for m in measured if m["job_id"] == lost_job)
    names = {board["id"]: board["name"] for board in services.items("/api/v1/devices")}
    check(names[taker] == "board-1", "the killed board's job was not taken over")
    points = services.call(f"/api/v1/searches/{search_id}/front")["points"]
    check(bool(points), "the front is empty")
    for point in points:
        one = point["candidate"]
        check(one["test_top1"] is not None and one["final_model_sha256"], f"{one['id']} has no final model")
        digest, p50_us = one["arch_id"][:12], one["latency"]["p50_us"]
        services.say(f"front: {digest} top-1 {one['top1']:.3f} test {one['test_top1']:.3f} p50 {p50_us:.0f} us")


def main() -> int:
    """The whole check; 0 when everything is as it should be."""
    services = Services(sys.argv[1:])
    try:
        connect(services)
        check_isolation(services)
        search_id = services.call("/api/v1/searches", spec())["id"]
        services.say(f"created {search_id}")
        lost_job = kill_a_working_board(services, search_id)
        services.say(f"killed board-2 while it measured {lost_job}")
        search = follow(services, search_id)
        check(search["state"] == "completed", f"the search {search['state']}: {search['reason']}")
        check_results(services, search_id, lost_job)
    except (CheckError, subprocess.CalledProcessError, urllib.error.URLError) as error:
        services.say(f"FAILED: {error}")
        return 1
    services.say("everything is as it should be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
