"""Presets of trainings as REST and the command line ask for them."""

from __future__ import annotations

from nas_engine.settings.presets import TRAINING_PRESETS, TrainingPreset
from server.core.errors import NotFoundError


def training_preset(name: str) -> TrainingPreset:
    """The preset of this name.

    Raises:
        NotFoundError: there is none.
    """
    if name not in TRAINING_PRESETS:
        raise NotFoundError("training preset", name)
    return TRAINING_PRESETS[name]
