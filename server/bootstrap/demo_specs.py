"""What the demo trains and searches: the SPOS space made small, on Fashion-MNIST, in minutes on two cores."""

from __future__ import annotations

import os

from server.client.resources import Document

DEVICE_TYPE = "cpu-emulator"
NUM_CANDIDATES = 48
EPOCHS = 8
SPACE: Document = {
    "id": "spos",
    "parameters": {
        "num_classes": 10,
        "input_size": 28,
        "input_channels": 1,
        "stem_channels": 16,
        "stem_stride": 1,
        "stage_channels": [32, 64, 128],
        "stage_repeats": [2, 3, 2],
        "tail_channels": 256,
    },
}


def training_spec(epochs: int | None = None) -> Document:
    """Supernet training on the embedded images."""
    return {
        "name": "demo supernet",
        "space": SPACE,
        "dataset": "fashion-mnist-12k",
        "strategy": {"kind": "uniform"},
        "epochs": epochs or EPOCHS,
        "batch_size": 64,
        "optimizer": {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 4e-5, "schedule": "linear"},
        "label_smoothing": 0.1,
        "augmentation": "light",
        "num_threads": os.cpu_count() or 1,
    }


def search_spec(supernet_id: str, num_candidates: int | None = None) -> Document:
    """NSGA-II on validation accuracy and measured latency; this host's noise is accepted and shown."""
    return {
        "name": "demo search",
        "space": SPACE,
        "supernet": supernet_id,
        "objectives": [{"metric": "top1"}, {"metric": "latency_us"}],
        "algorithm": {"kind": "nsga2", "population_size": 16},
        "budget": {"num_candidates": num_candidates or NUM_CANDIDATES},
        "device": {"device_type": DEVICE_TYPE},
        "measurement": {"profile": "quick", "validity_policy": "accept_flagged"},
        "evaluation": {"num_calibration_batches": 4, "batch_size": 200},
        "seed": 1,
    }
