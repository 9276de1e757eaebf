"""Packages that end every worker which runs them, and one that changes between two evaluations: real processes."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hilnas.client.client import Hilnas
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
DEADLY = """from hilnas import DatasetDeclaration
IT = DatasetDeclaration(
    name="deadly", title="", implementation="deadly_code:read", num_classes=10, num_train=60, num_test=30
)
"""
DEADLY_CODE = """import os
def read(settings, wanted):
    os._exit(7)
"""
SLOW = """from hilnas import Goal, MetricDeclaration, MetricSource
IT = MetricDeclaration(
    name="slow", title="", unit="", goal=Goal.MAXIMIZE, source=MetricSource.EVALUATED, implementation="slow_code:slow"
)
"""
SLOW_CODE = """import time
def slow(subnet, batches):
    time.sleep(1)  # long enough for a worker to be ended between two
    return 0.5, None
"""
SPACE: dict[str, Any] = {
    "id": "spos",
    "parameters": {
        "num_classes": 10,
        "input_channels": 1,
        "input_size": 8,
        "stem_channels": 4,
        "stem_stride": 1,
        "stage_channels": [8],
        "stage_repeats": [3],
        "tail_channels": 16,
    },
}
TRAINING: dict[str, Any] = {"space": SPACE, "iterations": 2, "batch_size": 16, "augmentation": "none"}
SPEC: dict[str, Any] = {
    "space": {"id": "spos"},
    "objectives": [{"metric": "macs"}],
    "algorithm": {"kind": "random", "batch_size": 4},
    "budget": {"num_candidates": 8},
}


def test_what_ends_workers_is_named_and_another_search_completes(tmp_path: Path) -> None:
    environment = PluginEnvironment(tmp_path)
    environment.variables["HILNAS_LEASE_TTL_S"] = LEASE_S
    lay_out(environment.packages, "hilnas-lethal", "hilnas.algorithms", "lethal", DECLARED)
    (environment.packages / "lethal_code.py").write_text(CODE, encoding="utf-8")
    lay_out(environment.packages, "deadly-images", "hilnas.datasets", "deadly", DEADLY)
    (environment.packages / "deadly_code.py").write_text(DEADLY_CODE, encoding="utf-8")
    workers: list[subprocess.Popen[bytes]] = []
    with ExitStack() as stack:
        nas = stack.enter_context(served(environment))
        lethal = nas.searches.create({**SPEC, "algorithm": {"kind": "lethal"}})
        trained = nas.supernets.create({**TRAINING, "dataset": "deadly"})
        other = nas.searches.create(SPEC)

        def all_ended() -> bool:
            """Start the worker anew whenever it is gone, as what supervises it would."""
            if not workers or workers[-1].poll() is not None:
                workers.append(stack.enter_context(environment.running("restarted", "worker")))
            states = [nas.searches.get(one.id).state.value for one in (lethal, other)]
            return {*states, nas.supernets.get(trained.id).state.value} <= {"failed", "completed"}

        environment.until(all_ended, "both searches and the training have ended")
        failed, completed, dead = nas.searches.get(lethal.id), nas.searches.get(other.id), nas.supernets.get(trained.id)
        assert failed.state.value == "failed"
        assert "3 times the worker died" in failed.reason
        assert "lethal of hilnas-lethal 1.0 (hilnas.algorithms)" in failed.reason
        assert "3 times the worker died" in dead.reason
        assert "deadly of deadly-images 1.0 (hilnas.datasets)" in dead.reason
        assert (completed.state.value, completed.progress.num_complete) == ("completed", 8)
        gone = [worker.returncode for worker in workers if worker.poll() is not None]
        assert gone == [7] * (len(workers) - 1)
        assert workers[-1].poll() is None


def test_a_package_that_is_upgraded_or_gone_between_two_evaluations_ends_the_search_and_not_its_values(
    tmp_path: Path,
) -> None:
    environment = PluginEnvironment(tmp_path)
    environment.variables["HILNAS_LEASE_TTL_S"] = LEASE_S
    package = ("slow-metric", "hilnas.metrics", "slow", SLOW)
    (environment.packages / "slow_code.py").write_text(SLOW_CODE, encoding="utf-8")
    lay_out(environment.packages, *package)
    evaluated = {
        **SPEC,
        "space": SPACE,
        "supernet": {**TRAINING, "dataset": "fashion-mnist-12k"},
        "objectives": [{"metric": "slow"}, {"metric": "macs"}],
        "evaluation": {"num_calibration_batches": 1, "batch_size": 16, "num_validation_batches": 1},
    }
    with served(environment, worker=False) as nas:
        search = nas.searches.create(evaluated)
        # Upgraded first; then, with the version back and another search begun with what was found, uninstalled.
        for other, said in (("2.0", "it is of slow-metric 2.0"), ("", "it is not installed")):
            with environment.running("worker", "worker"):
                environment.until(lambda i=search.id: _has_value(nas, i), "a candidate is complete")  # type: ignore[misc]
            shutil.rmtree(next(environment.packages.glob("slow_metric-*.dist-info")))
            if other:
                lay_out(environment.packages, *package, version=other)
            with environment.running("worker", "worker"):
                environment.until(
                    lambda i=search.id: nas.searches.get(i).state.value == "failed",  # type: ignore[misc]
                    "the search is refused",
                )
            failed = nas.searches.get(search.id)
            assert "slow of slow-metric 1.0" in failed.reason
            assert said in failed.reason
            assert _has_value(nas, search.id)
            if other:
                shutil.rmtree(next(environment.packages.glob("slow_metric-*.dist-info")))
                lay_out(environment.packages, *package)
                (trained,) = nas.supernets.all()
                search = nas.searches.create({**evaluated, "supernet": trained.id, "warm_start": {"search": search.id}})


def _has_value(nas: Hilnas, search_id: str) -> bool:
    return any(
        value.name == "slow"
        for candidate in nas.searches.candidates(search_id)
        if candidate.state.value == "complete"
        for value in candidate.values
    )
