"""The API does what its description says: schemathesis sends what the description allows, and what it forbids.

Every check of schemathesis is on: described statuses, media types, headers and schemas, form that is refused and taken,
methods and Allow, authentication, and what a created or deleted thing answers afterwards.
`tests/support/conformance/hooks.py` names what the checks cannot know. CONFORMANCE_EXAMPLES asks for more cases of each
operation and for the systematic ones of those with large documents too (`make conformance`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.access.permissions import Kind
from server.access.tokens import Tokens
from tests.support.paths import ROOT
from tests.support.worlds.api_world import ADMIN, World, cheap_spec, latency_spec
from tests.support.worlds.owned_things import OwnedThings
from tests.support.worlds.served_world import served

pytestmark = pytest.mark.long

_CONFIGURATION = ROOT / "tests/support/conformance/schemathesis.toml"
_NUM_EXAMPLES = int(os.environ.get("CONFORMANCE_EXAMPLES", "0"))
_LARGE_DOCUMENTS = (
    r"(searches|:validate|supernets|networks|:register|:retrain|ranking-studies|measurements|latency-tables|reports"
    r"|searches/\{search_id\})$"
)
"""Operations of which the systematic cases alone are eight thousand."""
UNBOUNDED = dict.fromkeys(
    (
        "quota_requests_per_minute",
        "quota_open_searches",
        "quota_queued_jobs",
        "quota_open_candidates",
        "quota_search_candidates",
        "quota_upload_bytes_per_day",
    ),
    0,
)


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[World]:
    """A server that holds one of everything."""
    home = tmp_path_factory.mktemp("conformance")
    shutil.copy(migrated_sqlite, home / "hilnas.sqlite3")
    world = World.open(home, **UNBOUNDED)
    yield world
    world.close()


@pytest.fixture(scope="module")
def known_ids(described: World) -> dict[str, str]:
    """What really exists, by the name it has in paths; and the caller's own token, which must not be revoked."""
    client, things, board = described.client(), OwnedThings(described), described.enrol()
    client.post("/api/v1/searches", json=latency_spec())
    described.step([[0, 0, 0, 0], [1, 1, 1, 1]])
    described.convert_all()
    described.measure_all(board)
    client.post("/api/v1/searches", json=cheap_spec())

    def first(path: str, key: str = "id") -> str:
        return str(client.get(f"/api/v1/{path}").json()["items"][0][key])

    search_id = first("measurements", "search_id")
    return {
        **things.make(Kind.SUPERNET, "root"),
        **things.make(Kind.STUDY, "root"),
        **things.make(Kind.REPORT, "root"),
        "search_id": search_id,
        "what_if_id": things.what_if("root", search_id)["what_if_id"],
        "candidate_id": first(f"searches/{search_id}/candidates"),
        "measurement_id": first("measurements"),
        "device_id": board.id,
        "job_id": first("jobs"),
        "sha256": first("artifacts", "sha256"),
        "space_id": "spos",
        "token_id": client.post("/api/v1/tokens", json={"name": "spare", "roles": ["viewer"]}).json()["id"],
        "enrolment_token_id": client.post("/api/v1/enrolment-tokens", json={"name": "spare"}).json()["id"],
        "own_token_id": described.process.get(Tokens).authenticate(ADMIN).id,
    }


@pytest.fixture(scope="module")
def url(described: World, known_ids: dict[str, str]) -> Iterator[str]:
    """Where the server is reached; its description is made beforehand, since schemathesis waits 10 s for it."""
    described.client().get("/api/v1/openapi.json")
    with served(described) as found:
        yield found


SYSTEMATIC = ["--phases", "coverage"]
CHOSEN = ["--phases", "examples,fuzzing,stateful", "--max-examples", str(_NUM_EXAMPLES or 6)]


@pytest.mark.parametrize("cases", [SYSTEMATIC, CHOSEN], ids=["systematic", "chosen"])
def test_every_operation_conforms_to_its_description(
    described: World, known_ids: dict[str, str], url: str, cases: list[str], tmp_path: Path
) -> None:
    if cases is SYSTEMATIC and not _NUM_EXAMPLES:
        cases = [*cases, "--exclude-path-regex", _LARGE_DOCUMENTS]
    said = tmp_path / "schemathesis.txt"  # a file, so that a run of hours can be watched
    with said.open("w") as out:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(_CONFIGURATION)),
                *("run", f"{url}/api/v1/openapi.json", "--header", f"Authorization: Bearer {ADMIN}"),
                *("--checks", "all", "--workers", "1", "--seed", "1", *cases),
            ],
            env={**os.environ, "HILNAS_CONFORMANCE_IDS": json.dumps(known_ids), "PYTHONPATH": str(ROOT)},
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    text = said.read_text()
    assert done.returncode == 0, text[max(0, text.find("= FAILURES")) :][:50_000]
    found = re.search(r"(\d+) generated, (\d+) passed", text)
    assert found is not None, text[-2000:]
    sys.stdout.write(f"{found.group(0)}\n")
    assert int(found.group(1)) > 400
    # The caller was who it is to the end: refusals of a stranger prove little.
    assert described.client().get("/api/v1/tokens").status_code == 200
