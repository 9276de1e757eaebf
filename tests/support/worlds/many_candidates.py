"""A database of many searches with thousands of candidates, as it stood before metrics were rows.

One finished search of the first release is copied under new ids, its values spread by a seeded generator, into a
database at the revision before; tests and `benchmarks/service/candidate_lists.py` upgrade it from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from server.bootstrap.schema import migrate
from server.core.database.engine import open_engine
from tests.support.processes import first_release

BEFORE = "0012_sessions_and_uploads"
TEMPLATE = "srch_01m8gqnvbzt2atdrrc62vfdkwn"  # top1, latency_us and macs on a board, with test accuracies
CHUNK = 2_000
METRIC_COLUMNS = ("top1", "test_top1", "device_top1", "latency_us")
GRAPH_COLUMNS = ("macs", "params", "peak_activation_bytes")
Row = dict[str, Any]


@contextmanager
def first_release_database(folder: Path, url: str | None = None) -> Iterator[sa.Engine]:
    """A copy of the first release's database at revision `BEFORE`, in a folder, or in the empty database at `url`."""
    with ExitStack() as stack:
        first_release.unpack(folder)
        old = folder / "home" / "hilnas.sqlite3"
        if url is not None:
            source, target = sa.create_engine(f"sqlite:///{old}"), sa.create_engine(url)
            first_release.create_first_schema(target)
            first_release.copy_rows(source, target)
            source.dispose()
            target.dispose()
        engine = open_engine(url or f"sqlite:///{old}")
        stack.callback(engine.dispose)
        migrate(engine, BEFORE)
        yield engine


def add_searches(engine: sa.Engine, *, num_searches: int, num_candidates: int) -> tuple[str, ...]:
    """Copy the template search `num_searches` times, each with `num_candidates` candidates; returns their ids."""
    metadata = sa.MetaData()
    metadata.reflect(engine)
    tables = metadata.tables
    rng = np.random.default_rng(7)
    with engine.connect().execution_options(hilnas_write=True) as connection, connection.begin():
        template = _rows(connection, tables["searches"], "id")[0]
        samples = [row for row in _rows(connection, tables["candidates"]) if row["state"] == "complete"]
        measured = _rows(connection, tables["measurements"])[0]
        scores = {row["metric"]: row for row in _rows(connection, tables["evaluations"])}
        records = {row.arch_id: dict(row._mapping) for row in connection.execute(sa.select(tables["architectures"]))}
        ids = tuple(_id("srch", number) for number in range(num_searches))
        connection.execute(sa.insert(tables["searches"]), [{**template, "id": id} for id in ids])
        number = 0
        for search_id in ids:
            for first in range(1, num_candidates + 1, CHUNK):
                rows: dict[str, list[Row]] = {
                    name: [] for name in ("architectures", "candidates", "measurements", "evaluations")
                }
                for seq in range(first, min(first + CHUNK, num_candidates + 1)):
                    number += 1
                    sample = samples[seq % len(samples)]
                    new = _candidate(sample, records[sample["arch_id"]], search_id, seq, number, rng)
                    rows["architectures"].append(new.pop("architecture"))
                    rows["candidates"].append(new)
                    measurement = {**measured, "id": _id("meas", number), "lease_id": None, "search_id": search_id}
                    measurement |= {"candidate_id": new["id"], "arch_id": new["arch_id"], "p50_us": new["latency_us"]}
                    rows["measurements"].append(measurement)
                    rows["evaluations"] += _evaluations(new, scores, measurement["id"], number)
                for name, found in rows.items():
                    connection.execute(sa.insert(tables[name]), found)
    return ids


def _rows(connection: sa.Connection, table: sa.Table, column: str = "search_id") -> list[Row]:
    statement = sa.select(table).where(table.c[column] == TEMPLATE)
    return [dict(row._mapping) for row in connection.execute(statement)]


def _id(prefix: str, number: int) -> str:
    return f"{prefix}_01n{number:023d}"


def _candidate(
    sample: Row, record: Row, search_id: str, seq: int, number: int, rng: np.random.Generator
) -> dict[str, Any]:
    arch_id = hashlib.sha256(f"{number}".encode()).hexdigest()
    macs = int(rng.integers(1_000_000, 600_000_000))
    top1 = float(rng.random())
    values = {
        "top1": top1,
        "latency_us": float(rng.uniform(100.0, 20_000.0)),
        "test_top1": top1 - 0.01 if seq % 100 == 0 else None,
        "device_top1": top1 - 0.02 if seq % 100 == 0 else None,
    }
    architecture = {**record, "arch_id": arch_id, "macs": macs, "params": macs // 90}
    architecture["peak_activation_bytes"] = int(rng.integers(10_000, 5_000_000)) * 4
    named = {"id": _id("cand", number), "search_id": search_id, "seq": seq, "arch_id": arch_id}
    if seq % 10 == 7:  # measured, but its accuracy could not be evaluated
        values |= {"top1": None, "test_top1": None, "device_top1": None}
        named["state"] = "failed"
    return {**sample, **values, **named, "generation": seq // 50, "architecture": architecture}


def _evaluations(candidate: Row, scores: Mapping[str, Row], measurement_id: str, number: int) -> Iterator[Row]:
    """Yield its evaluations; every third was measured twice, the newer number being the current one."""
    attempt = dict.fromkeys(METRIC_COLUMNS, 1)
    if number % 3 == 0:
        attempt["latency_us"] = 2
    place = 0
    for metric in METRIC_COLUMNS:
        value = candidate[metric]
        for current in range(1, attempt[metric] + 1 if value is not None else 1):
            place += 1
            yield {
                **scores[metric],
                "id": f"eval_01n{number:018d}{place:05d}",
                "search_id": candidate["search_id"],
                "candidate_id": candidate["id"],
                "attempt": current,
                "value": value if current == attempt[metric] else value * 1.05,
                "measurement_id": measurement_id if metric == "latency_us" else None,
            }
