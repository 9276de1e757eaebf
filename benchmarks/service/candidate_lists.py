"""Lists of candidates, fronts and latencies over REST in a database of 20 searches and 50,000 candidates.

The database is made as it stood before metrics were rows, upgraded (the time is printed, and how many values of each
metric there were and are) and then asked through the application itself, without a socket: the median of several
requests each, at one search of 2,500 candidates and more.
`--database` names an empty PostgreSQL database; without it a SQLite file is made. ANALYZE is run first, as autovacuum
does. `--baseline FILE` compares with what `--json FILE` of an earlier commit wrote; the goal is at most 1.2 times.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa
from starlette.testclient import TestClient

from server.bootstrap.api import build
from server.bootstrap.logs import configure_logging
from server.bootstrap.schema import migrate
from server.bootstrap.settings import Settings
from tests.support.worlds.many_candidates import (
    GRAPH_COLUMNS,
    METRIC_COLUMNS,
    add_searches,
    first_release_database,
)

GOAL = 1.2


def requests(search: str) -> dict[str, str]:
    """What is asked, by what it is called in the table."""
    candidates = f"/api/v1/searches/{search}/candidates?page_size=50"
    return {
        "candidates, by number": candidates,
        "candidates, 500 a page": f"/api/v1/searches/{search}/candidates?page_size=500",
        "candidates, by top1, best first": f"{candidates}&order_by=-top1",
        "candidates, by latency": f"{candidates}&order_by=latency_us",
        "candidates, by latency, counted": f"{candidates}&order_by=latency_us&include_total=true",
        "candidates, by MACs": f"{candidates}&order_by=macs",
        "candidates, by params, largest first": f"{candidates}&order_by=-params",
        "candidates, complete, by latency": f"{candidates}&order_by=latency_us&state=complete",
        "candidates, latency and top1 bounded": f"{candidates}&metric=latency_us:le:8000&metric=top1:ge:0.7",
        "candidates, MACs bounded, by top1": f"{candidates}&metric=macs:le:100000000&order_by=-top1",
        "candidates, narrow bounds, counted": f"{candidates}&metric=latency_us:le:300&include_total=true",
        "front": f"/api/v1/searches/{search}/front",
        "front, confident": f"/api/v1/searches/{search}/front?dominance=confident",
        "front with dominated": f"/api/v1/searches/{search}/front?include_dominated=true",
        "latencies of a space": "/api/v1/measurements?space=spos&page_size=50",
        "latencies of a search": f"/api/v1/measurements?search_id={search}&page_size=50",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", metavar="URL", help="an empty PostgreSQL database (default: a SQLite file)")
    parser.add_argument("--searches", type=int, default=20)
    parser.add_argument("--candidates", type=int, default=2500, help="of each search (default 2500)")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the medians as JSON")
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="compare with the JSON of another commit")
    arguments = parser.parse_args()
    configure_logging("warning", as_json=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with first_release_database(folder, arguments.database) as engine:
            print(f"{engine.dialect.name}: {arguments.searches} searches of {arguments.candidates} candidates")
            searches = add_searches(engine, num_searches=arguments.searches, num_candidates=arguments.candidates)
            before = values_of(engine, OF_COLUMNS)
            started = time.perf_counter()
            migrate(engine)
            upgrade_s = time.perf_counter() - started
            after = values_of(engine, OF_ROWS)
            for metric, (number, total) in before.items():
                is_kept = number == after[metric][0] and math.isclose(total, after[metric][1], rel_tol=1e-9)
                print(f"{metric:<40} {number:8} -> {after[metric][0]:8} values{'' if is_kept else '  LOST'}")
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(sa.text("ANALYZE"))
            settings = {"home": folder / "home", "insecure_no_auth": True, "allowed_hosts": ("testserver",)}
            if arguments.database:
                settings["database_url"] = arguments.database
            process = build(Settings.load(settings))
            found = measure(TestClient(process.app), requests(searches[len(searches) // 2]), arguments.repeats)
            process.engine.dispose()
    print(f"upgrade: {upgrade_s:.2f} s")
    report(found, arguments.baseline)
    if arguments.json:
        arguments.json.write_text(json.dumps({"upgrade_s": upgrade_s, "milliseconds": found}, indent=2))


OF_COLUMNS = "SELECT count({0}), sum({0}) FROM candidates c JOIN architectures a ON a.arch_id = c.arch_id"
OF_ROWS = "SELECT count(value), sum(value) FROM evaluations WHERE metric = '{0}' AND \"current\""


def values_of(engine: sa.Engine, statement: str) -> dict[str, tuple[int, float]]:
    """How many candidates have a value of each metric, and the sum of them."""
    with engine.connect() as connection:
        found = {m: connection.execute(sa.text(statement.format(m))).one() for m in (*METRIC_COLUMNS, *GRAPH_COLUMNS)}
    return {metric: (int(number), float(total or 0.0)) for metric, (number, total) in found.items()}


def measure(client: TestClient, wanted: dict[str, str], repeats: int) -> dict[str, float]:
    """Median of each request in milliseconds, after one that is not counted."""
    found = {}
    for name, path in wanted.items():
        times = []
        for _ in range(repeats + 1):
            started = time.perf_counter()
            answer = client.get(path)
            times.append(time.perf_counter() - started)
            assert answer.status_code == 200, (path, answer.text)
        found[name] = 1e3 * statistics.median(times[1:])
    return found


def report(found: dict[str, float], baseline: Path | None) -> None:
    """Print the table, with the ratio to the baseline where there is one."""
    before = json.loads(baseline.read_text())["milliseconds"] if baseline else {}
    for name, milliseconds in found.items():
        line = f"{name:<40} {milliseconds:8.1f} ms"
        if name in before:
            ratio = milliseconds / before[name]
            line += f"  before {before[name]:8.1f} ms  x {ratio:.2f}{'' if ratio <= GOAL else '  ABOVE THE GOAL'}"
        print(line)


if __name__ == "__main__":
    main()
