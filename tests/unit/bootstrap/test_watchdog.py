"""The watchdog, over processes that are well and one that is not."""

from __future__ import annotations

import subprocess
import sys

WATCHED = """
import ctypes, time
from server.bootstrap.watchdog import Watchdog
dog = Watchdog(1.0)
dog.start()
{what}
dog.stop()
print("lived")
"""


def watched(what: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WATCHED.format(what=what)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_native_code_that_holds_the_interpreter_ends_the_process() -> None:
    done = watched("ctypes.PyDLL(None).pause()")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Timeout" in done.stderr


def test_a_process_that_only_waits_lives() -> None:
    done = watched("time.sleep(2.5)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "lived\n", "")
