"""The papers' searches as search specs, by name: launched unchanged where their data set and a board are registered.

Numbers are those of the papers' supplementary texts and released code; where neither has one, the source says "ours".
A supernet is given as its training recipe, so that a search trains it first; name a trained one instead where there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.metric import Goal
from nas_engine.settings.algorithms import (
    BinnedEvolutionSettings,
    Nsga2Settings,
    ScarletNsga2Settings,
    SposEvolutionSettings,
)
from nas_engine.settings.base import ConstraintSpec, ObjectiveSpec, SpaceSpec
from nas_engine.settings.densenas import Alternation, CostEstimation, DenseNasSettings, DerivedFrom
from nas_engine.settings.evaluation import CalibrationImages, CalibrationMode, EvaluationSettings
from nas_engine.settings.images import Interpolation, NormalisationKind
from nas_engine.settings.presets import TRAINING_PRESETS
from nas_engine.settings.shifting import ShiftingSettings
from nas_engine.settings.training import Precision, TrainingSpec
from server.candidates.spec import BudgetSpec, SearchSpec
from server.core.errors import NotFoundError
from server.fleet.device_spec import DeviceSpec
from server.training.presets import training_preset

TABLE_PLACE = "/algorithm/latency_table"
TABLE_NEEDED = "TABLE_ID"
COST_TABLE_PLACE = "/algorithm/cost_table"
COST_TABLE_NEEDED = "0" * 64


@dataclass(frozen=True, slots=True)
class SearchPreset:
    """A search.

    Attributes:
        summary: what it searches, for people.
        source: where its numbers come from.
        spec: all of it; boards are RK3588 unless another device is given.
        needs: JSON pointers of what must be put in before it is launched, with what belongs there.
        own_deviations: what differs from the published search, each with the reason, beside its supernet's.
    """

    summary: str
    source: str
    spec: SearchSpec
    needs: tuple[tuple[str, str], ...] = ()
    own_deviations: tuple[str, ...] = ()

    @property
    def deviations(self) -> tuple[str, ...]:
        """What differs from the published search, each with the reason."""
        supernet = self.spec.supernet
        trained = TRAINING_PRESETS[supernet.name].deviations if isinstance(supernet, TrainingSpec) else ()
        return (*trained, *self.own_deviations)

    @property
    def name(self) -> str:
        """What it is asked for by."""
        return self.spec.name


_BOARD = DeviceSpec(device_type="rk3588", dtype=Dtype.FP16)
_ACCURACY = ObjectiveSpec(metric="top1")
# SPOS's tester: statistics from 200 training batches of 128 as training augments them (reset before, momentum 0.1),
# 40 batches of 200 validation images.
_SPOS_EVALUATION = EvaluationSettings(
    num_calibration_batches=200,
    batch_size=128,
    num_validation_batches=40,
    validation_batch_size=200,
    calibration=CalibrationMode.REFERENCE,
    calibration_images=CalibrationImages.AUGMENTED,
)


def _supernet(name: str) -> TrainingSpec:
    spec = training_preset(name).spec
    if not isinstance(spec, TrainingSpec):
        raise TypeError(f"preset {name} trains a network, and a search needs a supernet")
    return spec


def _densenas(kind: str, algorithm: DenseNasSettings, *, name: str) -> SearchSpec:
    on_board = algorithm.latency_table is not None  # networks of an imported table have no board here
    return SearchSpec(
        name=name,
        space=SpaceSpec(id=f"densenas-{kind}", parameters={"num_classes": 100}),
        objectives=(ObjectiveSpec(metric="latency_us" if on_board else "macs"),),
        algorithm=algorithm,
        budget=BudgetSpec(num_candidates=len(algorithm.cost_factors)),
        device=_BOARD if on_board else None,
    )


_DENSENAS_IMAGES: dict[str, Any] = {
    "augment_architecture_images": False,
    "interpolation": Interpolation.BILINEAR,
    "normalisation": NormalisationKind.IMAGENET,
    "precision": Precision.FLOAT32,
}
_DENSENAS_MBV2 = DenseNasSettings(
    dataset="imagenet100",
    latency_table=TABLE_NEEDED,
    cost_factors=(0.15,),
    cost_base=15.0,
    micro_batch=88,
    alternation=Alternation.EPOCHS,
    derived_from=DerivedFrom.BEST_EPOCH,
    first_validated_epoch=120,
    **_DENSENAS_IMAGES,
)
_PUBLISHED_TABLE: dict[str, Any] = {"latency_table": None, "cost_table": COST_TABLE_NEEDED}
_DENSENAS_RESNET = DenseNasSettings(
    dataset="imagenet100",
    cost_factors=(0.2,),
    cost_base=3500.0,
    epochs=70,
    first_architecture_epoch=10,
    batch_size=512,
    micro_batch=128,
    beta_temperature=0.9,
    regularise_skips=True,
    alternation=Alternation.EPOCHS,
    derived_from=DerivedFrom.BEST_EPOCH,
    first_validated_epoch=50,
    **_DENSENAS_IMAGES,
)
_SPOS = SearchSpec(
    name="spos-imagenet-evolution",
    space=SpaceSpec(id="spos"),
    supernet=_supernet("spos-imagenet"),
    objectives=(_ACCURACY,),
    constraints=(ConstraintSpec(metric="macs", maximum=330e6),),
    algorithm=SposEvolutionSettings(),
    budget=BudgetSpec(num_candidates=1050),
    evaluation=_SPOS_EVALUATION,
)
_SHIFTING = SearchSpec(
    name="shifting-imagenet100",
    space=SpaceSpec(id="spos", parameters={"num_classes": 100}),
    supernet=_supernet("shifting-imagenet100"),
    objectives=(_ACCURACY, ObjectiveSpec(metric="latency_us")),
    algorithm=Nsga2Settings(population_size=50),
    budget=BudgetSpec(num_candidates=1050),
    shifting=ShiftingSettings(),
    device=_BOARD,
    evaluation=_SPOS_EVALUATION.model_copy(update={"calibration": CalibrationMode.CUMULATIVE}),
)
_SHIFTING_MACS = _SHIFTING.model_copy(
    update={
        "name": "shifting-imagenet100-macs",
        "objectives": (_ACCURACY,),
        "constraints": (ConstraintSpec(metric="macs", maximum=330e6),),
        "algorithm": SposEvolutionSettings(),
        "device": None,
    }
)
_SHIFTING_TRANSFER = _SHIFTING.model_copy(
    update={
        "name": "shifting-imagenet100-transfer",
        "supernet": _supernet("spos-imagenet"),
        "dataset": "imagenet100",
        "shifting": ShiftingSettings(new_head=True),
    }
)
_SCARLET = SearchSpec(
    name="scarlet-imagenet",
    space=SpaceSpec(id="scarlet-s1"),
    supernet=_supernet("scarlet-imagenet"),
    objectives=(
        _ACCURACY,
        ObjectiveSpec(metric="macs"),
        ObjectiveSpec(metric="params", goal=Goal.MAXIMIZE, weight=0.5),
    ),
    constraints=(ConstraintSpec(metric="macs", maximum=500e6), ConstraintSpec(metric="top1", minimum=0.4)),
    algorithm=ScarletNsga2Settings(num_models=3),
    budget=BudgetSpec(num_candidates=8400),
)
_SCARLET_S2 = _SCARLET.model_copy(
    update={
        "name": "scarlet-s2-imagenet",
        "space": SpaceSpec(id="scarlet-s2"),
        "supernet": _supernet("scarlet-s2-imagenet"),
    }
)
_ATTENTIVE = SearchSpec(
    name="attentivenas-imagenet-evolution",
    space=SpaceSpec(id="attentivenas"),
    supernet=_supernet("alphanet-imagenet"),
    objectives=(_ACCURACY, ObjectiveSpec(metric="macs")),
    constraints=(ConstraintSpec(metric="macs", minimum=200e6, maximum=1200e6),),
    algorithm=BinnedEvolutionSettings(),
    budget=BudgetSpec(num_candidates=512 + 20 * 256),
    evaluation=EvaluationSettings(
        num_calibration_batches=32, batch_size=256, calibration_images=CalibrationImages.AUGMENTED
    ),
)

_CLASSES = (
    "the paper draws 100 of ImageNet's classes at random, the published code takes the first 100: whoever registers "
    "the data set chooses them (a folder with their 100 folders; validation_fraction 0.2)"
)
_SOFTMAX = "the betas of the ending block pass one softmax, as the paper says; the published code applies two"
_CODE_RATE = "the rate ends at 1e-4, as the paper says; the published code ends at 1e-5"
_UNSAMPLED = "logits that are not sampled stay as they are, as the paper says; in the published code they drift"
_DENSENAS_DEVIATIONS = (_CLASSES, _SOFTMAX, _CODE_RATE, _UNSAMPLED)
_COST_TABLE_NEED = (
    (COST_TABLE_PLACE, "the paper's table, latency_list/lat_list_densenas_mbv2_xp32: `hilnas tables import` takes it"),
)
_DENSENAS_SOURCE = (
    "supplementary A.1 and code: 150 epochs, architecture steps from epoch 50 on plain validation images, batches of "
    "352, SGD 0.2 to 1e-4, Adam 3e-4, lambda 0.15, tau 15 ms, best of the epochs from 120"
)
_SHIFTING_DEVIATIONS = (
    "640 images are read as those of one candidate: the text does not say of what",
    "candidates are evaluated after their statistics are gathered anew, and survivors again with each version; the "
    "released code shares running statistics and keeps old accuracies",
    "candidates are judged on 8,000 held-out images, as in SPOS; the text names no number, the released code 12,500",
)
_NSGA2 = "the operators of NSGA-II and its generations are ours: of the search on latency only the result is published"
_SCARLET_DEVIATIONS = (
    "weights (1, 1, 0.5), thresholds (500 million MACs, 0.4) and 120 generations are ours: the supplement gives none",
    "what guided mutations do is ours; their probabilities are Table 1's",
    "the models are picked from all feasible candidates of the search, by distance where there are three objectives; "
    "Algorithm 1 picks equally spaced ones of the last population",
)

SEARCH_PRESETS = {
    preset.name: preset
    for preset in (
        SearchPreset(
            "DenseNAS in the MobileNetV2 space, paid for with a board's latency table",
            _DENSENAS_SOURCE + ". The paper's table is a TITAN XP's for 32 images; batch 1 on the board is ours",
            _densenas("mbv2", _DENSENAS_MBV2, name="densenas-imagenet100-mbv2"),
            needs=((TABLE_PLACE, "a latency table of this space on the same device: POST /api/v1/latency-tables"),),
            own_deviations=(*_DENSENAS_DEVIATIONS, "tau 15 ms is for the paper's table: choose one for your board"),
        ),
        SearchPreset(
            "DenseNAS in the MobileNetV2 space, paid for with the paper's own table: Table 2, chained",
            _DENSENAS_SOURCE,
            _densenas(
                "mbv2", _DENSENAS_MBV2.model_copy(update=_PUBLISHED_TABLE), name="densenas-imagenet100-mbv2-chained"
            ),
            needs=_COST_TABLE_NEED,
            own_deviations=_DENSENAS_DEVIATIONS,
        ),
        SearchPreset(
            "The same with the local estimate of the cost: Table 2, local",
            _DENSENAS_SOURCE + "; the local estimator is named and not published, its formula is ours",
            _densenas(
                "mbv2",
                _DENSENAS_MBV2.model_copy(update={**_PUBLISHED_TABLE, "cost_estimation": CostEstimation.LOCAL}),
                name="densenas-imagenet100-mbv2-local",
            ),
            needs=_COST_TABLE_NEED,
            own_deviations=(
                *_DENSENAS_DEVIATIONS,
                "the paper names the local estimate and gives no formula: every block's own expected cost is summed",
            ),
        ),
        SearchPreset(
            "DenseNAS in the ResNet space, paid for with MACs: DenseNAS-R2",
            "supplementary A.4 and code: 70 epochs, architecture steps from epoch 10, batches of 512, lambda 0.2, tau "
            "3500 million MACs, temperature 0.9, best of the epochs from 50",
            _densenas("resnet", _DENSENAS_RESNET, name="densenas-imagenet100-resnet-r2"),
            own_deviations=_DENSENAS_DEVIATIONS,
        ),
        SearchPreset(
            "DenseNAS in the ResNet space, paid for with MACs: DenseNAS-R1",
            "as R2, with tau 1700 million MACs (the authors, in the published code's issues)",
            _densenas(
                "resnet",
                _DENSENAS_RESNET.model_copy(update={"cost_base": 1700.0}),
                name="densenas-imagenet100-resnet-r1",
            ),
            own_deviations=_DENSENAS_DEVIATIONS,
        ),
        SearchPreset(
            "SPOS's evolution below 330 million MACs",
            "code: 50 candidates and 20 generations of 50 (25 mutated with 0.1, 25 crossed), 10 parents, BN statistics "
            "from 25,600 training images as they are augmented, 8,000 validation images",
            _SPOS,
            own_deviations=(
                "the validation images are 8,000 of the held-out ones, of all classes; the code takes 160 classes of "
                "the validation folder for each candidate",
                "the last generation counts: the code forgets it until its report",
            ),
        ),
        SearchPreset(
            "Supernet shifting: NSGA-II on accuracy and latency measured on the board",
            "supplementary text: ImageNet-100, learning rate 1e-4, 640 samples; population and generations are SPOS's",
            _SHIFTING,
            own_deviations=(*_SHIFTING_DEVIATIONS, _NSGA2),
        ),
        SearchPreset(
            "Supernet shifting below 330 million MACs: the other row of the paper's Table 2",
            "supplementary text and code: as SPOS's evolution, learning rate 1e-4, 640 samples",
            _SHIFTING_MACS,
            own_deviations=_SHIFTING_DEVIATIONS,
        ),
        SearchPreset(
            "Supernet shifting from ImageNet-1K to 100 classes: a new classifier, trained by the search itself",
            "abstract and code: the last layer is set anew; learning rate 1e-4, 640 samples",
            _SHIFTING_TRANSFER,
            own_deviations=(*_SHIFTING_DEVIATIONS, _NSGA2),
        ),
        SearchPreset(
            "SCARLET's constrained, weighted NSGA-II over S1, on accuracy, MACs and parameters",
            "Algorithm 1 and supplementary Table 1: population 70, mutation 0.8 (0.2/0.65/0.15, 0.7)",
            _SCARLET,
            own_deviations=_SCARLET_DEVIATIONS,
        ),
        SearchPreset(
            "SCARLET's constrained, weighted NSGA-II over S2, on accuracy, MACs and parameters",
            "Algorithm 1 and supplementary Table 1: population 70, mutation 0.8 (0.2/0.65/0.15, 0.7)",
            _SCARLET_S2,
            own_deviations=_SCARLET_DEVIATIONS,
        ),
        SearchPreset(
            "AttentiveNAS's evolution on AlphaNet's supernet, 200 to 1200 million MACs",
            "AlphaNet code (configs/parallel_supernet_evo_search.yml): 512 at first, 20 generations of 128 mutated "
            "(0.2) and 128 crossed, bins of 10 million MACs, BN statistics from 32 augmented batches of 256",
            _ATTENTIVE,
            own_deviations=("no candidate is evaluated twice, and the last generation is: the code does the contrary",),
        ),
    )
}


def search_preset(name: str) -> SearchPreset:
    """The preset of this name.

    Raises:
        NotFoundError: there is none.
    """
    if name not in SEARCH_PRESETS:
        raise NotFoundError("search preset", name)
    return SEARCH_PRESETS[name]


def preset_deviations(spec: SearchSpec) -> tuple[str, ...]:
    """What differs from the published search in one that is launched under the name of a preset and with its method."""
    preset = SEARCH_PRESETS.get(spec.name)
    if preset is None or (preset.spec.space.id, preset.spec.algorithm.kind) != (spec.space.id, spec.algorithm.kind):
        return ()
    return preset.deviations
