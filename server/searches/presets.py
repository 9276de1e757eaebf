"""The papers' searches as search specs, by name: launched unchanged where their data set and a board are registered.

Numbers are those of the papers' supplementary texts and released code; where neither has one, the source says "ours".
A supernet is given as its training recipe, so that a search trains it first; name a trained one instead where there is.
"""

from __future__ import annotations

from dataclasses import dataclass

from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.metric import Goal
from nas_engine.settings.algorithms import (
    BinnedEvolutionSettings,
    Nsga2Settings,
    ScarletNsga2Settings,
    SposEvolutionSettings,
)
from nas_engine.settings.base import ConstraintSpec, ObjectiveSpec, SpaceSpec
from nas_engine.settings.densenas import Alternation, DenseNasSettings
from nas_engine.settings.evaluation import CalibrationMode, EvaluationSettings
from nas_engine.settings.shifting import ShiftingSettings
from nas_engine.settings.training import TrainingSpec
from server.candidates.spec import BudgetSpec, SearchSpec
from server.core.errors import NotFoundError
from server.fleet.device_spec import DeviceSpec
from server.training.presets import training_preset

TABLE_PLACE = "/algorithm/latency_table"
TABLE_NEEDED = "TABLE_ID"


@dataclass(frozen=True, slots=True)
class SearchPreset:
    """A search.

    Attributes:
        summary: what it searches, for people.
        source: where its numbers come from.
        spec: all of it; boards are RK3588 unless another device is given.
        needs: JSON pointers of what must be put in before it is launched, with what belongs there.
    """

    summary: str
    source: str
    spec: SearchSpec
    needs: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """What it is asked for by."""
        return self.spec.name


_BOARD = DeviceSpec(device_type="rk3588", dtype=Dtype.FP16)
_ACCURACY = ObjectiveSpec(metric="top1")
# SPOS's tester: statistics from 200 batches of 128 (reset before), 8,000 validation images.
_SPOS_EVALUATION = EvaluationSettings(
    num_calibration_batches=200, num_validation_batches=63, batch_size=128, calibration=CalibrationMode.REFERENCE
)


def _supernet(name: str) -> TrainingSpec:
    spec = training_preset(name).spec
    if not isinstance(spec, TrainingSpec):
        raise TypeError(f"preset {name} trains a network, and a search needs a supernet")
    return spec


def _densenas(kind: str, algorithm: DenseNasSettings, *, name: str) -> SearchSpec:
    on_board = algorithm.latency_table is not None
    return SearchSpec(
        name=name,
        space=SpaceSpec(id=f"densenas-{kind}", parameters={"num_classes": 100}),
        objectives=(ObjectiveSpec(metric="latency_us" if on_board else "macs"),),
        algorithm=algorithm,
        budget=BudgetSpec(num_candidates=len(algorithm.cost_factors)),
        device=_BOARD if on_board else None,
    )


_DENSENAS_MBV2 = DenseNasSettings(
    dataset="imagenet100",
    latency_table=TABLE_NEEDED,
    cost_factors=(0.15,),
    cost_base=15.0,
    alternation=Alternation.EPOCHS,
)
_DENSENAS_RESNET = DenseNasSettings(
    dataset="imagenet100",
    cost_factors=(0.2,),
    cost_base=3500.0,
    epochs=70,
    first_architecture_epoch=10,
    batch_size=512,
    beta_temperature=0.9,
    regularise_skips=True,
    alternation=Alternation.EPOCHS,
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
    evaluation=EvaluationSettings(num_calibration_batches=200, num_validation_batches=63, batch_size=128),
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
_ATTENTIVE = SearchSpec(
    name="attentivenas-imagenet-evolution",
    space=SpaceSpec(id="attentivenas"),
    supernet=_supernet("alphanet-imagenet"),
    objectives=(_ACCURACY, ObjectiveSpec(metric="macs")),
    constraints=(ConstraintSpec(metric="macs", minimum=200e6, maximum=1200e6),),
    algorithm=BinnedEvolutionSettings(),
    budget=BudgetSpec(num_candidates=512 + 20 * 256),
    evaluation=EvaluationSettings(num_calibration_batches=64, batch_size=256),
)

SEARCH_PRESETS = {
    preset.name: preset
    for preset in (
        SearchPreset(
            "DenseNAS in the MobileNetV2 space, paid for with a board's latency table",
            "supplementary A.1 and code: 150 epochs, architecture steps from epoch 50, batches of 352, SGD 0.2 to "
            "1e-4, Adam 3e-4, lambda 0.15, tau 15 ms. The paper's table is a TITAN XP's for 32 images; batch 1 on the "
            "board is ours",
            _densenas("mbv2", _DENSENAS_MBV2, name="densenas-imagenet100-mbv2"),
            needs=((TABLE_PLACE, "a latency table of this space on the same device: POST /api/v1/latency-tables"),),
        ),
        SearchPreset(
            "DenseNAS in the ResNet space, paid for with MACs: DenseNAS-R2",
            "supplementary A.4 and code: 70 epochs, architecture steps from epoch 10, batches of 512, lambda 0.2, tau "
            "3500 million MACs, temperature 0.9",
            _densenas("resnet", _DENSENAS_RESNET, name="densenas-imagenet100-resnet-r2"),
        ),
        SearchPreset(
            "DenseNAS in the ResNet space, paid for with MACs: DenseNAS-R1",
            "as R2, with tau 1700 million MACs (the authors, in the published code's issues)",
            _densenas(
                "resnet",
                _DENSENAS_RESNET.model_copy(update={"cost_base": 1700.0}),
                name="densenas-imagenet100-resnet-r1",
            ),
        ),
        SearchPreset(
            "SPOS's evolution below 330 million MACs",
            "code: 50 candidates and 20 generations of 50 (25 mutated with 0.1, 25 crossed), 10 parents, BN statistics "
            "from 25,600 images, 8,000 validation images",
            _SPOS,
        ),
        SearchPreset(
            "Supernet shifting: NSGA-II on accuracy and latency measured on the board",
            "supplementary text: ImageNet-100, learning rate 1e-4, 640 samples; population and generations are SPOS's",
            _SHIFTING,
        ),
        SearchPreset(
            "SCARLET's constrained, weighted NSGA-II on accuracy, MACs and parameters",
            "supplementary Table 1: population 70, mutation 0.8 (0.2/0.65/0.15, 0.7); weights, thresholds and 120 "
            "generations are ours: the paper's supplement gives none",
            _SCARLET,
        ),
        SearchPreset(
            "AttentiveNAS's evolution on AlphaNet's supernet, 200 to 1200 million MACs",
            "code: 512 at first, 20 generations of 128 mutated (0.2) and 128 crossed, bins of 10 million MACs, BN "
            "statistics from 64 batches of 256",
            _ATTENTIVE,
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
