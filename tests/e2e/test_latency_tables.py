"""Table, report and DenseNAS search as the how-to has them: real server, worker and agent, a fake board."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hilnas.client.errors import InvalidRequestError
from server.candidates.states import SearchState
from tests.support.processes.rig import DEVICE_TYPE, Installation

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to" / "latency_tables.md"
# What the test makes smaller; every other character of the page and its examples runs as it stands.
SMALLER = (("epochs: 6", "epochs: 1"), ("first_architecture_epoch: 2", "first_architecture_epoch: 0"))


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("tables"))
    try:
        made.start("bench-1")
        yield made
    finally:
        made.end()


def _examples(folder: Path) -> None:
    """The page's files, for the fake board."""
    target = folder / "docs" / "examples"
    target.mkdir(parents=True)
    for name in ("latency_table.yaml", "densenas.yaml"):
        text = (ROOT / "docs" / "examples" / name).read_text(encoding="utf-8").replace("cpu-emulator", DEVICE_TYPE)
        for shown, smaller in SMALLER:
            text = text.replace(shown, smaller)
        (target / name).write_text(text, encoding="utf-8")


@pytest.mark.timeout(600)
def test_the_how_to_runs_from_its_first_command_to_its_last(installation: Installation, tmp_path: Path) -> None:
    _examples(tmp_path)
    commands = "\n".join(re.findall(r"```bash\n(.*?)```", HOW_TO.read_text(encoding="utf-8"), re.DOTALL))
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HILNAS_URL": installation.api.url,
        "COLUMNS": "200",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (table,) = installation.api.latency_tables.all()
    assert table.num_measured == table.num_operators > 10
    assert len((tmp_path / "operators.csv").read_text().splitlines()) == table.num_operators + 1
    assert len((tmp_path / "networks.csv").read_text().splitlines()) == 7
    assert "chained" in done.stdout
    _check_search(installation, table.id)


def _check_search(installation: Installation, table_id: str) -> None:
    """One architecture per lambda, each measured on the board, paid for with the table."""
    search = next(s for s in installation.api.searches.all() if s.name == "first DenseNAS search")
    assert search.state is SearchState.COMPLETED, search.reason
    derived = search.progress.report["derived"]
    assert isinstance(derived, list)
    assert [d["cost_factor"] for d in derived if isinstance(d, dict)] == [0.0, 0.5]
    assert {d["cost_unit"] for d in derived if isinstance(d, dict)} == {"ms"}
    asked = [d["genotype"] for d in derived if isinstance(d, dict) and d["new"]]
    candidates = list(installation.api.searches.candidates(search.id))
    assert [list(c.genotype) for c in candidates] == asked
    assert all(c.latency is not None and c.latency.p50_us > 0 for c in candidates)
    spec = search.spec.model_dump(mode="json")
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"device": {"device_type": DEVICE_TYPE, "batch": 2}}, "batch 1, the search measures batch 2"),
        ({"algorithm": {**spec["algorithm"], "latency_table": search.id}}, "is a search, no latency table"),
        ({"space": {"id": "densenas-mbv2", "parameters": {"num_classes": 10}}}, "use the same parameters"),
    )
    for changes, reason in refused:
        with pytest.raises(InvalidRequestError, match=reason):
            installation.api.searches.create({**spec, **changes})
    assert table_id in str(spec["algorithm"])
