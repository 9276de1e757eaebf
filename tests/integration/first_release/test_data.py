"""A database and artifacts of the first release under today's server: nothing is lost, everything goes on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.processes import first_release
from tests.support.processes.first_release import Installation
from tests.support.worlds.databases import PostgresServer

API = "/api/v1"
FINAL = ("completed", "failed", "cancelled")
pytestmark = pytest.mark.xdist_group("first-release-data")
Rows = dict[str, list[dict[str, Any]]]


def _awaited_of_batches(after: Rows) -> list[dict[str, Any]]:
    """A latency table or report that was under way waits for the entries that are not measured yet."""
    batches = {row["id"]: row for row in after["latency_batches"] if row["state"] == "running"}
    waiting = [
        {
            "candidate_id": entry["id"],
            "metric": "latency_us",
            "search_id": entry["batch_id"],
            "attempt": 1,
            "supernet_version_id": None,
            "latency_key": entry["latency_key"],
            "hardware_key": batches[entry["batch_id"]]["hardware_key"],
        }
        for entry in after["latency_entries"]
        if entry["batch_id"] in batches and entry["state"] == "asked"
    ]
    return [*after["awaited_evaluations"], *waiting]


def _jobs_of_moved_searches(after: Rows) -> list[dict[str, Any]]:
    """Jobs of a latency table or report that was under way are cancelled: it orders its own."""
    moved = {row["id"] for row in after["searches"] if row["moved_to"] is not None and row["state"] == "running"}
    return [
        {**row, "state": "queued", "finished_at": None}
        if row["search_id"] in moved and row["state"] == "cancelled"
        else row
        for row in after["jobs"]
    ]


def _candidates_with_values(after: Rows) -> list[dict[str, Any]]:
    """The value of each metric lies among the evaluations, as the current one."""
    current = {(row["candidate_id"], row["metric"]): row for row in after["evaluations"] if row["current"]}
    found = []
    for row in after["candidates"]:
        known = {metric: current.get((row["id"], metric)) for metric in EVALUATED}
        values = {metric: None if one is None else one["value"] for metric, one in known.items()}
        latency = known["latency_us"]
        found.append({**row, **values, "latency_flags": [] if latency is None else latency["flags"]})
    return found


def _architectures_with_counts(after: Rows) -> list[dict[str, Any]]:
    """What was counted lies in one document."""
    return [{**row, **{name: row["values"].get(name) for name in COUNTED}} for row in after["architectures"]]


def _networks(after: Rows) -> list[dict[str, Any]]:
    """Networks as the supernets that they were, their version beside."""
    return [{**row, "latest_version_id": row["weights_id"]} for row in after["networks"]]


def _weights_of_networks(after: Rows) -> list[dict[str, Any]]:
    return [
        {
            "id": row["weights_id"],
            "supernet_id": row["id"],
            "number": 1,
            "weights_sha256": row["weights_sha256"],
            "statistics": row["weights_statistics"],
            "search_id": None,
            "parent_id": None,
            "created_at": row["weights_created_at"],
        }
        for row in after["networks"]
        if row["weights_id"] is not None
    ]


def _jobs_with_supernets(after: Rows) -> list[dict[str, Any]]:
    """Jobs of networks name these, in the payload of their trainings too."""
    return [
        row
        if (network_id := row["network_id"]) is None
        else {
            **row,
            "supernet_id": network_id,
            "payload": {"supernet_id": network_id} if row["kind"] == "train" else row["payload"],
        }
        for row in _jobs_of_moved_searches(after)
    ]


EVALUATED = ("top1", "test_top1", "device_top1", "latency_us")
COUNTED = ("macs", "params", "peak_activation_bytes")
WHERE_IT_WENT: Mapping[str, Callable[[Rows], list[dict[str, Any]]]] = {
    "architectures": _architectures_with_counts,
    "awaited_evaluations": _awaited_of_batches,
    "candidates": _candidates_with_values,
    "events": lambda after: [
        {**row, "supernet_id": row["supernet_id"] or row["network_id"]} for row in after["events"]
    ],
    "jobs": _jobs_with_supernets,
    "supernet_versions": lambda after: [*after["supernet_versions"], *_weights_of_networks(after)],
    "supernets": lambda after: [*after["supernets"], *_networks(after)],
}
"""Tables whose rows lie elsewhere or otherwise today: how to read them back as the first release had them."""

CHANGED_BY_STARTING: Mapping[str, frozenset[str]] = {
    "api_tokens": frozenset({"last_used_at"}),
    "wake_counts": frozenset({"num_wakes"}),
    "jobs": frozenset({"lease_expires_at"}),
}
"""Columns that a server's start, or the test itself, writes."""


@dataclass(frozen=True)
class Upgraded:
    """An installation on which today's server has started, and its rows before and after."""

    installation: Installation
    before: Rows
    after: Rows


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def upgraded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    folder = tmp_path_factory.mktemp(f"first-release-{request.param}")
    first_release.unpack(folder)
    old = sa.create_engine(f"sqlite:///{folder / 'home' / 'hilnas.sqlite3'}")
    before = first_release.rows_of(old)
    with ExitStack() as stack:
        url = None
        if request.param == "postgresql":
            server: PostgresServer = request.getfixturevalue("postgres_server")
            url = stack.enter_context(server.database(migrated=False))
            new = sa.create_engine(url)
            first_release.create_first_schema(new)
            first_release.copy_rows(old, new)
            assert first_release.rows_of(new) == before, "the copy is not the same"
            new.dispose()
        old.dispose()
        installation = stack.enter_context(first_release.opened(folder, url))
        first_release.keep_leases(installation.database_url)
        installation.start_server()
        engine = sa.create_engine(installation.database_url)
        after = first_release.rows_of(engine)
        engine.dispose()
        yield Upgraded(installation, before, after)


def test_every_row_of_the_first_release_is_there_with_every_value(upgraded: Upgraded) -> None:
    for table, rows in upgraded.before.items():
        now = WHERE_IT_WENT.get(table, lambda after, table=table: after[table])(upgraded.after)
        volatile = CHANGED_BY_STARTING.get(table, frozenset())
        columns = [column for column in (rows[0] if rows else ()) if column not in volatile]
        known = Counter(_values(row, columns) for row in now)
        lost = [row for row in rows if not known[_values(row, columns)]]
        assert not lost, (table, len(lost), lost[:1])
        assert len(now) >= len(rows), table


def test_the_fixture_holds_every_table_and_every_state(upgraded: Upgraded) -> None:
    rows = upgraded.before
    assert [table for table, found in rows.items() if not found] == ["job_exclusions"]
    states = {table: {row["state"] for row in rows[table]} for table in ("jobs", "devices", "searches", "supernets")}
    assert states["jobs"] == {"queued", "leased", "done", "failed", "cancelled"}
    assert states["devices"] == {"active", "draining", "degraded", "quarantined", "retired"}
    assert states["searches"] >= {"queued", "running", "paused", "completed", "cancelled"}
    assert states["supernets"] == {"queued", "training", "ready", "cancelled"}
    assert {row["spec"]["strategy"]["kind"] for row in rows["supernets"]} >= {
        "uniform",
        "flops_binned",
        "fair",
        "retrain",
    }


def test_every_artifact_that_is_kept_is_given_out(upgraded: Upgraded) -> None:
    stored = {path.parent.name + path.name for path in (upgraded.installation.home / "artifacts").rglob("*")}
    wanted = [row for row in upgraded.before["artifacts"] if row["sha256"] in stored]
    assert len(wanted) > 20
    for row in wanted:
        answer = upgraded.installation.request("GET", f"{API}/artifacts/{row['sha256']}")
        assert hashlib.sha256(answer.body).hexdigest() == row["sha256"]


def test_every_resource_is_read_over_rest(upgraded: Upgraded) -> None:
    nas, rows = upgraded.installation, upgraded.before
    for collection, table in (
        ("searches", "searches"),
        ("supernets", "supernets"),
        ("ranking-studies", "ranking_studies"),
        ("devices", "devices"),
        ("jobs", "jobs"),
        ("tokens", "api_tokens"),
        ("enrolment-tokens", "enrolment_tokens"),
    ):
        # Latency tables and reports are searches of their own kind: the collection may leave them out, never its items.
        listed = {item["id"] for item in nas.items(f"{API}/{collection}")}
        if collection == "supernets":  # those that are retrained are networks, which are listed by themselves
            networks = {item["id"] for item in nas.items(f"{API}/networks")}
            assert networks == {row["id"] for row in rows[table] if row["spec"]["strategy"]["kind"] == "retrain"}
            listed |= networks
        ids = {row["id"] for row in rows[table]}
        if table == "jobs":  # a latency table that was under way orders its own
            ordered = [nas.get(f"{API}/jobs/{id}") for id in sorted(listed - ids)]
            assert {job["kind"] for job in ordered} <= {"convert", "measure"}, ordered
            listed &= ids
        if table != "searches":
            assert listed == ids, collection
        if collection != "enrolment-tokens":
            for id in ids:
                assert nas.get(f"{API}/{collection}/{id}")["id"] == id
    kinds = "kind=measured&kind=simulated&kind=estimated&include_superseded=true&include_suspect=true"
    listed = {item["id"] for item in nas.items(f"{API}/measurements?{kinds}")}
    assert listed == {row["id"] for row in rows["measurements"]}
    for id in sorted(listed)[::10]:
        assert nas.get(f"{API}/measurements/{id}/samples")["blocks"]
    listed = {item["id"] for item in nas.items(f"{API}/classifications?include_superseded=true")}
    assert listed == {row["id"] for row in rows["classifications"]}
    candidates = [
        item["id"] for row in rows["searches"] for item in nas.items(f"{API}/searches/{row['id']}/candidates")
    ]
    assert sorted(candidates) == sorted(row["id"] for row in rows["candidates"])
    for search in rows["searches"]:
        kept = nas.items(f"{API}/searches/{search['id']}/checkpoints")
        assert len(kept) == len([row for row in rows["checkpoints"] if row["search_id"] == search["id"]])
    names = first_release.document("names.json")["ids"]
    for name, report in (("latency_table", "report"), ("spos_table", "spos_report")):
        table = nas.get(f"{API}/latency-tables/{names[name]}")
        assert table["num_measured"] == table["num_operators"] == len(table["rows"]) > 0
        found = nas.get(f"{API}/latency-tables/{names[name]}/reports/{names[report]}")
        assert found["num_measured"] == found["num_networks"]
        assert found["agreements"]


@pytest.mark.long
def test_what_was_paused_or_queued_goes_on_with_the_same_candidates(tmp_path: Path) -> None:
    first_release.unpack(tmp_path)
    names = first_release.document("names.json")
    expected = first_release.document("continuations.json")
    with first_release.opened(tmp_path) as nas:
        first_release.keep_leases(nas.database_url)
        nas.start_server()
        nas.start_worker()
        nas.start_agent("bench-1", *first_release.BENCH_1)
        for id in names["paused"].values():
            nas.post(f"{API}/searches/{id}:resume")
        for name, one in expected.items():
            state = _until(nas, f"{API}/searches/{one['id']}", FINAL)
            asked = [item["genotype"] for item in nas.items(f"{API}/searches/{one['id']}/candidates")]
            assert state == one["state"], (name, nas.get(f"{API}/searches/{one['id']}")["reason"])
            assert asked[: one["num_before"]] == one["genotypes"][: one["num_before"]], name
            assert len(asked) == len(one["genotypes"]), name
            if name not in TRAINED | IMPROVED:
                assert asked == one["genotypes"], name
        ids = names["ids"]
        for name in ("queued_supernet", "half_uniform", "half_binned", "half_fair", "half_retrain"):
            path = f"{API}/supernets/{ids[name]}"
            assert _until(nas, path, ("ready", "failed")) == "ready", nas.get(path)["reason"]
        assert _until(nas, f"{API}/ranking-studies/{ids['queued_study']}", FINAL) == "completed"
        assert _until(nas, f"{API}/jobs/{ids['waiting_job']}", ("done", "failed")) == "done"
        table = nas.get(f"{API}/latency-tables/{ids['table_under_way']}")
        assert table["num_measured"] == table["num_operators"]


TRAINED = frozenset({"shifting", "waiting_search", "queued_densenas"})
"""Searches whose gradients differ in their last digits between processors."""

IMPROVED = frozenset({"predictor", "ridge", "scarlet"})
"""Searches that go on from what was evaluated otherwise than the first release did: with better predictors, and with
children that are crossed *or* mutated, as SCARLET's text says."""


def _until(nas: Installation, path: str, states: tuple[str, ...]) -> str:
    nas.until(lambda: nas.get(path)["state"] in states, f"{path} is one of {states}")
    return str(nas.get(path)["state"])


def _values(row: Mapping[str, Any], columns: list[str]) -> str:
    return repr([_sorted(row[column]) for column in columns])


def _sorted(value: Any) -> Any:
    """Equal whatever the order of keys: PostgreSQL's JSONB keeps its own."""
    match value:
        case dict():
            return {key: _sorted(value[key]) for key in sorted(value)}
        case list():
            return [_sorted(item) for item in value]
        case _:
            return value
