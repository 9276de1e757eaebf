"""The papers' training recipes as training specs, by name.

Numbers are those of the papers' supplementary texts and released code; where neither has one, the source says "ours",
and what differs is among a preset's deviations. ImageNet-1K has 1,281,167 training images; 1,000 classes.
"""

from __future__ import annotations

from dataclasses import dataclass

from nas_engine.settings.base import SpaceSpec
from nas_engine.settings.images import ImagePreparation, Interpolation, NormalisationKind
from nas_engine.settings.strategies import (
    DistillationKind,
    FairSettings,
    MacsBinnedSettings,
    NetworkSettings,
    SandwichSettings,
    UniformSettings,
)
from nas_engine.settings.training import (
    AugmentationName,
    NetworkSpec,
    OptimizerKind,
    OptimizerSettings,
    Precision,
    Schedule,
    TrainingSpec,
)

IMAGENET_IMAGES = 1_281_167


IMAGENET = ImagePreparation(image_size=224, channels=3, centre_crop=0.875, validation_fraction=0.02)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPreset:
    """A published recipe, launched unchanged where its data set is registered.

    Attributes:
        summary: what it trains, for people.
        source: where the numbers come from.
        spec: all of it. A retraining takes the published architecture unless another is given; where none was
            published it has none, and is refused until one is given.
        images: preparation of the images, where they are read from a folder without a server.
        deviations: what differs from the published recipe, each with the reason.
    """

    summary: str
    source: str
    spec: TrainingSpec | NetworkSpec
    images: ImagePreparation = IMAGENET
    deviations: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it is asked for by."""
        return self.spec.name


def _network(supernet: TrainingSpec, name: str, settings: NetworkSettings, iterations: int) -> NetworkSpec:
    """One network, trained with the settings of its supernet."""
    changes = {"name": name, "iterations": iterations, **dict(settings)}
    shared = {field: value for field, value in supernet if field != "strategy"}
    return NetworkSpec.model_validate({**shared, **changes})


HELD_OUT = (
    "searches judge candidates on images that training never saw: a share of the training images is held out (2 % of "
    "ImageNet where it is read without a server; the registered data set says it elsewhere)"
)
RGB_ORDER = "channels come as RGB, the code feeds BGR: the same up to the order of the first convolution's weights"
NORM_BATCH = (
    "batch normalisation takes its statistics over a process's whole batch; the published code over the part of each "
    "GPU, and names no number of them: `micro_batch` and `num_processes` choose one"
)
_FINAL_STATISTICS = (
    "at the end the statistics of batch normalisation are gathered anew over 200 batches; the published code keeps "
    "their running average"
)
_LAST_EPOCH = (
    "the network is the last epoch's, at a rate of 1e-4 as the paper says; the published code ends at 1e-5 and keeps "
    "the epoch that is best on the very images it reports"
)
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
    interpolation=Interpolation.BILINEAR,
    normalisation=NormalisationKind.BYTES,
    precision=Precision.FLOAT32,
    checkpoint_every_steps=_SAVE_STEPS,
)
_SPOS_RETRAIN = NetworkSettings(
    architecture="spos-searched", dropout=0.1, num_calibration_batches=1250, train_on_held_out=True
)
_SHIFTING = _SPOS.model_copy(
    update={
        "name": "shifting-imagenet100",
        "space": SpaceSpec(id="spos", parameters={"num_classes": 100}),
        "dataset": "imagenet100",
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
    epochs=60,
    batch_size=256,
    label_smoothing=0.0,
    augmentation=AugmentationName.INCEPTION,
    normalisation=NormalisationKind.IMAGENET,
    precision=Precision.FLOAT32,
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
        warmup_epochs=5,
        gradient_clip_value=1.0,
    ),
    epochs=360,
    batch_size=2048,
    micro_batch=32,
    resolution=224,
    augmentation=AugmentationName.AUTOAUGMENT,
    normalisation=NormalisationKind.IMAGENET,
    precision=Precision.FLOAT32,
    checkpoint_every_steps=_SAVE_STEPS,
)
_DENSENAS_RETRAIN = NetworkSpec(
    name="densenas-imagenet-retrain",
    space=SpaceSpec(id="densenas-mbv2"),
    dataset="imagenet",
    architecture="densenas-a",
    num_calibration_batches=200,
    train_on_held_out=True,
    optimizer=OptimizerSettings(learning_rate=0.5, decay_all=True, schedule=Schedule.COSINE, final_share=1e-4 / 0.5),
    epochs=240,
    batch_size=1024,
    augmentation=AugmentationName.INCEPTION,
    interpolation=Interpolation.BILINEAR,
    normalisation=NormalisationKind.IMAGENET,
    precision=Precision.FLOAT32,
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
            "stage_channels": [[8, 12, 16], [16, 24, 32], [32, 48, 64]],
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
    iterations=450,
    batch_size=64,
    label_smoothing=0.0,
    augmentation=AugmentationName.NONE,
    checkpoint_every_steps=150,
    num_threads=2,
)


def _densenas_resnet(number: int) -> NetworkSpec:
    changes = {"name": f"densenas-r{number}-imagenet-retrain", "space": SpaceSpec(id="densenas-resnet")}
    return _DENSENAS_RETRAIN.model_copy(update={**changes, "architecture": f"densenas-r{number}"})


def _scarlet_network(name: str, space: str, architecture: str) -> NetworkSpec:
    """A network of SCARLET's, trained as DenseNAS trains its own: no recipe of SCARLET's is published."""
    changes = {"name": name, "space": SpaceSpec(id=space), "architecture": architecture}
    optimizer = _DENSENAS_RETRAIN.optimizer.model_copy(update={"decay_all": False})
    return _DENSENAS_RETRAIN.model_copy(update={**changes, "optimizer": optimizer})


_SPOS_SOURCE = (
    "SPOS reference code (src/Supernet/train.py): {length} iterations of 1,024 images, SGD 0.5 linear to 0, 4e-5, "
    "label smoothing 0.1, random resized crops (bilinear), colour jitter 0.4, pixels 0..255, float32"
)
_SHIFTING_SOURCE = (
    'supernet shifting, supplementary text: ImageNet-100, {length} iterations of 256; "the same setting (including '
    'hyper-parameters, data-augmentation strategy, learning-rate decay, etc.) as SPOS"'
)
_DENSENAS_SOURCE = (
    "DenseNAS supplementary text and code (configs/imagenet_train_cfg.py): 240 epochs of 1,024, SGD 0.5 cosine to "
    "1e-4, decay 4e-5 on everything, label smoothing 0.1, random resized crops (bilinear) and flips, ImageNet's "
    "normalisation"
)
_DENSENAS_DEVIATIONS = (_FINAL_STATISTICS, _LAST_EPOCH, NORM_BATCH)
_SCARLET_NETWORK_SOURCE = (
    "SCARLET, supplementary Table 2 (architectures); no training recipe is published, this one is DenseNAS's: 240 "
    "epochs of 1,024, SGD 0.5 cosine, decay 4e-5, label smoothing 0.1"
)
_SCARLET_SOURCE = (
    "SCARLET names strict fairness and equivariant stabilizers (Algorithm 1) and gives no numbers; step count, batch, "
    "learning rate and decay are ours (60 epochs, cosine)"
)
_SCARLET_DEVIATIONS = (
    HELD_OUT,
    "the paper's supplement gives no recipe of the supernet: 60 epochs of 256, SGD 0.045 cosine, 4e-5 are ours",
)
_SCARLET_RETRAIN_DEVIATIONS = (
    "SCARLET publishes no recipe for training a network: optimiser, length and augmentation are DenseNAS's",
    _FINAL_STATISTICS,
)

TRAINING_PRESETS = {
    preset.name: preset
    for preset in (
        TrainingPreset(
            summary="SPOS's supernet: single paths in bins of MACs",
            source=_SPOS_SOURCE.format(length="150,000") + ", MACs bins 290M-360M",
            spec=_SPOS,
            deviations=(RGB_ORDER, HELD_OUT, NORM_BATCH),
        ),
        TrainingPreset(
            summary="SPOS's searched network from scratch",
            source=_SPOS_SOURCE.format(length="300,000") + ", dropout 0.1, then BN statistics over 1,280,000 images",
            spec=_network(_SPOS, "spos-imagenet-retrain", _SPOS_RETRAIN, iterations=300_000),
            deviations=(RGB_ORDER, NORM_BATCH),
        ),
        TrainingPreset(
            summary="The supernet that supernet shifting starts from, on 100 classes",
            source=_SHIFTING_SOURCE.format(length="80,000"),
            spec=_SHIFTING,
            deviations=(RGB_ORDER, HELD_OUT, NORM_BATCH),
        ),
        TrainingPreset(
            summary="A network found by supernet shifting, on 100 classes: give its architecture",
            source=_SHIFTING_SOURCE.format(length="120,000") + ", BN statistics over 1,280,000 images (code)",
            spec=_network(
                _SHIFTING,
                "shifting-imagenet100-retrain",
                _SPOS_RETRAIN.model_copy(update={"architecture": None, "num_calibration_batches": 5000}),
                iterations=120_000,
            ),
            deviations=(
                RGB_ORDER,
                NORM_BATCH,
                "the learning rate is the text's, SPOS's 0.5; the released code defaults to 0.45",
            ),
        ),
        TrainingPreset(
            summary="SCARLET's supernet over S1: strict fairness, linearly equivalent skips",
            source=_SCARLET_SOURCE,
            spec=_SCARLET,
            deviations=_SCARLET_DEVIATIONS,
        ),
        TrainingPreset(
            summary="SCARLET's supernet over S2, with squeeze-and-excite: SCARLET-A, B and C are of it",
            source=_SCARLET_SOURCE,
            spec=_SCARLET.model_copy(update={"name": "scarlet-s2-imagenet", "space": SpaceSpec(id="scarlet-s2")}),
            deviations=_SCARLET_DEVIATIONS,
        ),
        TrainingPreset(
            summary="SCARLET-A from scratch; give another architecture of S2 for SCARLET-B, SCARLET-C or your own",
            source=_SCARLET_NETWORK_SOURCE,
            spec=_scarlet_network("scarlet-imagenet-retrain", "scarlet-s2", "scarlet-a"),
            deviations=_SCARLET_RETRAIN_DEVIATIONS,
        ),
        TrainingPreset(
            summary="The smallest network of SCARLET's Table 2: every layer a skip",
            source=_SCARLET_NETWORK_SOURCE,
            spec=_scarlet_network("scarlet-all-identity-imagenet-retrain", "scarlet-s1", "all-identity"),
            deviations=_SCARLET_RETRAIN_DEVIATIONS,
        ),
        TrainingPreset(
            summary="The largest network of SCARLET's Table 2: every layer with kernel 7 and expansion 6",
            source=_SCARLET_NETWORK_SOURCE,
            spec=_scarlet_network("scarlet-all-k7e6-imagenet-retrain", "scarlet-s1", "all-k7e6"),
            deviations=_SCARLET_RETRAIN_DEVIATIONS,
        ),
        TrainingPreset(
            summary="AlphaNet's supernet: sandwich rule, adaptive alpha-divergence",
            source="AlphaNet supplementary text and code: 360 epochs of 2,048 images (64 GPUs x 32), warm-up 5 epochs, "
            "cosine, adaptive alpha -1/1, clip 5, gradients clamped to 1, crops of 224 (bicubic), AutoAugment policy "
            "v0, ImageNet's normalisation, float32",
            spec=_ALPHANET,
            deviations=(
                HELD_OUT,
                "the cubic filter of AutoAugment's shears and rotations is torch's (a = -0.75), Pillow's has a = -1",
            ),
        ),
        TrainingPreset(
            summary="A DenseNAS network from scratch: DenseNAS-A, or give another architecture",
            source=_DENSENAS_SOURCE,
            spec=_DENSENAS_RETRAIN,
            deviations=_DENSENAS_DEVIATIONS,
        ),
        *(
            TrainingPreset(
                summary=f"DenseNAS-R{number} from scratch",
                source=_DENSENAS_SOURCE,
                spec=_densenas_resnet(number),
                deviations=_DENSENAS_DEVIATIONS,
            )
            for number in (1, 2, 3)
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
