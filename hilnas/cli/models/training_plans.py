"""Plans of trainings over a device's memory, made here without a GPU and without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hilnas.cli.specs.spec_files import read_spec_file
from hilnas.client.errors import SpecFileError
from nas_engine.cost.training_plan import GIB, TrainingPlan, plan_training, search_step_memory, training_step_memory
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.plugins.declarations import AlgorithmForm
from nas_engine.domain.text import did_you_mean
from nas_engine.domain.uncertainty import value_text
from nas_engine.settings.kinds.algorithms import BUILT_IN, deriving_settings
from nas_engine.settings.presets import TRAINING_PRESETS
from nas_engine.settings.training import NetworkSpec, TrainingSpec, trains_network
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.registry import create_space
from server.candidates.spec import SearchSpec, parse_search_spec
from server.searches.presets import SEARCH_PRESETS

Spec = TrainingSpec | NetworkSpec | SearchSpec


def training_plan(wanted: str, memory_gib: float, num_processes: int | None, *, is_mixed: bool) -> TrainingPlan:
    """Plan what a spec file or a preset trains, in so many processes; None: as many as it says itself.

    Raises:
        SpecFileError: there is no such file and no such preset, or it trains nothing, or one process for each GPU.
        EngineError: of the space, or of the batch.
    """
    spec = _spec(wanted)
    space = create_space(spec.space.id, spec.space.parameters)
    if isinstance(spec, SearchSpec):
        deriving = deriving_settings(spec.algorithm)
        if deriving is None or not isinstance(space, DenseSpace):
            kinds = ", ".join(one.name for one in BUILT_IN if one.form is AlgorithmForm.DERIVATION)
            raise SpecFileError(f"{wanted} trains nothing: a search does with the algorithm {kinds} alone")
        settings, step = deriving.weight_training(0), search_step_memory(deriving, space)
    else:
        settings, step = spec, training_step_memory(spec, space)
    number = settings.num_processes if num_processes is None else num_processes
    if isinstance(number, str):
        raise SpecFileError(f"{wanted} has num_processes {number}: say with --processes how many GPUs there are")
    return plan_training(settings, step, int(memory_gib * GIB), num_processes=number, is_mixed=is_mixed)


def rows_of(plan: TrainingPlan) -> tuple[tuple[str, str], ...]:
    """What a plan says, in lines."""
    return (
        ("images of a step", f"{plan.batch_size}, over {plan.num_processes} processes"),
        ("images of a pass", f"{plan.micro_batch}, {plan.num_passes} passes a step"),
        ("kept for an image", value_text(plan.image_bytes, "bytes", digits=3)),
        ("weights, gradients, optimiser", value_text(plan.fixed_bytes, "bytes", digits=3)),
        (
            "in all, with what libraries take",
            f"{value_text(plan.total_bytes, 'bytes', digits=3)} of {value_text(plan.memory_bytes, 'bytes', digits=3)}",
        ),
        ("computed again in the backward pass", ", ".join(plan.recomputed) or "nothing"),
        ("largest micro_batch that fits", str(plan.largest_micro_batch or "none")),
        ("fits", "yes" if plan.fits else "NO"),
    )


def _spec(wanted: str) -> Spec:
    if wanted in TRAINING_PRESETS:
        return TRAINING_PRESETS[wanted].spec
    if wanted in SEARCH_PRESETS:
        return SEARCH_PRESETS[wanted].spec
    if not Path(wanted).exists():
        known = [*TRAINING_PRESETS, *SEARCH_PRESETS]
        raise SpecFileError(f"{wanted} is no file and no preset{did_you_mean(wanted, known)}")
    return _parsed(read_spec_file(Path(wanted)))


def _parsed(document: Mapping[str, JsonValue]) -> Spec:
    if "objectives" in document or "budget" in document:
        return parse_search_spec(document)
    return (NetworkSpec if trains_network(document) else TrainingSpec).model_validate(document)
