"""What the demo trains and searches: a small elastic space on Fashion-MNIST, in minutes on two cores."""

from __future__ import annotations

from collections.abc import Sequence

from nas_engine.domain.json_value import JsonValue
from nas_engine.settings.presets import TRAINING_PRESETS
from nas_engine.spaces.registry import create_space

DEVICE_TYPE = "cpu-emulator"
NUM_CANDIDATES = 48
Document = dict[str, JsonValue]
_PRESET = TRAINING_PRESETS["fashion-mnist-elastic"].spec
SPACE = _PRESET.space


def training_spec(epochs: int | None = None) -> Document:
    """Supernet training on the embedded images, as the preset says unless another length is given."""
    changes: Document = {"name": "demo supernet"}
    if epochs is not None:
        changes |= {"epochs": epochs, "iterations": None}
    document: Document = _PRESET.model_copy(update=changes).model_dump(mode="json")
    return document


def search_spec(supernet_id: str, num_candidates: int | None = None) -> Document:
    """Validation accuracy against measured latency, by the algorithm that the server chooses.

    It begins with the smallest and the largest network, the ends of what the sandwich rule trained. The front is
    measured once more at the end, and this host's noise is accepted and shown.
    """
    genes = create_space(SPACE.id, SPACE.parameters).genes
    ends: list[JsonValue] = [[0 for _ in genes], [gene.num_choices - 1 for gene in genes]]
    return {
        "name": "demo search",
        "space": SPACE.model_dump(mode="json"),
        "supernet": supernet_id,
        "objectives": [{"metric": "top1"}, {"metric": "latency_us"}],
        "budget": {"num_candidates": num_candidates or NUM_CANDIDATES},
        "device": {"device_type": DEVICE_TYPE},
        "measurement": {"profile": "quick", "validity_policy": "accept_flagged", "confirm": "front"},
        # Small batches: a board that times a block waits for the batch under way.
        "evaluation": {"num_calibration_batches": 8, "batch_size": 100},
        "warm_start": {"architectures": ends},
        "seed": 1,
    }


def random_search_spec(supernet_id: str, num_candidates: int | None = None) -> Document:
    """The same search with candidates drawn at random: what choosing them is worth."""
    changes: Document = {"name": "random choice", "algorithm": {"kind": "random"}, "seed": 2}
    return search_spec(supernet_id, num_candidates) | changes


def picks_spec(supernet_id: str, genotypes: Sequence[Sequence[int]]) -> Document:
    """Evaluation and measurement of these networks alone, like any candidate's."""
    changes: Document = {
        "name": "picked without measuring",
        "algorithm": {"kind": "random"},
        "warm_start": {"architectures": [list(genotype) for genotype in genotypes]},
    }
    return search_spec(supernet_id, len(genotypes)) | changes
