"""What the demo trains and searches: the SPOS space made small, on Fashion-MNIST, in minutes on two cores."""

from __future__ import annotations

import os

from hilnas.client.resources import Document
from nas_engine.settings.presets import TRAINING_PRESETS

DEVICE_TYPE = "cpu-emulator"
NUM_CANDIDATES = 48
_PRESET = TRAINING_PRESETS["fashion-mnist-demo"].spec


def training_spec(epochs: int | None = None) -> Document:
    """Supernet training on the embedded images: the preset, in about 85 s on one core."""
    changes = {"name": "demo supernet", "num_threads": os.cpu_count() or 1}
    if epochs is not None:
        changes |= {"epochs": epochs, "iterations": None}
    return _PRESET.model_copy(update=changes).model_dump(mode="json")


def search_spec(supernet_id: str, num_candidates: int | None = None) -> Document:
    """Validation accuracy against measured latency, by the algorithm that the server chooses; this host's noise is
    accepted and shown."""
    return {
        "name": "demo search",
        "space": _PRESET.space.model_dump(mode="json"),
        "supernet": supernet_id,
        "objectives": [{"metric": "top1"}, {"metric": "latency_us"}],
        "budget": {"num_candidates": num_candidates or NUM_CANDIDATES},
        "device": {"device_type": DEVICE_TYPE},
        "measurement": {"profile": "quick", "validity_policy": "accept_flagged"},
        "evaluation": {"num_calibration_batches": 5, "batch_size": 200},
        "seed": 1,
    }
