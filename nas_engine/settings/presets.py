"""The papers' training recipes as training specs, by name.

Numbers are those of the papers' supplementary texts and released code; where neither has one, the source says "ours".
ImageNet-1K has 1,281,167 training images; 1,000 classes.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from nas_engine.settings.base import SpaceSpec, SpecPart
from nas_engine.settings.training import (
    AugmentationName,
    DistillationKind,
    FairSettings,
    MacsBinnedSettings,
    NetworkSpec,
    OptimizerKind,
    OptimizerSettings,
    RetrainSettings,
    SandwichSettings,
    Schedule,
    TrainingSpec,
    UniformSettings,
)

IMAGENET_IMAGES = 1_281_167


class ImagePreparation(SpecPart):
    """Preparation of the images of any data set, where no registered data set says it."""

    image_size: int | None = Field(default=None, ge=8, le=1024)
    """Side of the images, pixels; absent: the data set's."""

    channels: int | None = Field(default=None, ge=1, le=4)
    """Number of channels; absent: the data set's."""

    centre_crop: float = Field(default=1.0, gt=0, le=1)
    """Share of the shorter side that evaluation keeps (ImageNet: 0.875)."""

    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the training images that is held out for validation."""


IMAGENET = ImagePreparation(image_size=224, channels=3, centre_crop=0.875, validation_fraction=0.02)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPreset:
    """A published recipe, launched unchanged where its data set is registered.

    Attributes:
        summary: what it trains, for people.
        source: where the numbers come from, and which of them are ours.
        spec: all of it. A retraining takes the published architecture unless another is given; where none was
            published it has none, and is refused until one is given.
        images: preparation of the images, where they are read from a folder without a server.
    """

    summary: str
    source: str
    spec: TrainingSpec | NetworkSpec
    images: ImagePreparation = IMAGENET

    @property
    def name(self) -> str:
        """What it is asked for by."""
        return self.spec.name


def _steps(epochs: int, batch_size: int) -> int:
    return epochs * (IMAGENET_IMAGES // batch_size)


def _network(supernet: TrainingSpec, name: str, strategy: RetrainSettings, iterations: int) -> NetworkSpec:
    """One network, trained with the settings of its supernet."""
    changes = {"name": name, "strategy": strategy, "iterations": iterations}
    return NetworkSpec.model_validate({**dict(supernet), **changes})


_SAVE_STEPS = 2000
_SPOS = TrainingSpec(
    name="spos-imagenet",
    space=SpaceSpec(id="spos"),
    dataset="imagenet",
    strategy=MacsBinnedSettings(),
    optimizer=OptimizerSettings(learning_rate=0.5),
    iterations=150_000,
    batch_size=1024,
    augmentation=AugmentationName.IMAGENET,
    checkpoint_every_steps=_SAVE_STEPS,
)
_SPOS_RETRAIN = RetrainSettings(architecture="spos-searched", dropout=0.1, num_calibration_batches=1250)
_SHIFTING = _SPOS.model_copy(
    update={
        "name": "shifting-imagenet100",
        "space": SpaceSpec(id="spos", parameters={"num_classes": 100}),
        "dataset": "imagenet100",
        "optimizer": OptimizerSettings(learning_rate=0.125),
        "iterations": 80_000,
        "batch_size": 256,
    }
)
_SCARLET = TrainingSpec(
    name="scarlet-imagenet",
    space=SpaceSpec(id="scarlet-s1"),
    dataset="imagenet",
    strategy=FairSettings(),
    optimizer=OptimizerSettings(learning_rate=0.045, schedule=Schedule.COSINE),
    iterations=_steps(60, 256),
    batch_size=256,
    label_smoothing=0.0,
    augmentation=AugmentationName.INCEPTION,
    checkpoint_every_steps=_SAVE_STEPS,
)
_ALPHANET = TrainingSpec(
    name="alphanet-imagenet",
    space=SpaceSpec(id="attentivenas"),
    dataset="imagenet",
    strategy=SandwichSettings(),
    optimizer=OptimizerSettings(
        learning_rate=0.8,
        nesterov=True,
        weight_decay=1e-5,
        schedule=Schedule.COSINE,
        warmup_steps=_steps(5, 2048),
        gradient_clip_value=1.0,
    ),
    iterations=_steps(360, 2048),
    batch_size=2048,
    augmentation=AugmentationName.AUTOAUGMENT,
    checkpoint_every_steps=_SAVE_STEPS,
)
_DENSENAS_RETRAIN = NetworkSpec(
    name="densenas-imagenet-retrain",
    space=SpaceSpec(id="densenas-mbv2"),
    dataset="imagenet",
    strategy=RetrainSettings(architecture="densenas-a", num_calibration_batches=200),
    optimizer=OptimizerSettings(learning_rate=0.5, decay_all=True, schedule=Schedule.COSINE, final_share=1e-4 / 0.5),
    iterations=_steps(240, 1024),
    batch_size=1024,
    augmentation=AugmentationName.INCEPTION,
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
            "stage_repeats": [2, 3, 2],
            "tail_channels": 256,
            "dropout": 0.0,
        },
    ),
    dataset="fashion-mnist-12k",
    strategy=UniformSettings(),
    optimizer=OptimizerSettings(
        kind=OptimizerKind.ADAMW,
        learning_rate=0.012,
        weight_decay=0.01,
        schedule=Schedule.COSINE,
        warmup_steps=60,
    ),
    iterations=1200,
    batch_size=96,
    label_smoothing=0.0,
    augmentation=AugmentationName.NONE,
    checkpoint_every_steps=200,
)

_ELASTIC = TrainingSpec(
    name="fashion-mnist-elastic",
    space=SpaceSpec(
        id="attentivenas",
        parameters={
            "num_classes": 10,
            "input_channels": 1,
            "resolutions": [16, 20, 24, 28],
            "stem_channels": [8, 16],
            "stem_stride": 2,
            "stage_channels": [[8, 16, 24], [16, 32, 48], [32, 64, 96]],
            "stage_depths": [[1, 2], [1, 2, 3], [1, 2, 3]],
            "stage_kernels": [[3, 5], [3, 5], [3, 5]],
            "stage_expand_ratios": [[1], [3], [3]],
            "stage_strides": [1, 2, 2],
            "stage_squeeze_excite": [False, False, False],
            "head_channels": [64, 128],
            "dropout": 0.0,
            "drop_connect": 0.0,
        },
    ),
    dataset="fashion-mnist-12k",
    strategy=SandwichSettings(num_random=2, distillation=DistillationKind.KULLBACK_LEIBLER, beta=0.3),
    optimizer=OptimizerSettings(
        kind=OptimizerKind.ADAMW,
        learning_rate=0.006,
        weight_decay=0.01,
        schedule=Schedule.COSINE,
        warmup_steps=20,
    ),
    iterations=700,
    batch_size=64,
    label_smoothing=0.0,
    augmentation=AugmentationName.NONE,
    checkpoint_every_steps=200,
    num_threads=1,
)

TRAINING_PRESETS = {
    preset.name: preset
    for preset in (
        TrainingPreset(
            summary="SPOS's supernet: single paths in bins of MACs",
            source="SPOS reference code: 150,000 iterations of 1,024 images, MACs bins 290M-360M; RGB is normalised "
            "(ours: the code feeds BGR 0..255); 2 % of the training images are held out (ours: the code uses the "
            "validation folder)",
            spec=_SPOS,
        ),
        TrainingPreset(
            summary="SPOS's searched network from scratch",
            source="SPOS reference code: 300,000 iterations of 1,024, dropout 0.1, then BN statistics over 1,280,000 "
            "images",
            spec=_network(_SPOS, "spos-imagenet-retrain", _SPOS_RETRAIN, iterations=300_000),
        ),
        TrainingPreset(
            summary="The supernet that supernet shifting starts from, on 100 classes",
            source="supernet shifting, supplementary text: ImageNet-100, 80,000 iterations of 256; the rest as SPOS "
            "(learning rate scaled with the batch: ours)",
            spec=_SHIFTING,
        ),
        TrainingPreset(
            summary="A network found by supernet shifting, on 100 classes: give its architecture",
            source="supernet shifting, supplementary text: 120,000 iterations of 256; the rest as SPOS",
            spec=_network(
                _SHIFTING,
                "shifting-imagenet100-retrain",
                _SPOS_RETRAIN.model_copy(update={"architecture": None}),
                iterations=120_000,
            ),
        ),
        TrainingPreset(
            summary="SCARLET's supernet: strict fairness, linearly equivalent skips",
            source="SCARLET names strict fairness and ELS and gives no numbers; step count, batch, learning rate and "
            "decay are ours (60 epochs, cosine)",
            spec=_SCARLET,
        ),
        TrainingPreset(
            summary="AlphaNet's supernet: sandwich rule, adaptive alpha-divergence",
            source="AlphaNet supplementary text and code: 360 epochs of 2,048 images (64 GPUs x 32), warm-up 5 epochs, "
            "cosine, adaptive alpha -1/1, clip 5, gradients clamped to 1",
            spec=_ALPHANET,
        ),
        TrainingPreset(
            summary="A DenseNAS network from scratch",
            source="DenseNAS supplementary text: 240 epochs of 1,024, SGD 0.5 cosine to 1e-4, decay 4e-5 on "
            "everything, label smoothing 0.1",
            spec=_DENSENAS_RETRAIN,
        ),
        TrainingPreset(
            summary="A small supernet for two CPU cores",
            source="ours: the SPOS space at 28 pixels, as earlier demos trained it, about 100 s on one CPU core "
            "(augmentation costs four points in a run this short)",
            spec=_FASHION,
            images=ImagePreparation(),
        ),
        TrainingPreset(
            summary="A small elastic supernet for two CPU cores",
            source="ours: the AttentiveNAS space made small, as the demo trains it, about 100 s on one CPU core; "
            "students learn from labels too, without which they learn too slowly in a run this short",
            spec=_ELASTIC,
            images=ImagePreparation(),
        ),
    )
}
