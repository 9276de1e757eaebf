"""What the demo trains and searches: the SPOS space made small, on Fashion-MNIST, in minutes on two cores."""

from __future__ import annotations

import os

from hilnas.client.resources import Document

DEVICE_TYPE = "cpu-emulator"
NUM_CANDIDATES = 48
EPOCHS = 20  # about 85 s on one core; the best of the settings tried
SPACE: Document = {
    "id": "spos",
    "parameters": {
        "num_classes": 10,
        "input_size": 28,
        "input_channels": 1,
        "stem_channels": 16,
        "stem_stride": 2,
        "stage_channels": [48, 96, 192],
        "stage_repeats": [2, 3, 2],
        "tail_channels": 256,
        "dropout": 0.0,
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
        "batch_size": 96,
        "optimizer": {
            "kind": "adamw",
            "learning_rate": 0.012,
            "weight_decay": 0.01,
            "schedule": "cosine",
            "warmup_steps": 60,
        },
        "label_smoothing": 0.0,
        "augmentation": "none",
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
        "evaluation": {"num_calibration_batches": 5, "batch_size": 200},
        "seed": 1,
    }
