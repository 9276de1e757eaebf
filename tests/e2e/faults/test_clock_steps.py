"""Wall clocks that are stepped while a search runs: real processes under libfaketime, monotonic clocks left alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from server.jobs.states import JobKind
from tests.e2e.conftest import Ending
from tests.support.processes.fault_searches import LATENCY
from tests.support.processes.rig import Installation
from tests.support.worlds.databases import PostgresServer

FOLDERS = ("/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib64/faketime")


def faketime_library() -> Path | None:
    """libfaketime for programs with threads, from HILNAS_FAKETIME or where distributions put it."""
    named = os.environ.get("HILNAS_FAKETIME", "")
    candidates = [Path(named)] if named else [Path(folder) / "libfaketimeMT.so.1" for folder in FOLDERS]
    return next((path for path in candidates if path.is_file()), None)


pytestmark = pytest.mark.skipif(
    faketime_library() is None, reason="libfaketime is not installed (Debian: apt-get install faketime)"
)


class SteppedClock:
    """The wall clock of some processes, as an offset in a file that they read at every look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.step_to("+0")

    def step_to(self, offset: str) -> None:
        """E.g. ``+1h``: so far off the true time from now on."""
        partial = self._path.with_suffix(".part")
        partial.write_text(offset)
        partial.replace(self._path)

    @property
    def environment(self) -> Mapping[str, str]:
        """For the processes that live by this clock."""
        return {
            "LD_PRELOAD": str(faketime_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


@pytest.mark.postgres
def test_a_search_ends_as_if_undisturbed_over_steps_of_the_boards_and_the_servers_clocks(
    postgres_server: PostgresServer, tmp_path: Path, ends_as_if_undisturbed: Ending
) -> None:
    boards, server = SteppedClock(tmp_path / "boards.clock"), SteppedClock(tmp_path / "server.clock")
    with postgres_server.database(migrated=False) as url:
        nas = Installation(tmp_path, url)
        try:
            nas.server.surround(server.environment)
            nas.start()
            board = nas.add_board("board-1", surroundings=boards.environment)
            nas.until(lambda: nas.num_devices() == 1, "the board has enrolled")
            search_id = nas.create(LATENCY)
            nas.until_step(search_id, 1)
            with nas.in_the_middle_of(JobKind.MEASURE):
                boards.step_to("+1h")
            nas.until_step(search_id, 2)
            with nas.in_the_middle_of(JobKind.MEASURE):
                boards.step_to("-1h")
                server.step_to("+1h")
            nas.until_step(search_id, 3)
            server.step_to("-1h")
            assert board.alive
            ends_as_if_undisturbed(nas, search_id)
        finally:
            nas.end()
