"""The searches of the fault tests: small enough for seconds, with several generations that depend on each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.processes.rig import DEVICE_TYPE

NUM_CANDIDATES = 24
POPULATION = 6
SPACE: Mapping[str, Any] = {
    "id": "spos",
    "parameters": {
        "input_size": 16,
        "input_channels": 1,
        "num_classes": 10,
        "stem_channels": 8,
        "stem_stride": 1,
        "stage_channels": [16, 24, 32],
        "stage_repeats": [2, 2, 2],
        "tail_channels": 32,
    },
}
LATENCY: Mapping[str, Any] = {
    "name": "latency against MACs",
    "space": SPACE,
    # Larger networks are wanted, faster ones too: the front has many members, and every latency matters.
    "objectives": [{"metric": "latency_us"}, {"metric": "macs", "goal": "maximize"}],
    "algorithm": {"kind": "nsga2", "population_size": POPULATION},
    "budget": {"num_candidates": NUM_CANDIDATES},
    "device": {"device_type": DEVICE_TYPE},
    # Every candidate is to be measured, also where an earlier search of the same installation measured it. Leases are
    # short here: a crowded machine may let one die on its own, and that must not use a job's attempts up.
    "measurement": {"profile": "quick", "reuse": False, "max_attempts": 10},
    "seed": 11,
}
TRAINING: Mapping[str, Any] = {
    "name": "tiny supernet",
    "space": SPACE,
    "dataset": "fashion-mnist-12k",
    "iterations": 150,
    "batch_size": 16,
    "optimizer": {"learning_rate": 0.05},
    "augmentation": "none",
    "checkpoint_every_steps": 5,
    "seed": 3,
    "num_threads": 1,
}
NUM_ACCURATE = 8
ACCURACY: Mapping[str, Any] = {
    "name": "accuracy against MACs",
    "space": SPACE,
    "supernet": TRAINING,
    "objectives": [{"metric": "top1"}, {"metric": "macs"}],
    "algorithm": {"kind": "nsga2", "population_size": 4},
    "budget": {"num_candidates": NUM_ACCURATE},
    "evaluation": {"num_calibration_batches": 2, "num_validation_batches": 1, "batch_size": 100},
    "seed": 5,
}
