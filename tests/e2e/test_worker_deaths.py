"""An algorithm of another package that ends every worker which runs it, over real processes."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.packages import lay_out
from tests.support.processes.plugin_environment import PluginEnvironment, served

pytestmark = pytest.mark.xdist_group("doors")
LEASE_S = "3"
DECLARED = """from pydantic import BaseModel
from hilnas import AlgorithmDeclaration
class Nothing(BaseModel):
    pass
IT = AlgorithmDeclaration(name="lethal", title="", settings=Nothing, implementation="lethal_code:Lethal")
"""
CODE = """import os
class Lethal:
    def __init__(self, *given):
        os._exit(7)
"""
SPEC: dict[str, Any] = {
    "space": {"id": "spos"},
    "objectives": [{"metric": "macs"}],
    "algorithm": {"kind": "random", "batch_size": 4},
    "budget": {"num_candidates": 8},
}


def test_an_algorithm_that_ends_workers_is_named_and_another_search_completes(tmp_path: Path) -> None:
    environment = PluginEnvironment(tmp_path)
    environment.variables["HILNAS_LEASE_TTL_S"] = LEASE_S
    lay_out(environment.packages, "hilnas-lethal", "hilnas.algorithms", "lethal", DECLARED)
    (environment.packages / "lethal_code.py").write_text(CODE, encoding="utf-8")
    workers: list[subprocess.Popen[bytes]] = []
    with ExitStack() as stack:
        nas = stack.enter_context(served(environment))
        lethal = nas.searches.create({**SPEC, "algorithm": {"kind": "lethal"}})
        other = nas.searches.create(SPEC)

        def both_ended() -> bool:
            """Start the worker anew whenever it is gone, as what supervises it would."""
            if not workers or workers[-1].poll() is not None:
                workers.append(stack.enter_context(environment.running("restarted", "worker")))
            return all(nas.searches.get(one.id).state.value in ("failed", "completed") for one in (lethal, other))

        environment.until(both_ended, "both searches have ended")
        failed, completed = nas.searches.get(lethal.id), nas.searches.get(other.id)
        assert failed.state.value == "failed"
        assert "3 times the worker died" in failed.reason
        assert "lethal of hilnas-lethal 1.0 (hilnas.algorithms)" in failed.reason
        assert (completed.state.value, completed.progress.num_complete) == ("completed", 8)
        assert [worker.returncode for worker in workers if worker.poll() is not None] == [7] * (len(workers) - 1)
        assert workers[-1].poll() is None
