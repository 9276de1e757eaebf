"""Identity of a training run: what must be equal for a checkpoint to be a part of it.

The documents are digested, and are those of the first release for equal settings, so that its checkpoints are resumed:
a setting that came later enters only where it is not at its default.
"""

from __future__ import annotations

from dataclasses import asdict

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.search_space import SearchSpace
from nas_engine.settings.training import OptimizerSettings, TrainingSettings
from nas_engine.training.data.augmentation import AUGMENTATIONS, Augmentation
from nas_engine.training.optimization import decayed_roles


def run_document(settings: TrainingSettings, num_images: int) -> dict[str, JsonValue]:
    """Return what decides a run on so many images; how often it reports and saves does not change what it computes."""
    optimizer = settings.optimizer_on(num_images)
    return {
        **settings.image_form.model_dump(mode="json"),
        "num_steps": settings.num_steps(num_images),
        "batch_size": settings.batch_size,
        "seed": settings.seed,
        "optimizer": optimizer_document(optimizer),
        "schedule": {
            "decay": optimizer.schedule.value,
            "warmup_steps": optimizer.warmup_steps,
            "final_share": optimizer.final_share,
        },
        "augmentation": augmentation_document(AUGMENTATIONS[settings.augmentation]),
        "precision": settings.precision.value,
        "synchronised_norm": settings.synchronised_norm,
        "report_every_steps": 1,
        "checkpoint_every_steps": 1,
        **({} if settings.micro_batch in (None, "auto") else {"micro_batch": settings.micro_batch}),
    }


def optimizer_document(settings: OptimizerSettings) -> dict[str, JsonValue]:
    """Return what decides an update at a given learning rate."""
    return {
        "kind": settings.kind.value,
        "learning_rate": settings.learning_rate,
        "momentum": settings.momentum,
        "nesterov": settings.nesterov,
        "weight_decay": settings.weight_decay,
        "decayed_roles": sorted(role.value for role in decayed_roles(settings)),
        "clip_value": settings.gradient_clip_value,
        "clip_norm": settings.gradient_clip_norm,
    }


def augmentation_document(augmentation: Augmentation) -> dict[str, JsonValue]:
    """Return what an augmentation does, whatever its name."""
    return {**asdict(augmentation), "colour_jitter": list(augmentation.colour_jitter)}


def strategy_document(space: SearchSpace, config: JsonValue) -> dict[str, JsonValue]:
    """Return what identifies a strategy over a space."""
    return {"space": space.space_id, "parameters": dict(space.parameters), "config": config}
