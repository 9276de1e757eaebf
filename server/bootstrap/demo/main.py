"""The whole product on one machine, as its users run it: server, worker, two boards, a supernet, a search, a report.

``make demo`` runs `main`. Everything it makes lies in ``demo/``; nothing is left running unless `--keep` is given.
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from hilnas.cli.progress import follow_search, follow_supernet
from hilnas.cli.terminal import make_console
from hilnas.client.client import Hilnas
from server.bootstrap.demo.choices import choose, measured_candidates, two_bounds, with_random
from server.bootstrap.demo.processes import Rig
from server.bootstrap.demo.report import Run, write_report
from server.bootstrap.demo.specs import DEVICE_TYPE, random_search_spec, search_spec, training_spec
from server.candidates.states import SearchState
from server.training.training import TrainingState

FOLDER = Path("demo")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What may be chosen of a demo.

    Attributes:
        keep: leave the server and the boards up.
        folder: where everything is put.
        candidates: budget of the search; None: the demo's.
        epochs: epochs of supernet training; None: the demo's.
        compare: search once more at random, with the same budget.
    """

    keep: bool = False
    compare: bool = False
    folder: Path = FOLDER
    candidates: int | None = None
    epochs: int | None = None


def main(arguments: DemoOptions) -> int:
    """Run the demo; the exit status is 0 when a front was found."""
    console = make_console()
    # A terminated demo ends its processes like one that is done.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    shutil.rmtree(arguments.folder, ignore_errors=True)
    started_s = time.monotonic()
    with ExitStack() as stack:
        rig = Rig(arguments.folder)
        stack.callback(rig.stop)
        try:
            return _run(rig, arguments, console, started_s)
        except RuntimeError as error:
            console.print(f"[red]{error}[/red]")
            console.print(f"The processes' logs are in {arguments.folder / 'logs'}.")
            return 1


def _run(rig: Rig, arguments: DemoOptions, console: Console, started_s: float) -> int:
    console.rule("1. server, worker and two boards")
    url = rig.start()
    with Hilnas(url) as nas:
        rig.wait_for_devices(nas, DEVICE_TYPE, num=2)
        for device in nas.devices.all(device_type=DEVICE_TYPE):
            console.print(f"  {device.name}: {device.device_type}, {device.capabilities['identity']['runtime']}")
        console.rule("2. supernet, trained on real images")
        train_started_s = time.monotonic()
        supernet = nas.supernets.create(training_spec(arguments.epochs))
        trained = follow_supernet(nas, supernet.id, console)
        if trained.state is not TrainingState.READY:
            raise RuntimeError(f"the supernet is {trained.state.value}: {trained.reason}")
        console.rule("3. search on accuracy and measured latency")
        search_started_s = time.monotonic()
        search = nas.searches.create(search_spec(supernet.id, arguments.candidates))
        _follow(nas, search.id, console)
        search_s = time.monotonic() - search_started_s
        console.rule("4. what to ship at two latencies, beside what MACs and predictors alone would have said")
        front = {point.candidate.id for point in nas.searches.front(search.id).points}
        latencies = [
            one.latency.p50_us for one in measured_candidates(nas, search.id) if one.id in front and one.latency
        ]
        if not latencies:
            raise RuntimeError(f"search {search.id} found no front")

        def follow(search_id: str) -> None:
            _follow(nas, search_id, console)

        shipped = choose(nas, supernet.id, search.id, two_bounds(latencies), follow)
        random_search_id: str | None = None
        if arguments.compare:
            console.rule("5. the same budget, drawn at random")
            random_search_id = nas.searches.create(random_search_spec(supernet.id, arguments.candidates)).id
            follow(random_search_id)
            shipped = with_random(nas, shipped, random_search_id)
        console.rule("the front")
        run = Run(
            search_id=search.id,
            shipped=tuple(shipped),
            random_search_id=random_search_id,
            started_s=started_s,
            train_s=search_started_s - train_started_s,
            search_s=search_s,
        )
        write_report(nas, run, arguments.folder, console)
    if arguments.keep:
        _keep(rig, url, search.id, console)
    else:
        console.print(f"Everything stays queryable: HILNAS_HOME={arguments.folder / 'home'} hilnas server")
        console.print("To look at it in a browser, run it with KEEP=1: the server stays up and says its address.")
    return 0


def _follow(nas: Hilnas, search_id: str, console: Console) -> None:
    """Show a search until it ends. Raises RuntimeError where it does not complete."""
    ended = follow_search(nas, search_id, console)
    if ended.state is not SearchState.COMPLETED:
        raise RuntimeError(f"the search is {ended.state.value}: {ended.reason}")


def _keep(rig: Rig, url: str, search_id: str, console: Console) -> None:
    console.rule("the server stays up")
    console.print(f"Look at it: {url}/searches/{search_id}", soft_wrap=True, highlight=False)
    console.print("Or try")
    for line in (
        f"HILNAS_URL={url} hilnas search answer {search_id}",
        f"curl -s '{url}/api/v1/searches/{search_id}/front'",
        f"curl -s '{url}/api/v1/measurements?device_type={DEVICE_TYPE}&page_size=5'",
        f"curl -s '{url}/api/v1/searches/{search_id}/candidates?order_by=latency_us&page_size=5'",
        f"curl -sN -H 'Accept: text/event-stream' -H 'Last-Event-ID: 0' '{url}/api/v1/searches/{search_id}/events'",
        f"curl -s '{url}/api/v1/devices'",
    ):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    console.print(f"API documentation: {url}/docs   Ctrl-C stops everything.")
    sys.stdout.flush()
    rig.wait()
