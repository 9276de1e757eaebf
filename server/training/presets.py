"""The papers' training recipes as training specs, by name: launched unchanged where their data set is registered.

The numbers are those of `nas_engine.training.presets`, which says where each comes from; a test holds both together.
"""

from __future__ import annotations

from dataclasses import dataclass

from nas_engine.settings.base import SpaceSpec
from nas_engine.settings.training import (
    FairStrategy,
    MacsBinnedSettings,
    OptimizerSettings,
    RetrainSettings,
    SandwichStrategy,
    TrainingSpec,
    UniformStrategy,
)
from server.core.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class TrainingPreset:
    """A recipe.

    Attributes:
        summary: what it trains, for people.
        spec: all of it. A retraining takes the published architecture unless another is given; where none was
            published it has none, and is refused until one is given.
    """

    summary: str
    spec: TrainingSpec

    @property
    def name(self) -> str:
        """What it is asked for by."""
        return self.spec.name


_SPOS_OPTIMIZER = OptimizerSettings(learning_rate=0.5, schedule="linear")
_SAVE_STEPS = 2000

_SPOS = TrainingSpec(
    name="spos-imagenet",
    space=SpaceSpec(id="spos"),
    dataset="imagenet",
    strategy=MacsBinnedSettings(),
    optimizer=_SPOS_OPTIMIZER,
    iterations=150_000,
    batch_size=1024,
    augmentation="imagenet",
    checkpoint_every_steps=_SAVE_STEPS,
)
_SPOS_RETRAIN = RetrainSettings(architecture="spos-searched", dropout=0.1, num_calibration_batches=1250)
_SHIFTING = _SPOS.model_copy(
    update={
        "name": "shifting-imagenet100",
        "space": SpaceSpec(id="spos", parameters={"num_classes": 100}),
        "dataset": "imagenet100",
        "optimizer": OptimizerSettings(learning_rate=0.125, schedule="linear"),
        "iterations": 80_000,
        "batch_size": 256,
    }
)
_SCARLET = TrainingSpec(
    name="scarlet-imagenet",
    space=SpaceSpec(id="scarlet-s1"),
    dataset="imagenet",
    strategy=FairStrategy(),
    optimizer=OptimizerSettings(learning_rate=0.045, schedule="cosine"),
    iterations=300_240,
    batch_size=256,
    label_smoothing=0.0,
    augmentation="inception",
    checkpoint_every_steps=_SAVE_STEPS,
)
_ALPHANET = TrainingSpec(
    name="alphanet-imagenet",
    space=SpaceSpec(id="attentivenas"),
    dataset="imagenet",
    strategy=SandwichStrategy(),
    optimizer=OptimizerSettings(
        learning_rate=0.8,
        nesterov=True,
        weight_decay=1e-5,
        schedule="cosine",
        warmup_steps=3125,
        gradient_clip_value=1.0,
    ),
    iterations=225_000,
    batch_size=2048,
    augmentation="autoaugment",
    checkpoint_every_steps=_SAVE_STEPS,
)
_DENSENAS_RETRAIN = TrainingSpec(
    name="densenas-imagenet-retrain",
    space=SpaceSpec(id="densenas-mbv2"),
    dataset="imagenet",
    strategy=RetrainSettings(architecture="densenas-a", num_calibration_batches=200),
    optimizer=OptimizerSettings(learning_rate=0.5, decay_all=True, schedule="cosine", final_share=2e-4),
    iterations=300_240,
    batch_size=1024,
    augmentation="inception",
    checkpoint_every_steps=_SAVE_STEPS,
)
_FASHION = TrainingSpec(
    name="fashion-mnist-demo",
    space=SpaceSpec(
        id="spos",
        parameters={
            "num_classes": 10,
            "input_size": 28,
            "input_channels": 1,
            "stem_channels": 16,
            "stem_stride": 2,
            "stage_channels": [48, 96, 192],
            "stage_repeats": [2, 2, 2],
            "tail_channels": 256,
            "dropout": 0.0,
        },
    ),
    dataset="fashion-mnist-12k",
    strategy=UniformStrategy(),
    optimizer=OptimizerSettings(
        kind="adamw", learning_rate=0.012, weight_decay=0.01, schedule="cosine", warmup_steps=60
    ),
    iterations=2000,
    batch_size=96,
    label_smoothing=0.0,
    augmentation="none",
    checkpoint_every_steps=200,
)

TRAINING_PRESETS = {
    preset.name: preset
    for preset in (
        TrainingPreset("SPOS's supernet: single paths in bins of MACs", _SPOS),
        TrainingPreset(
            "SPOS's searched network from scratch",
            _SPOS.model_copy(
                update={"name": "spos-imagenet-retrain", "strategy": _SPOS_RETRAIN, "iterations": 300_000}
            ),
        ),
        TrainingPreset("The supernet that supernet shifting starts from, on 100 classes", _SHIFTING),
        TrainingPreset(
            "A network found by supernet shifting, on 100 classes: give its architecture",
            _SHIFTING.model_copy(
                update={
                    "name": "shifting-imagenet100-retrain",
                    "strategy": _SPOS_RETRAIN.model_copy(update={"architecture": None}),
                    "iterations": 120_000,
                }
            ),
        ),
        TrainingPreset("SCARLET's supernet: strict fairness, linearly equivalent skips", _SCARLET),
        TrainingPreset("AlphaNet's supernet: sandwich rule, adaptive alpha-divergence", _ALPHANET),
        TrainingPreset("A DenseNAS network from scratch", _DENSENAS_RETRAIN),
        TrainingPreset("A small supernet for two CPU cores", _FASHION),
    )
}


def training_preset(name: str) -> TrainingPreset:
    """The preset of this name.

    Raises:
        NotFoundError: there is none.
    """
    if name not in TRAINING_PRESETS:
        raise NotFoundError("training preset", name)
    return TRAINING_PRESETS[name]
